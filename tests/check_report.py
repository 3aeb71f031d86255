#!/usr/bin/env python3
"""Checks the report of compare_norms against the runs that it tells of, without using any of its code.

    python3 tests/check_report.py runs/mnist-20ep
    python3 tests/check_report.py runs/mnist-20ep --healthy --train build/release/apps/train_mnist \\
        --data data/mnist

The files of the report are compared with those of the runs: report/data/*.csv with metrics.csv,
predictions.csv and model.safetensors; what is computed from them (means, intervals, tests) with NumPy and
SciPy; every number of report/index.html, found by its data-key, with the same; the list of misclassified
images with the first seed's predictions and, with --train, with those that train_mnist makes again from the
saved weights. --healthy also expects of the diagnosis what a real study shows: layer norm over rows learns
nothing, its wider forms do.

Prints a line for each group of checks. Exits with 1 and the first differences if there are any, with 77
(skipped) without NumPy or SciPy.
"""
import argparse
import csv
import decimal
import html.parser
import itertools
import json
import math
import pathlib
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

try:
    import numpy as np
    from scipy import stats
except ImportError as missing:
    print(f"skipped: {missing}; install numpy and scipy for this Python ({sys.executable})")
    sys.exit(77)

CLASSES = 10
CONVOLUTIONS = 9
METRICS = ("test_loss", "accuracy_percent", "misclassified")
SUMMARY = ("mean", "std", "low", "high")
KINDS = ("conv", "gamma", "beta")
NORMS = ("bn", "gn", "ln", "ln-row", "ln-c", "in", "none")
LEARNED_PERCENT = 50  # accuracy of the first seed above which a network counts as one that learns
LEVEL = 0.05

COLUMNS = {
    "runs": "part,network,norm,penalty,batch_size,epochs,seed,directory,test_loss,accuracy_percent,"
            "misclassified,train_loss,seconds_per_epoch",
    "curves": "part,network,seed,epoch,split,loss,accuracy_percent,seconds",
    "networks": "part,network,seeds," + ",".join(f"{m}_{s}" for m in METRICS for s in SUMMARY)
                + ",seconds_per_epoch_median",
    "comparisons": "part,a,b,seeds,difference,low,high,p_sign_flip,p_holm,smallest_p,a_only_right,"
                   "b_only_right,p_mcnemar,verdict",
    "misclassified": "part,network,seed,index,label,prediction,p_label,p_prediction",
    "confusion": "network,label,prediction,count",
    "weights": "network,seed,kind,count,zero,small,l1",
    "diagnosis": "network,step,loss,max_abs_logit,max_abs_pooled,"
                 + ",".join(f"grad_conv{k}" for k in range(1, CONVOLUTIONS + 1)),
}


def number(text):
    """A cell as a number; an empty one is not defined, and only an empty one."""
    if text == "":
        return math.nan
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


def read_csv(path, columns=None):
    """The rows of a CSV file as dictionaries; with `columns`, the header must be that."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
        file.seek(0)
        header = file.readline().rstrip("\r\n")
    if columns is not None and header != columns:
        raise ValueError(f"{path.name} has the columns {header}, not {columns}")
    return rows


# --- comparing ----------------------------------------------------------------------------------------------


def allowed(name):
    """The absolute error of a figure that may be 0 but for rounding: of differences of numbers up to 10,000,
    and of p-values that double precision cannot tell from 0."""
    if name.endswith(("std", "low", "high", "difference")):
        return 1e-10
    return 1e-300 if name.endswith("p_mcnemar") else 0.0


def same(name, found, wanted):
    """Whether a figure is the one wanted, or both are undefined. NaN and infinity equal nothing else."""
    if math.isnan(found) or math.isnan(wanted):
        return math.isnan(found) and math.isnan(wanted)
    return math.isfinite(found) and math.isclose(found, wanted, rel_tol=1e-9, abs_tol=allowed(name))


class Differences(list):
    """What is not as it should be, each in one line."""

    def expect(self, good, message):
        if not good:
            self.append(message)

    def compare(self, where, name, found, wanted):
        self.expect(same(name, found, wanted), f"{where}: {name} is {found!r}, not {wanted!r}")

    def compare_rows(self, where, found, wanted):
        """Two lists of rows, in any order."""
        only_found, only_wanted = set(found) - set(wanted), set(wanted) - set(found)
        self.expect(len(found) == len(set(found)), f"{where}: rows twice")
        self.extend(f"{where}: has {row}" for row in sorted(only_found)[:5])
        self.extend(f"{where}: lacks {row}" for row in sorted(only_wanted)[:5])


# --- the study ----------------------------------------------------------------------------------------------


class Run:
    """A row of runs.csv, with what misclassified.csv says of it."""

    def __init__(self, study_directory, row):
        self.row = row
        self.part, self.network, self.seed = row["part"], row["network"], int(row["seed"])
        self.norm, self.penalty, self.batch_size = row["norm"], row["penalty"], int(row["batch_size"])
        self.directory = study_directory / row["directory"]
        self.accuracy_percent = number(row["accuracy_percent"])
        self.wrong = {}  # index: (label, prediction, p_label, p_prediction)

    def __str__(self):
        return f"{self.part} {self.network} seed {self.seed}"

    def predictions(self):
        return read_csv(self.directory / "predictions.csv", "index,label,prediction,p_label,p_prediction")


def prediction(row):
    return int(row["label"]), int(row["prediction"]), number(row["p_label"]), number(row["p_prediction"])


class Study:
    """report/data as it is, and the runs."""

    def __init__(self, directory):
        self.directory = directory
        self.report = directory / "report"
        self.tables = {name: read_csv(self.report / "data" / f"{name}.csv", columns)
                       for name, columns in COLUMNS.items()}
        self.runs = [Run(directory, row) for row in self.tables["runs"]]
        by_name = {(r.part, r.network, r.seed): r for r in self.runs}
        if len(by_name) != len(self.runs):
            raise ValueError("runs.csv names a run twice")
        for w in self.tables["misclassified"]:
            run = by_name[w["part"], w["network"], int(w["seed"])]
            if int(w["index"]) in run.wrong:
                raise ValueError(f"misclassified.csv has image {w['index']} of {run} twice")
            run.wrong[int(w["index"])] = prediction(w)
        self.labels = [int(p["label"]) for p in self.runs[0].predictions()]

    def networks(self, part):
        """The runs of each network of a part, in the order of the seeds."""
        networks = {}
        for run in self.runs:
            if run.part == part:
                networks.setdefault(run.network, []).append(run)
        return {name: sorted(runs, key=lambda r: r.seed) for name, runs in networks.items()}

    def learned(self):
        """The first run of each main network that is better than guessing."""
        firsts = [runs[0] for runs in self.networks("main").values()]
        return [r for r in firsts if r.accuracy_percent > LEARNED_PERCENT]


# --- what the figures should be: {key of the page: value} ---------------------------------------------------


def summary(values):
    """Mean, sample standard deviation and Student's 95 % interval of the mean."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan, math.nan
    std = float(np.std(values, ddof=1))
    if std == 0:
        return mean, 0.0, mean, mean
    student = stats.t(len(values) - 1)
    t = student.ppf(0.975)
    t -= (student.cdf(t) - 0.975) / student.pdf(t)  # ppf has 10 digits, this step of Newton's the rest
    half = float(t) * std / math.sqrt(len(values))
    return mean, std, mean - half, mean + half


def network_figures(study, part):
    """networks/NETWORK/COLUMN or batch/NETWORK/COLUMN."""
    prefix, figures = {"main": "networks", "batch": "batch"}[part], {}
    for name, runs in study.networks(part).items():
        key = f"{prefix}/{name}/"
        figures[key + "seeds"] = len(runs)
        for metric in METRICS:
            values = summary([number(r.row[metric]) for r in runs])
            figures.update((f"{key}{metric}_{s}", v) for s, v in zip(SUMMARY, values))
        seconds = [number(r.row["seconds_per_epoch"]) for r in runs]
        figures[key + "seconds_per_epoch_median"] = statistics.median(seconds)
    return figures


def sign_flip(differences):
    """Of all ways to give the differences signs, the fraction whose |sum| is at least the observed one."""
    sums = np.zeros(1, dtype=np.int64)
    for d in differences:
        sums = np.concatenate((sums + d, sums - d))
    return float(np.mean(np.abs(sums) >= abs(sum(differences))))


def holm(p):
    """Holm's step-down adjustment of p-values."""
    adjusted, largest = [0.0] * len(p), 0.0
    for k, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - k) * p[i]))
        adjusted[i] = largest
    return adjusted


def mcnemar(a, b):
    return stats.binomtest(a, a + b, 0.5).pvalue if a + b > 0 else 1.0


def compare_pair(runs_a, runs_b):
    """The columns of comparisons.csv that depend on one pair only."""
    if [r.seed for r in runs_a] != [r.seed for r in runs_b]:
        raise ValueError(f"{runs_a[0].network} and {runs_b[0].network} do not have the same seeds")
    pairs = list(zip(runs_a, runs_b))
    difference, _, low, high = summary([a.accuracy_percent - b.accuracy_percent for a, b in pairs])
    a_only = sum(len(b.wrong.keys() - a.wrong.keys()) for a, b in pairs)
    b_only = sum(len(a.wrong.keys() - b.wrong.keys()) for a, b in pairs)
    return {"seeds": len(pairs), "difference": difference, "low": low, "high": high,
            "p_sign_flip": sign_flip([len(a.wrong) - len(b.wrong) for a, b in pairs]),
            "a_only_right": a_only, "b_only_right": b_only, "p_mcnemar": mcnemar(a_only, b_only)}


def compare_pairs(study, part):
    """{(a, b): columns} for the rows of comparisons.csv of one part, whose pairs are taken from there."""
    networks = study.networks(part)
    rows = [(r["a"], r["b"]) for r in study.tables["comparisons"] if r["part"] == part]
    pairs = {(a, b): compare_pair(networks[a], networks[b]) for a, b in rows}
    adjusted = holm([columns["p_sign_flip"] for columns in pairs.values()])
    for columns, p_holm in zip(pairs.values(), adjusted):
        columns["p_holm"] = p_holm
        columns["smallest_p"] = min(1.0, len(rows) * 2 / 2 ** columns["seeds"])
    return pairs


def verdict(columns):
    if columns["p_holm"] < LEVEL:
        return "a" if columns["difference"] > 0 else "b"
    return "too-few-seeds" if columns["smallest_p"] >= LEVEL else "no-difference"


def comparison_figures(study, part):
    """comparisons/A/B/COLUMN or batch-comparisons/A/B/COLUMN."""
    prefix = {"main": "comparisons", "batch": "batch-comparisons"}[part]
    return {f"{prefix}/{a}/{b}/{column}": value for (a, b), columns in compare_pairs(study, part).items()
            for column, value in columns.items()}


def weight_figures(study):
    """weights/NETWORK/KIND_zero_percent, KIND_small_percent, KIND_l1: means over the seeds."""
    columns = {}
    for row in study.tables["weights"]:
        key, count = f"weights/{row['network']}/{row['kind']}_", number(row["count"])
        columns.setdefault(key + "zero_percent", []).append(100 * number(row["zero"]) / count)
        columns.setdefault(key + "small_percent", []).append(100 * number(row["small"]) / count)
        columns.setdefault(key + "l1", []).append(number(row["l1"]))
    return {key: float(np.mean(values)) for key, values in columns.items()}


def confusion_figures(study):
    """confusion/NETWORK/LABEL/PREDICTION: summed over the seeds. The diagonal has the right ones."""
    figures, images = {}, np.bincount(study.labels, minlength=CLASSES)
    for name, runs in study.networks("main").items():
        counts = np.diag(images) * len(runs)
        for label, predicted, *_ in itertools.chain.from_iterable(r.wrong.values() for r in runs):
            counts[label, predicted] += 1
            counts[label, label] -= 1
        figures.update((f"confusion/{name}/{i}/{j}", int(counts[i, j]))
                       for i in range(CLASSES) for j in range(CLASSES))
    return figures


def digit_figures(study):
    """digits/NETWORK/LABEL: misclassified images of a label, the mean over the seeds."""
    figures = {}
    for name, runs in study.networks("main").items():
        counts = np.zeros(CLASSES)
        for label, *_ in itertools.chain.from_iterable(r.wrong.values() for r in runs):
            counts[label] += 1
        figures.update((f"digits/{name}/{label}", counts[label] / len(runs)) for label in range(CLASSES))
    return figures


def missed_figures(study):
    """missed/every and missed/any of the networks that learn, with the first seed."""
    wrong = [set(r.wrong) for r in study.learned()]
    every = set.intersection(*wrong) if wrong else set()
    return {"missed/every": len(every), "missed/any": len(set().union(*wrong))}


def steps_of_diagnosis(study):
    """{network: {column: values of the steps}}."""
    networks = {}
    for row in study.tables["diagnosis"]:
        columns = networks.setdefault(row["network"], {c: [] for c in row if c != "network"})
        for column, values in columns.items():
            values.append(number(row[column]))
    return networks


def diagnosis_figures(study):
    """diagnosis/NETWORK/..."""
    figures = {}
    for name, steps in steps_of_diagnosis(study).items():
        key = f"diagnosis/{name}/"
        figures.update((key + c, max(steps[c])) for c in ("max_abs_logit", "max_abs_pooled"))
        figures.update({key + "first_loss": steps["loss"][0], key + "last_loss": steps["loss"][-1]})
        figures.update((f"{key}{c}_median", statistics.median(values)) for c, values in steps.items()
                       if c.startswith("grad_conv"))
    return figures


def all_figures(study):
    figures = {}
    for part in ("main", "batch"):
        figures.update(network_figures(study, part))
        figures.update(comparison_figures(study, part))
    for family in (weight_figures, confusion_figures, digit_figures, missed_figures, diagnosis_figures):
        figures.update(family(study))
    return figures


def may_be_absent(key):
    """Figures that files have and the page need not show."""
    return key.endswith(("/seeds", "/smallest_p"))


# --- the CSV files against the runs -------------------------------------------------------------------------


def network_name(run):
    penalty = {"off": "", "subgradient": "-l1", "proximal": "-l1-proximal"}[run.penalty]
    return run.norm + penalty + ("" if run.batch_size == 64 else f"-b{run.batch_size}")


def recipe_of(run):
    return json.loads((run.directory / "config.json").read_text())["recipe"]


def check_recipe(run, bad):
    """The columns of runs.csv that say what was trained, against the run's config.json."""
    recipe = recipe_of(run)
    penalty = recipe["l1_mode"] if recipe["l1"] > 0 else "off"
    wanted = {"norm": recipe["norm"], "penalty": penalty, "network": network_name(run)}
    wanted |= {column: str(recipe[column]) for column in ("batch_size", "epochs", "seed")}
    for column, value in wanted.items():
        bad.expect(run.row[column] == value, f"runs.csv, {run}: {column} is {run.row[column]}, not {value}")
    bad.expect(run.norm in NORMS, f"runs.csv, {run}: unknown norm {run.norm}")
    bad.expect((run.directory / "DONE").exists(), f"{run} is not finished")


def check_runs(study):
    """Each row of runs.csv against the files in the run's directory."""
    bad = Differences()
    for run in study.runs:
        check_recipe(run, bad)
        metrics = read_csv(run.directory / "metrics.csv")
        train = [m for m in metrics if m["split"] == "train"]
        last = [m for m in metrics if m["split"] == "test"][-1]
        complete = last["epoch"] == run.row["epochs"] and len(train) == int(last["epoch"])
        bad.expect(last is metrics[-1] and complete, f"metrics.csv of {run} does not end with its last epoch")
        wrong = sum(p["label"] != p["prediction"] for p in run.predictions())
        accuracy = 100 * (1 - wrong / len(study.labels))
        wanted = {"test_loss": number(last["loss"]), "accuracy_percent": 100 * number(last["accuracy"]),
                  "misclassified": wrong, "train_loss": number(train[-1]["loss"]),
                  "seconds_per_epoch": statistics.median(number(m["seconds"]) for m in train)}
        for column, value in wanted.items():
            bad.compare(f"runs.csv, {run}", column, number(run.row[column]), value)
        bad.compare(f"predictions.csv, {run}", "accuracy_percent", run.accuracy_percent, accuracy)
    for part in ("main", "batch"):
        seeds = {tuple(r.seed for r in runs) for runs in study.networks(part).values()}
        bad.expect(len(seeds) <= 1, f"the {part} networks do not have the same seeds")
    return f"{len(study.runs)} runs of runs.csv are what their directories say", bad


def check_curves(study):
    """curves.csv against metrics.csv of each run, exactly."""
    bad, wanted = Differences(), []
    for run in study.runs:
        for m in read_csv(run.directory / "metrics.csv"):
            wanted.append((run.part, run.network, run.seed, int(m["epoch"]), m["split"], number(m["loss"]),
                           100 * number(m["accuracy"]), number(m["seconds"])))
    found = [(r["part"], r["network"], int(r["seed"]), int(r["epoch"]), r["split"], number(r["loss"]),
              number(r["accuracy_percent"]), number(r["seconds"])) for r in study.tables["curves"]]
    bad.compare_rows("curves.csv", found, wanted)
    return f"{len(found)} rows of curves.csv are those of metrics.csv", bad


def check_misclassified(study):
    """misclassified.csv against predictions.csv of each run, exactly."""
    bad, rows = Differences(), 0
    for run in study.runs:
        predictions = run.predictions()
        images = [(int(p["index"]), int(p["label"])) for p in predictions]
        bad.expect(images == list(enumerate(study.labels)), f"predictions.csv of {run}: other test images")
        wanted = {int(p["index"]): prediction(p) for p in predictions if p["label"] != p["prediction"]}
        bad.compare_rows(f"misclassified.csv, {run}", list(run.wrong.items()), list(wanted.items()))
        rows += len(run.wrong)
    return f"{rows} rows of misclassified.csv are those of predictions.csv", bad


def check_networks(study):
    """networks.csv against what runs.csv gives."""
    bad, names = Differences(), []
    figures = network_figures(study, "main") | network_figures(study, "batch")
    for row in study.tables["networks"]:
        part, name = row["part"], row["network"]
        names.append((part, name))
        key = {"main": "networks", "batch": "batch"}[part] + f"/{name}/"
        for column in list(row)[2:]:
            bad.compare(f"networks.csv, {part} {name}", column, number(row[column]), figures[key + column])
    bad.compare_rows("networks.csv", names, list({(r.part, r.network) for r in study.runs}))
    return f"{len(names)} rows of networks.csv recomputed", bad


def wanted_pairs(study, part):
    """The pairs that the study compares. Main: networks without a penalty with each other; one with a penalty
    with the same norm without; L1 + batch norm with all without. Batch: networks of the same batch size."""
    firsts = [runs[0] for runs in study.networks(part).values()]
    pairs = set()
    for a, b in itertools.permutations(firsts, 2):
        if part == "batch":
            wanted = a.batch_size == b.batch_size
        else:
            wanted = b.penalty == "off" and (a.penalty == "off" or a.norm == b.norm or a.network == "bn-l1")
        if wanted:
            pairs.add(frozenset((a.network, b.network)))
    return pairs


def check_comparisons(study):
    """comparisons.csv: its pairs, its numbers, its verdicts."""
    bad = Differences()
    for part in ("main", "batch"):
        rows = [r for r in study.tables["comparisons"] if r["part"] == part]
        pairs = [frozenset((r["a"], r["b"])) for r in rows]
        bad.expect(len(set(pairs)) == len(pairs), f"comparisons.csv compares a pair twice in part {part}")
        for pair in set(pairs) ^ wanted_pairs(study, part):
            bad.append(f"comparisons.csv {'has' if pair in pairs else 'lacks'} {sorted(pair)} in part {part}")
        for row, columns in zip(rows, compare_pairs(study, part).values()):
            where = f"comparisons.csv, {part} {row['a']} {row['b']}"
            for column, value in columns.items():
                bad.compare(where, column, number(row[column]), value)
            wanted = verdict(columns)
            bad.expect(row["verdict"] == wanted, f"{where}: verdict {row['verdict']}, not {wanted}")
    return f"{len(study.tables['comparisons'])} rows of comparisons.csv recomputed", bad


def check_confusion(study):
    """confusion.csv, all cells."""
    bad = Differences()
    found = [(f"confusion/{r['network']}/{r['label']}/{r['prediction']}", int(r["count"]))
             for r in study.tables["confusion"]]
    bad.compare_rows("confusion.csv", found, list(confusion_figures(study).items()))
    return f"{len(found)} cells of confusion.csv recounted", bad


def read_safetensors(path):
    """{name: array} of an f32 file; tensors of other types are left out."""
    blob = path.read_bytes()
    size, = struct.unpack("<Q", blob[:8])
    tensors = {}
    for name, entry in json.loads(blob[8:8 + size]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            values = np.frombuffer(blob[8 + size + begin:8 + size + end], "<f4")
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def count_weights(path):
    """{kind: (count, zero, small, l1)} of the parameters in a file: convolutions are the weights of rank 4,
    norms have the other weights (gamma) and the biases (beta). Running statistics are no parameters."""
    values = {}
    for name, tensor in read_safetensors(path).items():
        ending = name.rsplit(".", 1)[-1]
        if ending in ("weight", "bias"):
            kind = "conv" if tensor.ndim == 4 else "gamma" if ending == "weight" else "beta"
            values.setdefault(kind, []).append(np.abs(tensor.ravel().astype(np.float64)))
    kinds = {kind: np.concatenate(arrays) for kind, arrays in values.items()}
    return {kind: (len(v), int(np.sum(v == 0)), int(np.sum(v < 1e-3)), float(np.sum(v)))
            for kind, v in kinds.items()}


def check_weights(study):
    """weights.csv against model.safetensors of each main run."""
    bad, wanted = Differences(), {}
    for run in study.runs:
        if run.part == "main":
            for kind, counts in count_weights(run.directory / "model.safetensors").items():
                wanted[run.network, run.seed, kind] = counts
    found = {(r["network"], int(r["seed"]), r["kind"]): r for r in study.tables["weights"]}
    bad.compare_rows("weights.csv", list(found), list(wanted))
    bad.expect(len(found) == len(study.tables["weights"]), "weights.csv: rows twice")
    for key in found.keys() & wanted.keys():
        for column, value in zip(("count", "zero", "small", "l1"), wanted[key]):
            bad.compare(f"weights.csv, {key}", column, number(found[key][column]), value)
    return f"{len(found)} rows of weights.csv recounted from the saved weights", bad


def check_diagnosis(study, healthy):
    """diagnosis.csv is complete; if `healthy`, layer norm over rows vanishes and its wider forms learn."""
    bad, networks = Differences(), steps_of_diagnosis(study)
    bad.expect({"ln-row", "ln", "ln-c", "gn1"} <= networks.keys(), f"diagnosis.csv is of {sorted(networks)}")
    count = len(networks["ln-row"]["step"])
    for name, steps in networks.items():
        in_order = steps["step"] == list(range(1, count + 1))
        bad.expect(in_order, f"diagnosis.csv, {name}: its steps are not 1 to {count}")
        bad.expect(all(math.isfinite(v) for values in steps.values() for v in values),
                   f"diagnosis.csv, {name}: not finite")
    if healthy:
        expect_vanishing(networks["ln-row"], bad)
        for name in ("ln", "ln-c", "gn1"):
            expect_learning(name, networks[name], bad)
    says = "layer norm over rows vanishes, its wider forms learn" if healthy else "complete and finite"
    return f"diagnosis.csv, {count} steps of {len(networks)} networks: {says}", bad


def gradients(steps):
    return [steps[f"grad_conv{k}"] for k in range(1, CONVOLUTIONS + 1)]


def expect_vanishing(steps, bad):
    """All logits 0 but for rounding, so that the loss is ln 10 and no gradient comes back."""
    for column in ("max_abs_logit", "max_abs_pooled"):
        bad.expect(max(steps[column]) < 1e-5, f"ln-row: {column} is {max(steps[column])}")
    off = max(abs(loss - math.log(CLASSES)) for loss in steps["loss"])
    bad.expect(off < 1e-5, f"ln-row: the loss is {off} away from ln 10")
    largest = max(max(norms) for norms in gradients(steps))
    bad.expect(largest < 1e-5, f"ln-row: a gradient of norm {largest}")


def expect_learning(name, steps, bad):
    """Every convolution gets a gradient, and the loss falls."""
    for k, norms in enumerate(gradients(steps), 1):
        median = statistics.median(norms)
        bad.expect(median > 1e-4, f"{name}: convolution {k} has gradients of norm {median}")
    bad.expect(steps["loss"][-1] < steps["loss"][0], f"{name}: the loss does not fall")


# --- the page -----------------------------------------------------------------------------------------------


VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADING = {"src", "srcset", "poster", "data", "background"}  # attributes that fetch what they name


class Page(html.parser.HTMLParser):
    """index.html: its figures (attributes, text), cells with digits that are none, charts, what it loads."""

    def __init__(self, path):
        super().__init__()
        self.figures, self.cells, self.svgs, self.ids = [], [], [], []
        self.loads, self.links, self.styles, self.scripts, self.unclosed = [], [], [], [], []
        self.open = []  # [tag, attributes, text, text outside of figures]
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        self.unclosed += [tag for tag, *_ in self.open]

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.note(tag, attributes)
        if tag not in VOID:
            self.open.append([tag, attributes, "", ""])

    def handle_startendtag(self, tag, attributes):
        self.note(tag, dict(attributes))

    def note(self, tag, attributes):
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes.get("href", ""))
        self.loads += [v for name, v in attributes.items() if name in LOADING]
        if tag != "a" and "href" in attributes or "xlink:href" in attributes:
            self.loads.append(attributes.get("href", attributes.get("xlink:href")))
        if tag == "svg":
            self.svgs.append({"attributes": attributes, "title": ""})
        self.styles.append(attributes.get("style", ""))

    def handle_data(self, data):
        inside_figure = any("data-key" in attributes for _, attributes, *_ in self.open)
        for element in self.open:
            element[2] += data
            element[3] += "" if inside_figure else data

    def handle_endtag(self, tag):
        if not self.open or self.open[-1][0] != tag:
            self.unclosed.append(f"</{tag}>")
            return
        _, attributes, text, outside = self.open.pop()
        if "data-key" in attributes:
            self.figures.append((attributes, text))
        if tag == "td" and "data-text" not in attributes and re.search(r"\d", outside):
            self.cells.append(text)
        if tag == "title" and any(element[0] == "svg" for element in self.open):
            self.svgs[-1]["title"] += text
        if tag == "style":
            self.styles.append(text)
        if tag == "script":
            self.scripts.append((attributes, text))

    def island(self):
        """The data of the grid of misclassified images."""
        return json.loads(next(text for a, text in self.scripts if a.get("id") == "misclassified-data"))


def is_rounding(text, value):
    """Whether `text` shows `value`: rounded at its last digit, perhaps with separators of thousands; as
    "<0.0001"; as a dash if undefined. What is not 0 must not be shown as 0."""
    if math.isnan(value):
        return text == "–"
    if text.startswith("<"):
        return 0 <= value < float(text[1:])
    plain = text.replace("−", "-")
    if re.fullmatch(r"-?\d{1,3}([,\u2009\u202f\u00a0]\d{3})+(\.\d+)?", plain):
        plain = re.sub(r"[,\u2009\u202f\u00a0]", "", plain)
    if not re.fullmatch(r"-?\d+(\.\d+)?(e[-+]?\d+)?", plain):
        return False
    shown = decimal.Decimal(plain)
    last_digit = decimal.Decimal(1).scaleb(shown.as_tuple().exponent)
    if shown == 0 and (plain.startswith("-") or abs(value) > 1e-10):
        return False
    return abs(decimal.Decimal(value) - shown) <= last_digit / 2


def check_figures(study, page):
    """Every figure of the page: a known key, the right value, the right text; and none is missing."""
    bad, wanted = Differences(), all_figures(study)
    for attributes, text in page.figures:
        key = attributes["data-key"]
        if key not in wanted:
            bad.append(f"index.html: unknown figure {key}")
            continue
        value = number(attributes.get("data-value", "no data-value"))
        bad.compare("index.html", key, value, wanted[key])
        bad.expect(is_rounding(text.strip(), value), f"index.html: {key} is {value!r} but shown as {text!r}")
        bad.expect(("data-timing" in attributes) == ("seconds" in key), f"index.html: data-timing of {key}")
    missing = wanted.keys() - {a["data-key"] for a, _ in page.figures}
    bad.extend(f"index.html: lacks {key}" for key in sorted(missing) if not may_be_absent(key))
    return f"{len(page.figures)} numbers of index.html recomputed, {len(wanted)} keys", bad


def check_cells(page):
    """No cell of a table has digits outside of figures, unless it says that it is text."""
    bad = Differences(f"index.html: a cell says {text!r}" for text in page.cells)
    return "every table cell with digits is a figure", bad


def check_island(study, page):
    """The data of the grid against misclassified.csv, exactly."""
    bad, island, networks = Differences(), page.island(), study.networks("main")
    names = [n["name"] for n in island["networks"]]
    bad.expect(names == list(networks), f"grid: {names} are not the main networks in their order")
    bad.expect(island["dataset"] == recipe_of(study.runs[0])["dataset"], f"grid: of {island['dataset']}")
    bad.expect(len(island["classes"]) == CLASSES, f"grid: {len(island['classes'])} classes")
    learned = {r.network for r in study.learned()}
    for entry in island["networks"]:
        runs = networks[entry["name"]]
        where = f"grid, {entry['name']}"
        bad.expect(entry["seed"] == runs[0].seed, f"{where}: seed {entry['seed']}")
        bad.expect(island["seeds"] == len(runs), f"{where}: {len(runs)} seeds, not {island['seeds']}")
        learns = entry["name"] in learned
        bad.expect(entry.get("learned", learns) == learns, f"{where}: wrong about whether it learns")
        wrong = [tuple(w) for w in entry["wrong"]]
        bad.compare_rows(where, wrong, [(index, *w) for index, w in runs[0].wrong.items()])
        bad.expect(wrong == sorted(wrong), f"{where}: not in the order of the images")
    check_missed(island, networks, bad)
    images = sum(len(n["wrong"]) for n in island["networks"])
    return f"{images} images of the grid are those that the first seed misclassifies", bad


def check_missed(island, networks, bad):
    """How many seeds miss each image, and its place in the picture."""
    shown = {str(w[0]) for n in island["networks"] for w in n["wrong"]}
    slots = island["sprite"]["slot"]
    bad.expect(shown == island["missed"].keys(), "grid: 'missed' is not of the images that it shows")
    has_places = shown <= slots.keys() and len(set(slots.values())) == len(slots)
    bad.expect(has_places, "grid: images without a place of their own in the picture")
    for index, counts in island["missed"].items():
        wanted = [sum(int(index) in r.wrong for r in runs) for runs in networks.values()]
        bad.expect(counts == wanted, f"grid: image {index} is missed by {counts} seeds, not {wanted}")


def predict_again(run, train_mnist, data):
    """What train_mnist predicts from the weights of a run, as rows of predictions.csv."""
    recipe = recipe_of(run)
    with tempfile.TemporaryDirectory() as out:
        command = [train_mnist, "--dataset", recipe["dataset"], "--data", data, "--device", recipe["device"],
                   "--norm", recipe["norm"], "--groups", str(recipe.get("groups", 2)), "--epochs", "0",
                   "--weights", str(run.directory / "model.safetensors"), "--out", f"{out}/run", "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)} exits with {done.returncode}: {done.stderr.strip()}")
        return read_csv(pathlib.Path(out, "run", "predictions.csv"))


def check_predictions_again(study, page, train_mnist, data):
    """The grid's lists against new predictions from the saved weights."""
    bad, networks = Differences(), study.networks("main")
    for entry in page.island()["networks"]:
        run = networks[entry["name"]][0]
        wanted = [(int(p["index"]), int(p["label"]), int(p["prediction"]))
                  for p in predict_again(run, train_mnist, data) if p["label"] != p["prediction"]]
        bad.compare_rows(f"grid, {run} evaluated again", [tuple(w[:3]) for w in entry["wrong"]], wanted)
    return f"the grid of {len(networks)} networks is what train_mnist predicts from their weights", bad


def check_self_contained(study, page):
    """index.html loads nothing; its links lead somewhere."""
    bad = Differences()
    loads = list(page.loads)
    for style in page.styles:
        loads += re.findall(r"url\(\s*['\"]?([^)'\"]*)", style)
        bad.expect("@import" not in style, "index.html: a style imports another")
    bad.extend(f"index.html: loads {load[:60]}" for load in loads if not re.match("data:|#|$", load))
    bad.expect(len(page.ids) == len(set(page.ids)), "index.html: an id twice")
    bad.extend(f"index.html: {tag} does not nest" for tag in page.unclosed)
    for link in page.links:
        if link.startswith("#"):
            bad.expect(link[1:] in page.ids, f"index.html: no {link}")
        elif not re.match(r"https?:|mailto:", link):
            bad.expect((study.report / link.split("#")[0]).is_file(), f"index.html: no file {link}")
    return f"index.html needs no other file; {len(page.links)} links", bad


def check_charts(study, page):
    """Charts have names for who cannot see them; report/charts has each as SVG and PNG."""
    bad = Differences()
    for svg in page.svgs:
        named = svg["title"].strip() or svg["attributes"].get("aria-label", "").strip()
        bad.expect(svg["attributes"].get("role") == "img" and named,
                   f"index.html: the chart {svg['attributes']} has no role=\"img\" or no name")
    bad.expect(page.svgs, "index.html: no charts")
    files = sorted((study.report / "charts").iterdir())
    stems = {ending: {f.stem for f in files if f.suffix == ending} for ending in (".svg", ".png")}
    bad.expect(stems[".svg"] and stems[".svg"] == stems[".png"], f"charts: not each as SVG and PNG: {stems}")
    for path in files:
        if path.suffix == ".svg":
            root = xml.etree.ElementTree.parse(path).getroot()
            bad.expect(root.tag.endswith("}svg") and len(root) > 0, f"{path.name}: not an SVG picture")
        elif path.suffix == ".png":
            bad.expect(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), f"{path.name}: not a PNG picture")
    return f"{len(page.svgs)} charts in index.html, {len(stems['.svg'])} in charts/", bad


# --- all ----------------------------------------------------------------------------------------------------


def checks_to_do(study, page, options):
    yield lambda: check_runs(study)
    yield lambda: check_curves(study)
    yield lambda: check_misclassified(study)
    yield lambda: check_networks(study)
    yield lambda: check_comparisons(study)
    yield lambda: check_confusion(study)
    yield lambda: check_weights(study)
    yield lambda: check_diagnosis(study, options.healthy)
    yield lambda: check_figures(study, page)
    yield lambda: check_cells(page)
    yield lambda: check_island(study, page)
    yield lambda: check_self_contained(study, page)
    yield lambda: check_charts(study, page)
    if options.train:
        yield lambda: check_predictions_again(study, page, options.train, options.data)


def run_checks(options):
    """All checks, one line each; the differences."""
    study = Study(options.study)
    page = Page(study.report / "index.html")
    differences = []
    for check in checks_to_do(study, page, options):
        try:
            says, bad = check()
        except (OSError, LookupError, TypeError, ValueError, xml.etree.ElementTree.ParseError) as e:
            says, bad = "a check could not be made", [f"{type(e).__name__}: {e}"]
        print(f"{'ok' if not bad else f'{len(bad)} differences'}: {says}", flush=True)
        differences += bad
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=pathlib.Path, help="directory of the study, which has report/")
    parser.add_argument("--train", help="train_mnist, to predict again from the saved weights; needs --data")
    parser.add_argument("--data", help="directory of the data set")
    parser.add_argument("--healthy", action="store_true", help="expect the diagnosis of a real study")
    options = parser.parse_args()
    if options.train and not options.data:
        parser.error("--train needs --data")
    try:
        differences = run_checks(options)
    except (OSError, LookupError, TypeError, ValueError) as e:
        differences = [f"the report cannot be read: {type(e).__name__}: {e}"]
    for line in differences[:20]:
        print("  " + line)
    if len(differences) > 20:
        print(f"  and {len(differences) - 20} more")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

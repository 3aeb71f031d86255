"""The CSV files of a report against the runs. Each check returns what it did and the differences."""
import itertools
import json
import math
import statistics
import struct

import numpy as np

from checking import Differences
from figures import compare_pairs, confusion_figures, network_figures, steps_of_diagnosis, verdict
from study import CLASSES, CONVOLUTIONS, NORMS, network_name, number, prediction, read_csv, recipe_of


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
            wanted = b.penalty == "off" and (a.penalty == "off" or a.norm == b.norm
                                                or (a.norm, a.penalty) == ("bn", "subgradient"))
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
        bad.expect(not healthy or all(math.isfinite(v) for values in steps.values() for v in values),
                   f"diagnosis.csv, {name}: not finite")
    if healthy:
        expect_vanishing(networks["ln-row"], bad)
        for name in ("ln", "ln-c", "gn1"):
            expect_learning(name, networks[name], bad)
    says = "layer norm over rows vanishes, its wider forms learn" if healthy else "complete"
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

"""What the figures of a report should be, computed with NumPy and SciPy: {key of the page: value}."""
import itertools
import math
import statistics

import numpy as np
from scipy import stats

from study import CLASSES, METRICS, SUMMARY, number

LEVEL = 0.05  # of the tests, after Holm's correction
FEWEST_FOR_INTERVAL = 3  # seeds
DIFFERENCES = (-100, 100)  # of two accuracies, in percentage points


def bounds(study, metric):
    """What a figure can be at all."""
    return {"test_loss": (0, math.inf), "accuracy_percent": (0, 100),
            "misclassified": (0, len(study.labels))}[metric]


def summary(values, least, most):
    """Mean, sample standard deviation and Student's 95 % interval of the mean, inside what is possible; no
    interval of fewer than three values."""
    if not len(values):
        return (math.nan,) * 4
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan, math.nan
    std = float(np.std(values, ddof=1))
    if len(values) < FEWEST_FOR_INTERVAL:
        return mean, std, math.nan, math.nan
    if std == 0:
        return mean, 0.0, mean, mean
    student = stats.t(len(values) - 1)
    t = student.ppf(0.975)
    t -= (student.cdf(t) - 0.975) / student.pdf(t)  # ppf has 10 digits, this step of Newton's the rest
    half = float(t) * std / math.sqrt(len(values))
    return mean, std, max(least, mean - half), min(most, mean + half)


def network_figures(study, part):
    """networks/NETWORK/COLUMN or batch/NETWORK/COLUMN."""
    prefix, figures = {"main": "networks", "batch": "batch"}[part], {}
    for name, runs in study.networks(part).items():
        key = f"{prefix}/{name}/"
        figures[key + "seeds"] = len(runs)
        for metric in METRICS:
            values = summary([number(r.row[metric]) for r in runs], *bounds(study, metric))
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
    """The columns of comparisons.csv that depend on one pair only: on the seeds that both have."""
    pairs = [(a, b) for a in runs_a for b in runs_b if a.seed == b.seed]
    points = [a.accuracy_percent - b.accuracy_percent for a, b in pairs]
    difference, _, low, high = summary(points, *DIFFERENCES)
    if not pairs:
        return {"seeds": 0, "difference": math.nan, "low": math.nan, "high": math.nan, "p_sign_flip": math.nan,
                "a_only_right": 0, "b_only_right": 0, "p_mcnemar": math.nan}
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
    tested = [columns for columns in pairs.values() if columns["seeds"] > 0]
    for columns in pairs.values():
        columns["p_holm"] = columns["smallest_p"] = math.nan
    for columns, p_holm in zip(tested, holm([columns["p_sign_flip"] for columns in tested])):
        columns["p_holm"] = p_holm
        columns["smallest_p"] = min(1.0, len(tested) * 2 / 2 ** columns["seeds"])
    return pairs


def verdict(columns):
    if columns["seeds"] == 0:
        return "not-tested"
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
    if not wrong:
        return {}
    return {"missed/every": len(set.intersection(*wrong)), "missed/any": len(set().union(*wrong))}


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
        figures.update((key + c, float(np.max(steps[c]))) for c in ("max_abs_logit", "max_abs_pooled"))
        figures.update({key + "first_loss": steps["loss"][0], key + "last_loss": steps["loss"][-1]})
        figures.update((f"{key}{c}_median", float(np.median(values))) for c, values in steps.items()
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

"""A study as it lies there: the CSV files of its report and the directories of its runs."""
import csv
import json
import math

CLASSES = 10
CONVOLUTIONS = 9
METRICS = ("test_loss", "accuracy_percent", "misclassified")
SUMMARY = ("mean", "std", "low", "high")
NORMS = ("bn", "gn", "ln", "ln-row", "ln-c", "in", "none")
LEARNED_PERCENT = 50  # accuracy of the first seed above which a network counts as one that learns

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
        self.labels = [int(p["label"]) for p in self.runs[0].predictions()] if self.runs else []

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


def network_name(run):
    penalty = {"off": "", "subgradient": "-l1", "proximal": "-l1-proximal"}[run.penalty]
    return run.norm + penalty + ("" if run.batch_size == 64 else f"-b{run.batch_size}")


def recipe_of(run):
    return json.loads((run.directory / "config.json").read_text())["recipe"]

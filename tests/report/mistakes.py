"""The misclassified images that a page should show, from report/data and the test set."""
import csv
import gzip
import pathlib

from study import LEARNED_PERCENT


class Mistakes:
    """The main networks of a study and the images that each gets wrong with its first seed."""

    def __init__(self, data):
        self.wrong, self.learned, first_seed = {}, [], {}
        for run in self.rows(data / "runs.csv"):
            name, seed = run["network"], int(run["seed"])
            if name not in first_seed or seed < first_seed[name][0]:
                first_seed[name] = seed, float(run["accuracy_percent"])
                self.wrong[name] = {}
        for w in self.rows(data / "misclassified.csv"):
            if int(w["seed"]) == first_seed[w["network"]][0]:
                self.wrong[w["network"]][int(w["index"])] = (int(w["label"]), int(w["prediction"]))
        self.learned = [name for name, (_, accuracy) in first_seed.items() if accuracy > LEARNED_PERCENT]

    @staticmethod
    def rows(path):
        """Those of the main part."""
        with open(path, newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if row["part"] == "main"]

    def selected(self, network, label, missed_by):
        """[(index, label, prediction)] that the three selections leave, in the order of the images."""
        others = [self.wrong[name] for name in self.learned if name != network]
        keep = {"any": lambda index: True,
                "every": lambda index: all(index in self.wrong[name] for name in self.learned),
                "only": lambda index: not any(index in wrong for wrong in others)}
        wanted = keep.get(missed_by, lambda index: index in self.wrong[missed_by])
        return [(index, *w) for index, w in sorted(self.wrong[network].items())
                if label in ("all", str(w[0])) and wanted(index)]


def test_images(directory):
    """The pixels of each image of the test set, bytes of 28 x 28, from the IDX file, plain or .gz."""
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte"):
        path = pathlib.Path(directory, name)
        if path.exists():
            blob = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
            size = 28 * 28
            return [blob[16 + i * size:16 + (i + 1) * size] for i in range((len(blob) - 16) // size)]
    raise OSError(f"no t10k-images-idx3-ubyte in {directory}")

"""The misclassified images that index.html shows, against the runs. Each check returns what it did and the
differences."""
import pathlib
import subprocess
import tempfile

from checking import Differences
from study import CLASSES, read_csv, recipe_of


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
        bad.expect(entry["seeds"] == len(runs), f"{where}: {len(runs)} seeds, not {entry['seeds']}")
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
                   "--weights", str(run.directory / "model.safetensors"), "--out", f"{out}/run", "--quiet",
                   "--test-images", str(recipe.get("test_images", 0))]
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

"""What a report must not say: more than its study can tell. Each check returns what it did and the
differences."""
import re

from checking import Differences
from figures import FEWEST_FOR_INTERVAL, LEVEL, compare_pairs
from study import number, recipe_of

RECIPE_EPOCHS, TRAIN_IMAGES = 20, 60000
WITHIN = {"accuracy_percent": (0, 100), "misclassified": (0, 10000), "test_loss": (0, float("inf")),
          "loss": (0, float("inf")), "train_loss": (0, float("inf")), "p_sign_flip": (0, 1), "p_holm": (0, 1),
          "smallest_p": (0, 1), "p_mcnemar": (0, 1), "p_label": (0, 1), "p_prediction": (0, 1),
          "difference": (-100, 100), "low": (-100, 100), "high": (-100, 100), "zero_percent": (0, 100),
          "small_percent": (0, 100)}


def limits_of(column):
    """What a column of a CSV file or a figure of the page can be; none for those without bounds."""
    name = column.rsplit("/", 1)[-1]
    for kind in ("conv_", "gamma_", "beta_"):
        name = name.removeprefix(kind)
    for ending in ("_mean", "_low", "_high"):
        name = name.removesuffix(ending) if name != ending[1:] else name
    return WITHIN.get(name)


def check_bounds(study, page):
    """Every bounded value of the CSV files and of the page; intervals hold their means."""
    bad, values = Differences(), 0
    found = [(f"{name}.csv", column, text) for name, rows in study.tables.items() for row in rows
             for column, text in row.items() if limits_of(column) and text]
    found += [("index.html", a["data-key"], a["data-value"]) for a, _ in page.figures
              if limits_of(a["data-key"]) and a["data-value"]]
    for where, column, text in found:
        low, high = limits_of(column)
        values += 1
        bad.expect(low <= number(text) <= high, f"{where}: {column} is {text}, not from {low} to {high}")
    for row in study.tables["networks"]:
        for metric in ("test_loss", "accuracy_percent", "misclassified"):
            low, mean, high = (number(row[f"{metric}_{s}"]) for s in ("low", "mean", "high"))
            few = int(row["seeds"]) < FEWEST_FOR_INTERVAL
            good = low != low and high != high if few else low - 1e-9 <= mean <= high + 1e-9
            bad.expect(good, f"networks.csv, {row['network']}: {row['seeds']} seeds, {metric} {low} to {high}")
    return f"{values} bounded values are inside their bounds, intervals have {FEWEST_FOR_INTERVAL} seeds", bad


def check_axes(page):
    """The numbers on the axes of every chart: no accuracy outside of 0 to 100 %, no loss below 0, no epoch, step
    or convolution below 1."""
    bad, ticks = Differences(), 0
    for svg in page.svgs:
        for title, numbers in axes_of(svg["texts"]):
            low, high = (0, 100) if "accuracy" in title else (0, float("inf")) if title == "loss" else (1, float("inf"))
            if "accuracy" not in title and title not in ("loss", "epoch", "training step", "convolution",
                                                         "images a batch"):
                continue
            ticks += len(numbers)
            bad.expect(numbers, f"the axis {title} of {svg['title']!r} has no numbers")
            bad.extend(f"{svg['title']!r}: {n} on the axis {title}" for n in numbers if not low <= n <= high)
    return f"{ticks} numbers on axes are possible ones", bad


def axes_of(texts):
    """(title, numbers) of the horizontal and the vertical axis of a chart, whose texts are (class, text)."""
    numbers, axes = [], []
    for kind, text in texts:
        if kind == "tick":
            numbers.append(float(text))
        elif kind == "axis":
            axes.append((text, numbers))
            numbers = []
    return axes


def wanted_limits(study):
    """What the banner has to say, as patterns."""
    patterns = []
    main = [r for r in study.runs if r.part == "main"]
    for recipe in [recipe_of(main[0])] if main else []:
        if recipe["epochs"] < RECIPE_EPOCHS:
            patterns.append(rf"\b{recipe['epochs']} epochs?, not the {RECIPE_EPOCHS} of the recipe")
        if recipe.get("max_steps") and recipe["max_steps"] < -(-TRAIN_IMAGES // recipe["batch_size"]):
            patterns.append(rf"ends after {recipe['max_steps']} of its \d+ steps")
        if recipe.get("test_images"):
            patterns.append(rf"first {recipe['test_images']} of 10000 images")
    pairs = {**compare_pairs(study, "main"), **compare_pairs(study, "batch")}
    if any(not columns["smallest_p"] < LEVEL for columns in pairs.values()):
        patterns.append(r"a verdict takes \d+")
    if any(int(row["seeds"]) < FEWEST_FOR_INTERVAL for row in study.tables["networks"]):
        patterns.append(r"an interval takes 3|failed")
    if not pairs:
        patterns.append("no pair of networks")
    return patterns


def check_banner(study, page):
    """The banner says what was cut short, and is not there otherwise."""
    bad, wanted = Differences(), wanted_limits(study)
    bad.expect(bool(page.banner) == bool(wanted) or "failed" in page.banner,
               f"the banner is {page.banner!r}, for {wanted}")
    bad.extend(f"the banner does not say {p!r}: {page.banner!r}" for p in wanted if not re.search(p, page.banner))
    return f"the banner says {len(wanted)} things that were cut short", bad


def check_words(study, page):
    """No network is said to be better, and no difference said to be absent, by a test that could not tell."""
    bad = Differences()
    pairs = {**compare_pairs(study, "main"), **compare_pairs(study, "batch")}
    could_tell = any(columns["smallest_p"] < LEVEL for columns in pairs.values())
    for words in ("is more accurate", "no difference shown", "No difference shown"):
        bad.expect(could_tell or words not in page.text, f"the page says {words!r}, but no test could tell")
    return f"{len(pairs)} pairs, {'some' if could_tell else 'none'} of which a test could tell apart", bad

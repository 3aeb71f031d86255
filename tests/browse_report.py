#!/usr/bin/env python3
"""Uses the report of compare_norms in a browser, as a reader does, and checks what is then on the screen.

    python3 tests/browse_report.py runs/mnist-20ep
    python3 tests/browse_report.py runs/mnist-20ep --data data/mnist --screenshots /tmp

Opens report/index.html in headless Chromium. The page must load nothing but itself and leave no error or
warning in the console. The three selections above the misclassified images are set through their elements;
the figures then shown, and the count, must be those that report/data/misclassified.csv gives, in the order of
the images; with --data their pixels must be those of the test set. The page must fit a desktop and a phone
without scrolling sideways, and its text must be legible on light and dark. --screenshots DIR writes
desktop-light.png, desktop-dark.png, phone-light.png and phone-dark.png.

Prints a line for each group of checks. Exits with 1 and the first differences if there are any, with 77
(skipped) without Selenium, Chromium or its driver.
"""
import argparse
import base64
import csv
import gzip
import json
import pathlib
import re
import shutil
import sys

try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select
except ImportError as missing:
    print(f"skipped: {missing}; install python3-selenium, chromium and chromium-driver")
    sys.exit(77)

PAGE = 200  # figures shown at first, and added by each press of the button
PRESSES = 3  # of the button, at most, for one selection
LEARNED_PERCENT = 50  # accuracy of the first seed above which a network counts as one that learns
MIN_CONTRAST = 4.5  # of text, WCAG level AA
WIDTHS = {"desktop": 1280, "phone": 390}
HEIGHTS = {"desktop": 900, "phone": 844}
MAX_SCREENSHOT_HEIGHT = 16000  # pixels that Chromium can still draw


# --- what should be shown -----------------------------------------------------------------------------------


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


# --- the browser --------------------------------------------------------------------------------------------


SHOWN = """
return [...document.querySelectorAll("#misclassified-grid > figure.digit")].map(figure => {
  const {index, label, prediction} = figure.dataset;
  const names = [...figure.querySelectorAll("*")].map(e => e.getAttribute("aria-label") || e.alt || "");
  return {index, label, prediction, name: names.filter(name => name).join("; "), text: figure.textContent};
});
"""

# Of each of the first figures: the 28 x 28 grey values that its background shows.
PIXELS = """
const done = arguments[arguments.length - 1];
const figures = [...document.querySelectorAll("figure.digit")].slice(0, 100);
const style = figure => getComputedStyle(figure.querySelector(".pixels"));
const sheet = new Image();
sheet.onerror = () => done(null);
sheet.onload = () => done(figures.map(figure => {
  const {backgroundPositionX, backgroundPositionY, backgroundSize} = style(figure);
  const scale = sheet.naturalWidth / parseFloat(backgroundSize);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.drawImage(sheet, -parseFloat(backgroundPositionX) * scale, -parseFloat(backgroundPositionY) * scale,
                    28, 28, 0, 0, 28, 28);
  const rgba = context.getImageData(0, 0, 28, 28).data;
  return {index: Number(figure.dataset.index), pixels: [...rgba.filter((_, i) => i % 4 === 0)]};
}));
sheet.src = style(figures[0]).backgroundImage.slice(5, -2);
"""

# The elements that stick out to the right without a container that scrolls or hides them.
TOO_WIDE = """
const contained = e => e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) && e !== document.body
                             && e !== document.documentElement || contained(e.parentElement));
return [...document.body.querySelectorAll("*")]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !contained(e) && !e.closest("svg"))
  .slice(0, 5).map(e => e.outerHTML.slice(0, 80));
"""

# [contrast, text] of every element that has text of its own. For large text 3 instead of 4.5 suffices: its
# contrast counts one and a half times.
CONTRASTS = """
const context = Object.assign(document.createElement("canvas"), {width: 1, height: 1})
  .getContext("2d", {willReadFrequently: true});
const known = new Map();
const rgba = color => {
  if (!known.has(color)) {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    known.set(color, [...context.getImageData(0, 0, 1, 1).data]);
  }
  return known.get(color);
};
const over = (top, below) => [0, 1, 2].map(i => (top[i] * top[3] + below[i] * (255 - top[3])) / 255);
const light = color => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
  const c = color[i] / 255;
  return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
}, 0);
const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
const backdrop = e => e ? over(rgba(getComputedStyle(e).backgroundColor), backdrop(e.parentElement)) : canvas;
const contrast = e => {
  const style = getComputedStyle(e), below = backdrop(e);
  const text = over(rgba(e.closest("svg") ? style.fill : style.color), below);
  const [high, low] = [light(text), light(below)].sort((a, b) => b - a);
  const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
  return (high + 0.05) / (low + 0.05) * (large ? 1.5 : 1);
};
const hasText = e => e.checkVisibility() && !e.matches("style, script, title, desc, option")
  && [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
return [document.body, ...document.body.querySelectorAll("*")].filter(e => e === document.body || hasText(e))
  .map(e => [contrast(e), e === document.body ? "body" : e.textContent.trim().slice(0, 40)]);
"""


class Browser:
    """index.html in headless Chromium."""

    def __init__(self, page):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                         "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.url = page.resolve().as_uri()
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_script_timeout(60)

    def __enter__(self):
        self.look_as("desktop", "light")
        self.driver.get(self.url)
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def look_as(self, device, scheme):
        """Takes the size of a desktop or a phone, and prefers light or dark."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=WIDTHS[device], height=HEIGHTS[device],
                 deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def cdp(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def element(self, name):
        return self.driver.find_element(By.ID, name)

    def select(self, **filters):
        """select(network="gn", label="4", missed_by="any"), each by its element's value."""
        for name, value in filters.items():
            Select(self.element("filter-" + name.replace("_", "-"))).select_by_value(value)

    def values(self, name):
        return [o.get_attribute("value") for o in Select(self.element("filter-" + name)).options]

    def shown(self):
        """The figures on the page."""
        return self.script(SHOWN)

    def counted(self):
        count = self.element("misclassified-count")
        return int(count.get_attribute("data-shown")), int(count.get_attribute("data-total"))

    def screenshot(self, path):
        """The whole page, or as much of it as can be drawn."""
        content = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": self.script("return innerWidth"),
                "height": min(content["height"], MAX_SCREENSHOT_HEIGHT), "scale": 1}
        shot = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))


# --- checks: each returns what it did and a list of differences ---------------------------------------------


def differences_of_grid(browser, where, wanted, classes):
    """The figures shown against the first of `wanted`, and the count, the button and the texts."""
    bad, figures = [], browser.shown()
    found = [(int(f["index"]), int(f["label"]), int(f["prediction"])) for f in figures]
    shown, total = browser.counted()
    if found != wanted[:len(found)] or len(found) < min(PAGE, len(wanted)):
        strange = [f for f in found if f not in wanted][:3]
        bad.append(f"{where}: {len(found)} images, not the first of {len(wanted)}; strange: {strange}")
    if (shown, total) != (len(found), len(wanted)):
        bad.append(f"{where}: counts {shown} of {total}, but shows {len(found)} of {len(wanted)}")
    if browser.element("misclassified-more").is_displayed() != (len(found) < len(wanted)):
        bad.append(f"{where}: the button for more is there when it should not be, or the other way round")
    for figure in figures:
        bad += differences_of_name(where, figure, classes)
    return bad


def differences_of_name(where, figure, classes):
    """Its label and its prediction, as a screen reader and as a reader find them."""
    truth, guess = (re.escape(classes[int(figure[of])]) for of in ("label", "prediction"))
    says = re.compile(rf"\btrue\W+{truth}\b.*\bpredicted\W+{guess}\b", re.IGNORECASE | re.DOTALL)
    return [f"{where}: image {figure['index']} has the {kind} {figure[kind]!r}"
            for kind in ("name", "text") if not says.search(figure[kind])]


def check_first_view(browser, mistakes, classes):
    """Before anything is selected the first network's images are there; what the selections offer."""
    networks, labels = list(mistakes.wrong), [str(i) for i in range(10)]
    bad = []
    for name, wanted in (("network", networks), ("label", ["all", *labels]),
                         ("missed-by", ["any", "every", "only", *networks])):
        if browser.values(name) != wanted:
            bad.append(f"filter-{name} offers {browser.values(name)}, not {wanted}")
    wanted = mistakes.selected(networks[0], "all", "any")
    bad += differences_of_grid(browser, "at first", wanted, classes)
    if len(browser.shown()) != min(PAGE, len(wanted)):
        bad.append(f"at first {len(browser.shown())} images are shown")
    return "the images of the first network, and the choices", bad


def check_selection(browser, mistakes, classes, choice):
    """Sets the three selections, then presses the button until all images are there."""
    browser.select(**choice)
    wanted = mistakes.selected(**choice)
    where = "/".join(choice.values())
    bad = differences_of_grid(browser, where, wanted, classes)
    for press in range(2, 2 + PRESSES):
        if bad or browser.counted()[0] == len(wanted):
            break
        browser.element("misclassified-more").click()
        if len(browser.shown()) != min(press * PAGE, len(wanted)):
            bad.append(f"{where}: press {press - 1} of the button leaves {len(browser.shown())} images")
        bad += differences_of_grid(browser, where, wanted, classes)
    return bad


def check_selections(browser, mistakes, classes):
    """Every network with every label; every network with every "missed by", with all labels and with one."""
    choices = []
    for network in mistakes.wrong:
        choices += [(network, label, "any") for label in browser.values("label")]
        choices += [(network, label, by) for by in browser.values("missed-by") for label in ("all", "9")]
    bad = []
    for network, label, missed_by in dict.fromkeys(choices):
        choice = {"network": network, "label": label, "missed_by": missed_by}
        bad += check_selection(browser, mistakes, classes, choice)
    return f"{len(set(choices))} selections show the images of misclassified.csv", bad


def check_keyboard(browser, mistakes, classes):
    """The next network by an arrow key, more images by Enter."""
    networks, bad = list(mistakes.wrong), []
    browser.select(network=networks[0], label="all", missed_by="any")
    browser.element("filter-network").send_keys(Keys.ARROW_DOWN)
    wanted = mistakes.selected(networks[min(1, len(networks) - 1)], "all", "any")
    bad += differences_of_grid(browser, "after an arrow key", wanted, classes)
    worst = max(networks, key=lambda name: len(mistakes.wrong[name]))
    wanted = mistakes.selected(worst, "all", "any")
    if len(wanted) > PAGE:
        browser.select(network=worst)
        browser.element("misclassified-more").send_keys(Keys.ENTER)
        bad += differences_of_grid(browser, "after Enter", wanted, classes)
        if browser.counted()[0] != min(2 * PAGE, len(wanted)):
            bad.append("the button for more does not answer to Enter")
    return "the selections and the button by keyboard", bad


def check_pixels(browser, mistakes, images):
    """The first images of each network show the pixels of the test set, as they are or black on white."""
    bad, compared = [], 0
    for network in mistakes.wrong:
        browser.select(network=network, label="all", missed_by="any")
        if not mistakes.wrong[network]:
            continue
        for shown in browser.driver.execute_async_script(PIXELS) or [{"index": 0, "pixels": []}]:
            wanted = list(images[shown["index"]])
            if shown["pixels"] not in (wanted, [255 - p for p in wanted]):
                bad.append(f"{network}: the picture of image {shown['index']} is not that of the test set")
            compared += 1
    return f"{compared} pictures have the pixels of the test set", bad


def check_width(browser):
    """On a desktop and a phone, with everything folded out, only tables scroll sideways, in their boxes."""
    bad = []
    browser.script("for (const d of document.querySelectorAll('details')) d.open = true")
    for device, width in WIDTHS.items():
        browser.look_as(device, "light")
        inner, whole = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
        if inner != width or whole > inner:
            bad.append(f"at {width} pixels the page is {whole} wide")
        bad += [f"at {width} pixels this sticks out: {e}" for e in browser.script(TOO_WIDE)]
    browser.script("for (const d of document.querySelectorAll('details')) d.open = false")
    return f"no scrolling sideways at {' and '.join(map(str, WIDTHS.values()))} pixels", bad


def check_colors(browser):
    """Light and dark differ, and all text stands out from what is below it."""
    bad, backgrounds, texts = [], set(), 0
    for scheme in ("light", "dark"):
        browser.look_as("desktop", scheme)
        backgrounds.add(browser.script("return getComputedStyle(document.body).backgroundColor"))
        contrasts = browser.script(CONTRASTS)
        texts += len(contrasts)
        bad += [f"{scheme}: {text!r} has a contrast of {contrast:.2f}" for contrast, text in contrasts
                if not contrast >= MIN_CONTRAST]
    if len(backgrounds) != 2:
        bad.append(f"light and dark have the same background {backgrounds}")
    return f"{texts} texts are legible on light and on dark", bad


def check_quiet(browser):
    """Nothing in the console, nothing loaded but the page."""
    bad, requests = [], []
    for entry in browser.driver.get_log("browser"):
        if entry["level"] in ("WARNING", "SEVERE"):
            bad.append(f"console: {entry['level']}: {entry['message'][:200]}")
    for entry in browser.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            requests.append(message["params"]["request"]["url"])
    if browser.url not in requests:
        bad.append("the browser does not say that it loads the page: its log cannot be trusted")
    bad += [f"loads {url[:100]}" for url in requests if url != browser.url and not url.startswith("data:")]
    return "a silent console, and no request but for the page", bad


def take_screenshots(browser, directory):
    directory.mkdir(parents=True, exist_ok=True)
    browser.select(network=browser.values("network")[0], label="all", missed_by="any")
    for device in WIDTHS:
        for scheme in ("light", "dark"):
            browser.look_as(device, scheme)
            browser.screenshot(directory / f"{device}-{scheme}.png")
    return f"screenshots in {directory}", []


# --- all ----------------------------------------------------------------------------------------------------


def checks_to_do(browser, mistakes, options):
    island = browser.script("return document.getElementById('misclassified-data').textContent")
    classes = json.loads(island)["classes"]
    yield lambda: check_first_view(browser, mistakes, classes)
    yield lambda: check_selections(browser, mistakes, classes)
    yield lambda: check_keyboard(browser, mistakes, classes)
    if options.data:
        yield lambda: check_pixels(browser, mistakes, test_images(options.data))
    yield lambda: check_width(browser)
    yield lambda: check_colors(browser)
    if options.screenshots:
        yield lambda: take_screenshots(browser, options.screenshots)
    yield lambda: check_quiet(browser)


def run_checks(browser, options):
    """All checks, one line each; the differences."""
    mistakes, differences = Mistakes(options.study / "report" / "data"), []
    for check in checks_to_do(browser, mistakes, options):
        try:
            says, bad = check()
        except (OSError, LookupError, TypeError, ValueError, WebDriverException) as e:
            says, bad = "a check could not be made", [f"{type(e).__name__}: {e}"]
        print(f"{'ok' if not bad else f'{len(bad)} differences'}: {says}", flush=True)
        differences += bad
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=pathlib.Path, help="directory of the study, which has report/")
    parser.add_argument("--data", help="directory of the data set, to check the pictures against")
    parser.add_argument("--screenshots", type=pathlib.Path, help="directory for four screenshots")
    options = parser.parse_args()
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            print(f"skipped: no {program}; install chromium and chromium-driver")
            return 77
    page = options.study / "report" / "index.html"
    if not page.is_file():
        print(f"no {page}")
        return 1
    with Browser(page) as browser:
        differences = run_checks(browser, options)
    for line in differences[:20]:
        print("  " + line)
    if len(differences) > 20:
        print(f"  and {len(differences) - 20} more")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())

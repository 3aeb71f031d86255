"""What a reader sees on the page and does with it. Each check returns what it did and the differences."""
import json
import re

from selenium.webdriver.common.keys import Keys

from browser import CHART_TEXTS, CONTRASTS, PIXELS, SCROLLING, TOO_WIDE, WIDTHS

PAGE = 200  # figures shown at first, and added by each press of the button
PRESSES = 3  # of the button, at most, for one selection
MIN_CONTRAST = 4.5  # of text, WCAG level AA


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
    """With everything folded out all of it fits a desktop; on a phone only tables scroll sideways, in their
    boxes. Texts of charts are inside of them and do not lie on each other."""
    bad = []
    browser.script("for (const d of document.querySelectorAll('details')) d.open = true")
    for device, width in WIDTHS.items():
        browser.look_as(device, "light")
        inner, whole = browser.script("return [innerWidth, document.documentElement.scrollWidth]")
        if inner != width or whole > inner:
            bad.append(f"at {width} pixels the page is {whole} wide")
        bad += [f"at {width} pixels this sticks out: {e}" for e in browser.script(TOO_WIDE)]
        bad += [f"at {width} pixels {problem}" for problem in browser.script(CHART_TEXTS)]
        if device == "desktop":
            bad += [f"at {width} pixels this table does not fit: {name}" for name in browser.script(SCROLLING)]
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

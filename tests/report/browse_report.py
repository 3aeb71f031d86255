#!/usr/bin/env python3
"""Uses the report of compare_norms in a browser, as a reader does, and checks what is then on the screen.

    python3 tests/report/browse_report.py runs/mnist-20ep
    python3 tests/report/browse_report.py runs/mnist-20ep --data data/mnist --screenshots /tmp

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
import json
import pathlib
import shutil
import sys

try:
    from selenium.common.exceptions import WebDriverException
except ImportError as missing:
    print(f"skipped: {missing}; install python3-selenium, chromium and chromium-driver")
    sys.exit(77)

import browser_checks
import checking
from browser import Browser
from mistakes import Mistakes, test_images


def checks_to_do(browser, mistakes, options):
    island = browser.script("return document.getElementById('misclassified-data').textContent")
    classes = json.loads(island)["classes"]
    yield lambda: browser_checks.check_first_view(browser, mistakes, classes)
    yield lambda: browser_checks.check_selections(browser, mistakes, classes)
    yield lambda: browser_checks.check_keyboard(browser, mistakes, classes)
    if options.data:
        yield lambda: browser_checks.check_pixels(browser, mistakes, test_images(options.data))
    yield lambda: browser_checks.check_width(browser)
    yield lambda: browser_checks.check_colors(browser)
    if options.screenshots:
        yield lambda: browser_checks.take_screenshots(browser, options.screenshots)
    yield lambda: browser_checks.check_quiet(browser)


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
    errors = (OSError, LookupError, TypeError, ValueError, WebDriverException)
    mistakes = Mistakes(options.study / "report" / "data")
    with Browser(page) as browser:
        differences = checking.run(checks_to_do(browser, mistakes, options), errors)
    return checking.tell(differences)


if __name__ == "__main__":
    sys.exit(main())

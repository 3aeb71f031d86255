#!/usr/bin/env python3
"""Checks the report of compare_norms against the runs that it tells of, without using any of its code.

    python3 tests/report/check_report.py runs/mnist-20ep
    python3 tests/report/check_report.py runs/mnist-20ep --healthy --train build/release/apps/train_mnist \\
        --data data/mnist

The files of the report are compared with those of the runs: report/data/*.csv with metrics.csv,
predictions.csv and model.safetensors; what is computed from them (means, intervals, tests) with NumPy and
SciPy; every number of report/index.html, found by its data-key, and every data-verdict with the same; the
list of misclassified images with the first seed's predictions and, with --train, with those that train_mnist
makes again from the saved weights. --healthy also expects of the diagnosis what a real study shows: layer
norm over rows learns nothing, its wider forms do.

Prints a line for each group of checks. Exits with 1 and the first differences if there are any, with 77
(skipped) without NumPy or SciPy.
"""
import argparse
import pathlib
import sys
import xml.etree.ElementTree

try:
    import numpy  # noqa: F401, both are needed by the modules below
    import scipy.stats  # noqa: F401
except ImportError as missing:
    print(f"skipped: {missing}; install numpy and scipy for this Python ({sys.executable})")
    sys.exit(77)

import checking
import csv_checks
import grid_checks
import honesty_checks
import page_checks
from page import Page
from study import Study


def checks_to_do(study, page, options):
    yield lambda: csv_checks.check_runs(study)
    yield lambda: csv_checks.check_curves(study)
    yield lambda: csv_checks.check_misclassified(study)
    yield lambda: csv_checks.check_networks(study)
    yield lambda: csv_checks.check_comparisons(study)
    yield lambda: csv_checks.check_confusion(study)
    yield lambda: csv_checks.check_weights(study)
    yield lambda: csv_checks.check_diagnosis(study, options.healthy)
    yield lambda: page_checks.check_figures(study, page)
    yield lambda: page_checks.check_cells(page)
    yield lambda: page_checks.check_verdicts(study, page)
    yield lambda: honesty_checks.check_bounds(study, page)
    yield lambda: honesty_checks.check_axes(page)
    yield lambda: honesty_checks.check_banner(study, page)
    yield lambda: honesty_checks.check_words(study, page)
    if study.runs:
        yield lambda: grid_checks.check_island(study, page)
    yield lambda: page_checks.check_self_contained(study, page)
    yield lambda: page_checks.check_charts(study, page)
    if options.train and study.runs:
        yield lambda: grid_checks.check_predictions_again(study, page, options.train, options.data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=pathlib.Path, help="directory of the study, which has report/")
    parser.add_argument("--train", help="train_mnist, to predict again from the saved weights; needs --data")
    parser.add_argument("--data", help="directory of the data set")
    parser.add_argument("--healthy", action="store_true", help="expect the diagnosis of a real study")
    options = parser.parse_args()
    if options.train and not options.data:
        parser.error("--train needs --data")
    errors = (OSError, LookupError, TypeError, ValueError, xml.etree.ElementTree.ParseError)
    try:
        study = Study(options.study)
        page = Page(study.report / "index.html")
        differences = checking.run(checks_to_do(study, page, options), errors)
    except errors as e:
        differences = [f"the report cannot be read: {type(e).__name__}: {e}"]
    return checking.tell(differences)


if __name__ == "__main__":
    sys.exit(main())

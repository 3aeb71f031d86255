#!/usr/bin/env bash
# Prints which share of the lines of base, core, nn and apps the tests have run, by folder, and the files below 90 %:
#   scripts/coverage.sh BUILD
# BUILD was configured with -DEVENKEEL_COVERAGE=ON, and its tests have run. Needs gcovr (Debian: gcovr).
# Exit codes: 0 printed, 2 usage, 3 nothing was measured.
set -euo pipefail

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: $0 BUILD   a build with -DEVENKEEL_COVERAGE=ON whose tests have run" >&2
  exit 2
fi
command -v gcovr >/dev/null || { echo "coverage.sh: gcovr is missing; install it (Debian: apt-get install gcovr)" >&2; exit 2; }
build=$(realpath "$1")
cd "$(dirname "$0")/.."

summary=$(mktemp)
trap 'rm -f "$summary"' EXIT
if [ -z "$(find "$build" -name '*.gcda' -print -quit)" ]; then
  echo "coverage.sh: $build holds no counts; configure it with -DEVENKEEL_COVERAGE=ON, build, and run its tests" >&2
  exit 3
fi
# A process that was killed while it wrote its counts leaves impossible ones, which are left out.
timeout 300 gcovr -j "$(nproc)" --gcov-ignore-parse-errors --root . --filter 'core/' --filter 'nn/' --filter 'apps/' --json-summary "$summary" "$build"

python3 - "$summary" <<'CODE'
import collections, json, os, sys

files = {}  # (lines that ran, lines) of each file; the build tree's include/evenkeel is a link to the sources
for file in json.load(open(sys.argv[1]))["files"]:
    name = os.path.relpath(os.path.realpath(file["filename"]))
    files[name] = max(files.get(name, (0, 0)), (file["line_covered"], file["line_total"]))
counts = collections.defaultdict(lambda: [0, 0])
for name, (covered, total) in files.items():
    folder = os.path.dirname(name)
    for each in {folder.split("/")[0], folder}:
        counts[each][0] += covered
        counts[each][1] += total


def row(name, covered, total):
    print(f"{name:<42} {total:>7} {100 * covered / max(total, 1):>8.1f} %")


print(f"{'folder':<42} {'lines':>7} {'run':>10}")
for folder in sorted(counts):
    row(folder, *counts[folder])
low = {name: counts for name, counts in files.items() if counts[0] < 0.9 * counts[1]}
print(f"\n{len(low)} of {len(files)} files are below 90 %" + (":" if low else ""))
for name, (covered, total) in sorted(low.items(), key=lambda item: item[1][0] / item[1][1]):
    row(name, covered, total)
CODE

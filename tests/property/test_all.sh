#!/usr/bin/env bash
# The long part of the property test: 2,000 cases of every family from a seed that is new each time, PyTorch asked about
# some of them if it is there, and mutations.sh.   tests/property/test_all.sh [FOLDER]
# FOLDER (one of its own in $TMPDIR or /var/tmp) holds the copy of the tree and its build, some 300 MB.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${1:-$(mktemp -d "${TMPDIR:-/var/tmp}/evenkeel-property.XXXXXX")}
"$here/mutations.sh" "$folder"
program=$folder/build/tests/property/test_property
cmake --build "$folder/build" --target test_property -j "$(nproc)" > "$folder/build.log"  # with all fixes in again
"$program" --seed random --cases 2000
python3 "$here/../interop/property_interop.py" --test-property "$program" --seed 1000 --cases 100 || [ $? -eq 77 ]
[ $# -ge 1 ] || rm -rf "$folder"

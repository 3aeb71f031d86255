#!/usr/bin/env bash
# Names the tests that the last ctest in a build skipped, each with its reason:   scripts/skipped_tests.sh BUILD
# A test is skipped if it exits with 77, after a line "skipped: reason".
set -euo pipefail
build=${1:?usage: scripts/skipped_tests.sh BUILD}
[ -f "$build/ctest.log" ] || { echo "skipped_tests.sh: $build/ctest.log is not there: run ctest first" >&2; exit 1; }
awk -v build="$(basename "$build")" '
  FNR == NR { if (/\*\*\*Skipped/) { sub(/.*Test +#[0-9]+: /, ""); sub(/ \.+.*/, ""); skipped[$0] = 1 } next }
  /^[0-9]+\/[0-9]+ Test: / { sub(/^[0-9]+\/[0-9]+ Test: /, ""); name = $0 }
  /^skipped: / && name in skipped { print build ": " name " was skipped:" substr($0, 9); delete skipped[name] }
  END { for (name in skipped) print build ": " name " was skipped and says no reason" }
' "$build/ctest.log" "$build/Testing/Temporary/LastTest.log"

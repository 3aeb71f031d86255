#!/usr/bin/env bash
# Whatever CI covers once, it goes on covering: each test that tests/covered.csv names for a build has passed there.
#   tests/check_covered.sh      after all of .ci/run; reads build/BUILD/ctest*.log
# Who removes or renames a test changes covered.csv in the same commit, and says why.
set -euo pipefail
cd "$(dirname "$0")/.."
passed=$(for log in build/*/ctest*.log; do
  build=$(basename "$(dirname "$log")")
  sed -nE "s|^ *[0-9]+/[0-9]+ Test +#[0-9]+: ([^ ]+) .* Passed .*|$build,\1|p" "$log"
done | sort -u)
missing=$(comm -23 <(tail -n +2 tests/covered.csv | sort -u) <(printf '%s\n' "$passed"))
if [ -n "$missing" ]; then
  echo "check_covered.sh: these tests did not pass, or did not run:" >&2
  printf '%s\n' "$missing" >&2
  exit 1
fi
echo "$(tail -n +2 tests/covered.csv | wc -l) tests of earlier versions pass in the builds in which they did, $(wc -l <<<"$passed") in all"

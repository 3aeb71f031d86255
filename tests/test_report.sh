#!/usr/bin/env bash
# The report of a small study on the real data, judged by code that shares nothing with it: every figure recomputed with
# SciPy, the page used in a browser.
#
#     tests/test_report.sh TRAIN_MNIST COMPARE_NORMS
#
# MNIST is looked for in $EVENKEEL_DATA, then in data/mnist. Without it, or without Python with SciPy and Selenium and a
# headless Chromium, the test is skipped (exit 77). Screenshots go to $EVENKEEL_SCREENSHOTS where that is set.
set -u
[ $# = 2 ] || { echo "usage: $0 TRAIN_MNIST COMPARE_NORMS" >&2; exit 2; }
train=$(realpath "$1") compare=$(realpath "$2") tests=$(dirname "$(realpath "$0")")
# shellcheck source=tests/app_testing.sh
. "$tests/app_testing.sh"

for python in /usr/bin/python3 python3 none; do
  "$python" -c 'import scipy, selenium' 2> /dev/null && break
done
[ "$python" != none ] || { echo "skipped: no python3 with scipy and selenium"; exit 77; }

# The first 2,000 test images are enough to miss some of.
"$compare" --norms bn,gn,ln-row --penalties off,proximal --l1 1e-3 --seeds 3 --epochs 2 --max-steps 150 --batch-sizes 16 \
  --batch-norms bn,gn --batch-epochs 1 --test-images 2000 --quiet --out study > stdout 2> stderr
check "a study succeeds" test $? = 0
# judged NAME COMMAND...: shows what the command says; skipped is failed here, as everything was there a moment ago.
judged() {
  local name=$1
  shift
  if "$@"; then ok "$name"; else bad "$name"; fi
}
judged "every figure is right" "$python" "$tests/report/check_report.py" study --healthy --train "$train" --data "$data"
judged "the page works" "$python" "$tests/report/browse_report.py" study --data "$data" ${EVENKEEL_SCREENSHOTS:+--screenshots "$EVENKEEL_SCREENSHOTS"}

for seeds in 1 2; do
  "$compare" --norms gn,ln --seeds $seeds --epochs 1 --max-steps 100 --test-images 1000 --quiet --out few > stdout 2> stderr
  check "a study of $seeds seeds" test $? = 0
  judged "... has no intervals and is right" "$python" "$tests/report/check_report.py" few --healthy --train "$train" --data "$data"
done

# A check that cannot fail is none.
sed -i '2s/\(.*,\)\([0-9.]*\)\(,[^,]*\)$/\17\2\3/' study/report/data/runs.csv
if "$python" "$tests/report/check_report.py" study > /dev/null 2>&1; then bad "a wrong figure is noticed"; else ok "a wrong figure is noticed"; fi
sed -i 's/<aside id="limits".*/<aside>/; s/>not enough seeds to tell</>no difference shown</' few/report/index.html
"$python" "$tests/report/check_report.py" few > noticed 2>&1
check "a banner that is not there is noticed" grep -q "the banner is ''" noticed
check "a verdict that nothing shows is noticed" grep -q "but no test could tell" noticed

finish

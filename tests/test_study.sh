#!/usr/bin/env bash
# Studies on the real data: which runs they make, what they use again, and that stopping, killing, damage and a full disk
# cost nothing that was finished.
#
#     tests/test_study.sh TRAIN_MNIST COMPARE_NORMS
#
# MNIST is looked for in $EVENKEEL_DATA, then in data/mnist; without it the test is skipped (exit 77).
set -u
[ $# = 2 ] || { echo "usage: $0 TRAIN_MNIST COMPARE_NORMS" >&2; exit 2; }
train=$(realpath "$1") compare=$(realpath "$2")
# shellcheck source=tests/app_testing.sh
. "$(dirname "$(realpath "$0")")/app_testing.sh"

says() { check "... says: $1" grep -Eq -- "$1" "${2:-stderr}"; }
listing() { ls -AlR --full-time --ignore=report "$1"; }
run_of() { echo study/"$1"-seed"$2"-*; }  # the directory, by the hash in its name

study="$compare --norms bn,ln-row --penalties off,subgradient --seeds 2 --epochs 2 --max-steps 15 --log-interval 1 \
  --batch-sizes 8 --batch-norms gn --batch-epochs 1 --out study"
mkdir whole parts
cd whole || exit 1

# --- a study that nobody disturbs -----------------------------------------------------------------------------------

$study > stdout 2> stderr
check "a study succeeds" test $? = 0
check "... without a word on stderr" test ! -s stderr
expected="bn-l1-seed1 bn-l1-seed2 bn-seed1 bn-seed2 gn-b8-seed1 gn-b8-seed2 ln-row-seed1 ln-row-seed2 report"
check "... with a directory a run" test "$(ls -A study | sed 's/-[0-9a-f]\{8\}$//' | LC_ALL=C sort | tr '\n' ' ')" = "$expected "
check "... each complete" has_files "$(run_of bn-l1 2)" "$all_files"
check "... says how far it is" grep -q '^Run 3 of 8: ln-row, seed 1; about ' stdout
check "... seed by seed" grep -q '^Run 5 of 8: bn, seed 2; ' stdout
check "... prints the reference's figures" grep -Eq '^bn-l1 .* 0\.01686 +99\.43 +57$' stdout
check "... and where the report is, last" test "$(tail -1 stdout)" = "Report: study/report/index.html"
check "... which is there" test -s study/report/index.html -a -s study/report/charts/test-loss.svg
check "ln-row learns nothing: ln 10, 980 zeros right" \
  grep -Eq '^main,ln-row,ln-row,off,64,2,1,ln-row-seed1-[0-9a-f]{8},2\.30258[0-9]*,9\.8[0-9]*,9020,' study/report/data/runs.csv
"$train" --norm bn --epochs 2 --max-steps 15 --seed 2 --quiet --out alone > stdout 2> stderr
check "a run of a study is a run of train_mnist" cmp alone/model.safetensors "$(run_of bn 2)/model.safetensors"

# --- again ----------------------------------------------------------------------------------------------------------

cp -r study/report first-report
before=$(listing study)
$study > stdout 2> stderr
check "a second time all runs are used again" grep -q '^Using 8 of 8 runs in study, finished before$' stdout
check "... nothing is trained" test "$(grep -c '^Train' stdout)" = 0
check "... the runs are as they were" test "$before" = "$(listing study)"
check "... and the report is the same" diff -r first-report study/report
"$compare" --norms bn,ln-row --penalties off --epochs 1 --max-steps 15 --lr 0.02 --out study > stdout 2> stderr
check "other options: other runs, beside" test "$(ls -d study/*-seed* | wc -l)" = 10
$study > stdout 2> stderr
check "... and never mixed: the first report again" diff -r first-report study/report

# --- stopped and killed ---------------------------------------------------------------------------------------------

cd ../parts || exit 1
stopped INT '^Run 3 of 8' $study
check "Ctrl-C in the third run: exit code 130" test $got = 130
stopped INT '^Train Epoch: 2 ' $study
check "... and between two steps: exit code 130" test $got = 130
says 'saved in study/ln-row-seed1-[0-9a-f]{8}: continue with the same command$'
stopped KILL '^Train Epoch: 1 ' $study
stopped KILL '^Test set' $study
stopped KILL '^Run 7 of 8' $study
$study > stdout 2> stderr
check "stopped twice and killed three times, it is continued" test $? = 0
says '^Using [0-9]+ of 8 runs in study, finished before$' stdout
# Without what depends on the clock.
timeless() {
  rm -rf "$2"
  cp -r "$1" "$2"
  sed -i -E 's/<(td|span)[^>]* data-timing[^>]*>[^<]*//g' "$2/index.html"
  sed -i 's/,[^,]*$//' "$2"/data/{runs,curves,networks}.csv
}
timeless ../whole/first-report whole-report
timeless study/report parts-report
check "... to the report of a study that nobody disturbed" diff -r whole-report parts-report

# --- damage ---------------------------------------------------------------------------------------------------------

# repairs NAME FILE: refused in one line that names the damaged file, the other runs as they were; repeated once the run is
# removed, as the line says.
repairs() {
  local damaged=$2 run before
  run=$(dirname "$damaged")
  before=$(listing study)
  $study > stdout 2> stderr
  check "$1: refused" test $? != 0
  check "... in one line" test "$(wc -l < stderr)" = 1
  says "$damaged.*remove $run, so that the run is repeated"
  check "... the runs as they were" test "$before" = "$(listing study)"
  rm -r "$run"
  $study > stdout 2> stderr
  check "... and repeated" test $? = 0
  timeless study/report parts-report
  check "... to the same report" diff -r whole-report parts-report
}
damaged=$(run_of ln-row 1)/predictions.csv
sed -i '5000,$d' "$damaged"
repairs "predictions that end early" "$damaged"
damaged=$(run_of bn 2)/metrics.jsonl
printf '{"epoch":' > "$damaged"
repairs "figures that are cut off" "$damaged"
damaged=$(run_of bn-l1 1)/model.safetensors
truncate -s 20000 "$damaged"
repairs "weights that are cut off" "$damaged"

# --- the wrong data, no room ----------------------------------------------------------------------------------------

before=$(listing study)
mkdir wrong
for file in $files; do ln -s "$data/$file"* wrong; done
$study --dataset fashion --data wrong > stdout 2> stderr
check "the wrong data set: exit code 3" test $? = 3
check "... in one line" test "$(wc -l < stderr)" = 1
says "is MNIST's, not Fashion-MNIST's"
check "... the runs as they were" test "$before" = "$(listing study)"

rm -r $(run_of bn-l1 2)
before=$(listing study)
# As on a full disk: no file can grow beyond 100 KiB, which predictions.csv does.
(trap '' XFSZ; ulimit -f 100; exec $study > /dev/null 2> stderr)
check "no room for the files of a run: exit code 1" test $? = 1
check "... in one line" test "$(wc -l < stderr)" = 1
says 'predictions\.csv'
rm -rf $(run_of bn-l1 2)
check "... the others as they were" test "$before" = "$(listing study)"
$study > stdout 2> stderr
cp -r study/report before-report
(trap '' XFSZ; ulimit -f 100; exec $study > /dev/null 2> stderr)
check "no room for the report: exit code 1" test $? = 1
check "... in one line" test "$(wc -l < stderr)" = 1
check "... the page as it was" cmp before-report/index.html study/report/index.html
check "... and nothing half-written" test -z "$(find study -name '*.tmp*')"

finish

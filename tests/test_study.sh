#!/usr/bin/env bash
# Studies on the real data: which runs they make, what they use again, and that stopping, killing, damage and a full disk
# cost nothing that was finished.
#
#     tests/test_study.sh TRAIN_MNIST COMPARE_NORMS
#
# Every run is evaluated on the first $EVENKEEL_TEST_IMAGES of the test images only, 1,000 if that is not set.
#
# MNIST is looked for in $EVENKEEL_DATA, then in data/mnist; without it the test is skipped (exit 77).
set -u
[ $# = 2 ] || { echo "usage: $0 TRAIN_MNIST COMPARE_NORMS" >&2; exit 2; }
train=$(realpath "$1") compare=$(realpath "$2")
# shellcheck source=tests/app_testing.sh
. "$(dirname "$(realpath "$0")")/app_testing.sh"

says() { check "... says: $1" grep -Eq -- "$1" "${2:-stderr}"; }
# True once no process has a file of the folder open or locked, which takes a moment after a kill.
nobody_works_in() {
  local lock
  for _ in $(seq 50); do
    for lock in "$1" "$1"/*-seed*; do flock --nonblock "$lock" true || { sleep 0.1; continue 2; }; done
    return 0
  done
  return 1
}
listing() { ls -AlR --full-time --ignore=report "$1"; }
run_of() { echo study/"$1"-seed"$2"-*; }  # the directory, by the hash in its name

images=${EVENKEEL_TEST_IMAGES:-1000} steps=15
[ "$images" = 1000 ] || steps=6
study="$compare --jobs 1 --norms bn,ln-row --penalties off,subgradient --seeds 2 --epochs 2 --max-steps $steps --log-interval 1 \
  --batch-sizes 8 --batch-norms gn --batch-epochs 1 --test-images $images --out study"
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
cut='^Cut short: 2 epochs, not the 20 of the recipe; 1 epoch for each batch size, not 3; every epoch ends after '$steps' of its 938 steps; '
cut+='tested on the first '"$images"' of 10000 images; 2 seeds: a verdict takes [0-9]+ where so many pairs are compared, an interval takes 3$'
check "... what was cut short" grep -Eq "$cut" stdout
check "... and where the report is, last" test "$(tail -1 stdout)" = "Report: study/report/index.html"
check "... which is there" test -s study/report/index.html -a -s study/report/charts/test-loss.svg
others=$(content t10k-labels-idx1-ubyte | tail -c +9 | head -c "$images" | od -An -v -tu1 -w1 | grep -cv ' 0$')
check "ln-row learns nothing: ln 10, the zeros right" \
  grep -Eq "^main,ln-row,ln-row,off,64,2,1,ln-row-seed1-[0-9a-f]{8},2\.30258[0-9]*,[0-9.]+,$others," study/report/data/runs.csv
"$train" --norm bn --epochs 2 --max-steps $steps --seed 2 --test-images $images --quiet --out alone > stdout 2> stderr
check "a run of a study is a run of train_mnist" cmp alone/model.safetensors "$(run_of bn 2)/model.safetensors"

# --- again ----------------------------------------------------------------------------------------------------------

cp -r study/report first-report
before=$(listing study)
$study > stdout 2> stderr
check "a second time all runs are used again" grep -q '^Using 8 of 8 runs in study, finished before$' stdout
check "... nothing is trained" test "$(grep -c '^Train' stdout)" = 0
check "... the runs are as they were" test "$before" = "$(listing study)"
check "... and the report is the same" diff -r first-report study/report
"$compare" --norms bn,ln-row --penalties off --epochs 1 --max-steps $steps --lr 0.02 --test-images $images --out study > stdout 2> stderr
check "other options: other runs, beside" test "$(ls -d study/*-seed* | wc -l)" = 10
$study > stdout 2> stderr
check "... and never mixed: the first report again" diff -r first-report study/report

# --- stopped and killed ---------------------------------------------------------------------------------------------

cd ../parts || exit 1
$apart $study > first 2>&1 &
until grep -q '^Train Epoch' first || ! kill -0 $! 2> /dev/null; do sleep 0.01; done
$study > stdout 2> stderr
check "a second study in the same directory: exit code 2" test $? = 2
check "... in one line" test "$(wc -l < stderr)" = 1
says '^compare_norms: study is in use by another program'
$compare --norms gn --epochs 1 --out study > stdout 2> stderr
check "... with other options, too" test $? = 2
kill -KILL $!
wait $! 2> /dev/null
stopped INT '^Run 3 of 8' $study
check "Ctrl-C in the third run: exit code 130" test $got = 130
stopped INT '^Train Epoch: 2 ' $study
check "... and between two steps: exit code 130" test $got = 130
says 'saved in study/ln-row-seed1-[0-9a-f]{8}: continue with the same command$'
stopped KILL '^Train Epoch: 1 ' $apart $study
stopped KILL '^Test set' $apart $study
stopped KILL '^Run 7 of 8' $apart $study
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

# --- side by side -----------------------------------------------------------------------------------------------------

mkdir ../beside
cd ../beside || exit 1
beside=${study/--jobs 1/--jobs 3 --threads 3}
stopped TERM '^Finished: ' $beside
check "a study of processes, stopped: exit code 143" test $got = 143
says '^compare_norms: stopped by SIGTERM while runs were trained side by side; they are saved: continue with the same command$'
stopped KILL '^Finished: ' $apart $beside
check "... killed, none of its processes goes on" nobody_works_in study
$beside > stdout 2> stderr
check "... and continued" test $? = 0
check "... without a word on stderr" test ! -s stderr
check "... to the end of the last run" grep -q '^Finished: study/' stdout
check "... all runs" test "$(ls -d study/*-seed* | wc -l)" = 8
for run in study/*-seed*; do
  check "... the weights of one after another: ${run##*/}" cmp "$run/model.safetensors" "../whole/$run/model.safetensors"
done
$beside --jobs 0 > stdout 2> stderr
check "no jobs: exit code 2" test $? = 2
$compare --jobs 2 --norms gn,bn --penalties off --lr 1e30 --epochs 1 --max-steps $steps --test-images $images --out diverged > stdout 2> stderr
check "runs whose loss is not finite fail alone: exit code 5" test $? = 5
check "... both are named" test "$(grep -c 'the study goes on without this run$' stdout)" = 2
cd ../parts || exit 1

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
sed -i '100,$d' "$damaged"
repairs "predictions that end early" "$damaged"
damaged=$(run_of bn 2)/metrics.jsonl
printf '{"epoch":' > "$damaged"
repairs "figures that are cut off" "$damaged"
damaged=$(run_of bn-l1 1)/model.safetensors
truncate -s 20000 "$damaged"
repairs "weights that are cut off" "$damaged"

# Files that are each well and do not belong together, in runs whose DONE has no checksums, as version 0.1.0 made them.
damaged=$(run_of bn 1)/metrics.jsonl
echo done > "$(dirname "$damaged")/DONE"
sed -i 's/"loss":[0-9.e+-]*/"loss":0.001/' "$damaged"
repairs "losses that are others" "$damaged"
damaged=$(run_of ln-row 2)/model.safetensors
echo done > "$(dirname "$damaged")/DONE"
printf '\177' | dd of="$damaged" bs=1 seek=$(($(stat -c %s "$damaged") - 2)) conv=notrunc 2> /dev/null
repairs "a byte of the weights that is another" "$damaged"
damaged=$(run_of bn 2)/metrics.jsonl
echo done > "$(dirname "$damaged")/DONE"
sed -i '1s/"split":"train"/"split":"trahn"/' "$damaged"
repairs "a split that is none" "$damaged"

# --- the wrong data, no room ----------------------------------------------------------------------------------------

before=$(listing study)
mkdir wrong
for file in $files; do ln -s "$data/$file"* wrong; done
$study --dataset fashion --data wrong > stdout 2> stderr
check "the wrong data set: exit code 3" test $? = 3
check "... in one line" test "$(wc -l < stderr)" = 1
says "is MNIST's, not Fashion-MNIST's"
check "... the runs as they were" test "$before" = "$(listing study)"

# As on a full disk: no file can grow beyond 100 KiB, which predictions.csv of 5,000 images does.
kept=$(run_of bn-l1 1)
(trap '' XFSZ; ulimit -f 100; exec $apart "$compare" --norms bn --epochs 1 --max-steps 2 --test-images 5000 --out study > /dev/null 2> stderr)
check "no room for the files of a run: exit code 1" test $? = 1
check "... in one line" test "$(wc -l < stderr)" = 1
says 'predictions\.csv'
rm -rf $(ls -d study/bn-l1-seed1-* | grep -vx "$kept")
check "... the others as they were" test "$before" = "$(listing study)"
$study > stdout 2> stderr
cp -r study/report before-report
(trap '' XFSZ; ulimit -f 100; exec $apart $study > /dev/null 2> stderr)
check "no room for the report: exit code 1" test $? = 1
check "... in one line" test "$(wc -l < stderr)" = 1
check "... the page as it was" cmp before-report/index.html study/report/index.html
check "... and nothing half-written" test -z "$(find study -name '*.tmp*')"

# --- a loss that is not finite ------------------------------------------------------------------------------------------

diverges="$compare --norms bn,gn --batch-sizes 8 --batch-norms gn --epochs 1 --batch-epochs 1 --max-steps 10 --test-images 100 --out wild"
$diverges --lr 1e30 > stdout 2> stderr
check "all runs diverge: exit code 5" test $? = 5
check "... in one line" test "$(wc -l < stderr)" = 1
says '^compare_norms: 3 of 3 runs failed, and the report is of the others: the loss of bn-l1 is '
says '^Cut short: .*; 3 of 3 runs failed, the loss of bn-l1 is .*: bn-l1 with seed 1, gn with seed 1, gn-b8 with seed 1$' stdout
check "... with a report" grep -q '<aside id="limits"' wild/report/index.html
check "... without a figure that is none" test "$(sed '/<script/,$d' wild/report/index.html | grep -Ec 'data-value="[^"]*(nan|inf)')" = 0
check "... that has no network" test "$(wc -l < wild/report/data/networks.csv)" = 1

# --- where the report goes --------------------------------------------------------------------------------------------

small="$compare --norms bn --epochs 1 --max-steps 2 --test-images 50 --quiet"
mkdir -p else/dir
ln -s else/dir sym
$small --seed 5 --out bare > stdout 2> stderr
check "a study of one network" test $? = 0
bare=$(listing bare; ls bare/report/*)
cp -r bare study-of-bn
for place in sym/../bare file:x ./-x -x; do # other places, or options, to a program that is told these names
  $small --out="$place" > stdout 2> stderr
  check "a study in $place" test $? = 0
  check "... without a word on stderr" test ! -s stderr
  check "... has the same files" test "$(cd ./"$place/report" && ls ./*)" = "$(cd bare/report && ls ./*)"
done
check "... and a study of another place is as it was" diff -r bare study-of-bn

place=$(printf "it's a \"study\" & caf\351")
$small --seed 5 --out "$place" > stdout 2> stderr
command=$(grep -o '<pre>.*</pre>' "$place/report/index.html" | sed 's/<[^>]*>//g; s/&quot;/"/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g')
eval "$command" > stdout 2> stderr
check "the command in a report can be repeated" grep -aq '^Using 1 of 1 runs' stdout

# not_ours NAME: a study in proj, which has what the caller made, is refused before it trains, and leaves it alone.
not_ours() {
  local before
  before=$(ls -AlR --full-time proj)
  timeout 60 $small --out proj > stdout 2> stderr
  check "$1: exit code 2" test $? = 2
  check "... in one line" test "$(wc -l < stderr)" = 1
  says '^compare_norms: proj/report.*: move it away or choose another --out$'
  check "... before anything is trained" test ! -s stdout
  check "... and all is as it was" test "$before" = "$(ls -AlR --full-time proj)"
  rm -r proj
}
mkdir -p proj/report/data
echo precious > proj/report/index.html
echo mine > proj/report/data/runs.csv
not_ours "somebody's own report/"
mkdir proj
cp -r bare/report elsewhere
ln -s ../elsewhere proj/report
not_ours "a link to a report"
mkdir proj
cp -r bare/report proj/report
mv proj/report/index.html page
ln -s ../../page proj/report/index.html
not_ours "a link to a page"
mkdir -p proj/report
mkfifo proj/report/index.html
not_ours "a pipe as a page"
mkdir proj
echo mine > proj/report
not_ours "a file as report/"
mkdir proj
cp -r bare/report proj/report
rm proj/report/data/runs.csv
mkdir proj/report/data/runs.csv
not_ours "a folder as runs.csv"

for left in index.html.7-0.tmp data/runs.csv.7-3.tmp charts/logits.png.7-12.tmp charts/gradients.png.tmp; do
  echo half > bare/report/$left
done
$small --seed 5 --out bare > stdout 2> stderr
check "what a kill has left half-written goes" test "$bare" = "$(listing bare; ls bare/report/*)"
mkdir fake
printf '#!/bin/sh\nexit 1\n' > fake/rsvg-convert
chmod +x fake/rsvg-convert
PATH=$PWD/fake:$PATH $small --seed 5 --out bare > stdout 2> stderr
check "an rsvg-convert that fails: exit code 0" test $? = 0
says '^Charts without a PNG: gradients, logits, test-accuracy, test-loss; rsvg-convert fails: try it on bare/report/charts/' stdout
check "... the page as it was" cmp bare/report/index.html study-of-bn/report/index.html
check "... no PNG of an earlier report" test -z "$(find bare -path '*charts/*.png*')"
touch bare/report/charts/batch-size.{svg,png} bare/report/charts/mine.svg
$small --seed 5 --out bare > stdout 2> stderr
rm bare/report/charts/mine.svg
check "a chart that only an earlier report had goes, others' files stay" diff -r bare study-of-bn

# --- a run in use -------------------------------------------------------------------------------------------------------

$small --seeds 2 --out held > stdout 2> stderr
second=$(echo held/bn-l1-seed2-*)
rm -r held/*
mkdir "$second"
flock "$second" $small --seeds 2 --out held > stdout 2> stderr
check "another program works in the last run: exit code 2" test $? = 2
check "... in one line" test "$(wc -l < stderr)" = 1
says "^compare_norms: $second is in use by another program"
check "... before anything is trained" test ! -s stdout
check "... and nothing is left" test "$(find held)" = "held
$second"
$small --seeds 2 --out held > stdout 2> stderr
check "... then both runs are trained" test $? = 0

finish

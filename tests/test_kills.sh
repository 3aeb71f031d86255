#!/usr/bin/env bash
# Kills runs at each of their file operations and at random moments, lets each operation fail, and starts runs two at a time:
# continued, every run must end in the files of a run that nobody disturbed, and two must never mix.
#
#     [EVENKEEL_RANDOM_KILLS=20] tests/test_kills.sh TRAIN_MNIST FAULT_INJECTION
#
# TRAIN_MNIST: tests/runs/small_train_mnist.cpp, which needs no data. FAULT_INJECTION: the library of tests/runs/.
set -u
[ $# = 2 ] || { echo "usage: $0 TRAIN_MNIST FAULT_INJECTION" >&2; exit 2; }
train=$(realpath "$1") faults=$(realpath "$2") random_kills=${EVENKEEL_RANDOM_KILLS:-20}
# shellcheck source=tests/checks.sh
. "$(dirname "$(realpath "$0")")/checks.sh"
work=$(realpath "$(mktemp -d)")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export TERM=dumb OMP_NUM_THREADS=1
unset EVENKEEL_DEVICE EVENKEEL_DATA

run="$train --norm ln --batch-size 48 --epochs 2 --quiet"
results="confusion.csv misclassified.png model.safetensors predictions.csv"
all_files="DONE config.json confusion.csv metrics.csv metrics.jsonl misclassified.png model.safetensors predictions.csv"
has_files() { [ "$(ls -A "$1" | LC_ALL=C sort | tr '\n' ' ')" = "$2 " ]; }
figures() { cut -d, -f1-5,8,9 "$1/metrics.csv"; } # what does not depend on the clock
# problem_of DIR WHOLE: what DIR, a finished run, does not have like WHOLE.
problem_of() {
  local file
  has_files "$1" "$all_files" || echo "holds $(ls -A "$1" | tr '\n' ' ')"
  for file in $results; do cmp -s "$2/$file" "$1/$file" || echo "$file differs"; done
  [ "$(figures "$2")" = "$(figures "$1")" ] || echo "metrics.csv differs"
}
# faulty BELOW AT DO COMMAND...: COMMAND with that fault.
faulty() {
  local below=$1 at=$2 what=$3
  shift 3
  FAULT_BELOW=$work/$below FAULT_AT=$at FAULT_DO=$what LD_PRELOAD=$faults "$@"
}

$run --out whole/run > stdout 2> stderr
check "a run that nobody disturbs" test $? = 0
check "... with all its files" has_files whole/run "$all_files"
$run --out longer --epochs 3 > stdout 2> stderr
FAULT_LOG=log faulty below 0 kill $run --out below/run > stdout 2> stderr
operations=$(wc -l < log)
check "its file operations can be counted: $operations" test "$operations" -gt 100

# --- on disk in the right order -----------------------------------------------------------------------------------------

# before WORDS WORDS: some line of the log that matches the first comes before the first one that matches the second.
before() { awk -v a="$1" -v b="$2" '$0 ~ a { seen = 1 } $0 ~ b { exit !seen } END { if (!seen) exit 1 }' log; }
check "the bytes of a file are on disk before its name" \
  awk '/^write / { dirty = 1 } /^fsync / { dirty = 0 } /^rename / && !/metrics/ { if (dirty) exit 1 }' log
check "all results are renamed before DONE" before 'rename .*confusion.csv' 'rename .*/DONE'
check "after DONE the folder is on disk before the checkpoint goes" awk '/^rename .*\/DONE/ { done = 1 } done && /^fsync/ { on_disk = 1 }
  done && /^unlink .*checkpoint.safetensors$/ { exit !on_disk }' log
check "a new folder is on disk" awk '/^mkdir .*run$/ { made = 1; next } made { exit !/^open/ }' log

# --- killed, failing -----------------------------------------------------------------------------------------------------

# goes_on NAME WHOLE COMMAND...: after what happened to it, COMMAND finishes the run in below/run.
goes_on() {
  local name=$1 whole=$2 problem
  shift 2
  timeout 60 "$@" --out below/run > stdout 2> stderr || { bad "$name: refused"; return 1; }
  problem=$(problem_of below/run "$whole")
  [ -z "$problem" ] || { bad "$name: $problem"; return 1; }
}
# at_each NAME WHOLE PREPARE COMMAND...: kills COMMAND before and within each of its operations, and lets each fail.
at_each() {
  local name=$1 whole=$2 prepare=$3 at=0 what code good=1 operation
  shift 3
  rm -rf below log
  $prepare
  FAULT_LOG=log faulty below 0 kill "$@" --out below/run > stdout 2> stderr
  cut -d' ' -f1 log > operations
  while read -r operation <&3; do
    at=$((at + 1))
    whats="kill $((at % 2 ? 5 : 28))" # EIO, ENOSPC
    [ "$operation" != write ] || whats+=" torn"
    for what in $whats; do
      rm -rf below
      $prepare
      faulty below $at "$what" timeout 60 "$@" --out below/run > stdout 2> stderr
      code=$?
      case $what-$code in
        kill-137 | torn-137) ;;
        kill-* | torn-*) bad "$name: $what at $at: exit code $code"; good=0 ;;
        *-0) [ -z "$(problem_of below/run "$whole")" ] || { bad "$name: errno $what at $at: unnoticed"; good=0; } ;;
        *-[1-5]) [ "$(wc -l < stderr)" = 1 ] || { bad "$name: errno $what at $at: not one line"; good=0; } ;;
        *) bad "$name: errno $what at $at: exit code $code"; good=0 ;;
      esac
      goes_on "$name: $what at $at, $operation" "$whole" "$@" --resume-or-start || good=0
    done
  done 3< operations
  [ $good = 0 ] || ok "$name: killed and failing at each of $at operations"
}
at_each "a run" whole/run true $run
$train --norm ln --epochs 0 --quiet --out evaluated > stdout 2> stderr
good=1
for at in $(seq 2 40); do
  rm -rf below && mkdir below && cp -r evaluated below/run && rm below/run/DONE
  faulty below "$at" kill $run --out below/run > stdout 2> stderr
  goes_on "a run where an evaluation was killed, killed at $at" whole/run $run --resume-or-start || good=0
done
[ $good = 0 ] || ok "killed early where an evaluation was killed"
# Where folders cannot be locked, the first thing in one is the file that is locked instead.
unlocked="env LD_PRELOAD=$faults FAULT_NO_DIRECTORY_LOCKS=1"
good=1
for at in $(seq 2 14); do
  rm -rf below
  FAULT_NO_DIRECTORY_LOCKS=1 faulty below "$at" kill $run --out below/run > stdout 2> stderr
  [ ! -d below/run ] || goes_on "killed at $at, unlocked" whole/run $unlocked $run --resume || good=0
done
[ $good = 0 ] || ok "killed early where folders cannot be locked"
finished_run() { mkdir below && cp -r whole/run below/run; }
at_each "a finished run that goes on" longer finished_run $run --epochs 3 --resume-or-start

# killed AFTER COMMAND...: kills it AFTER seconds, and waits until it is gone.
killed() {
  local moment=$1
  shift
  "$@" > stdout 2> stderr &
  sleep "$moment"
  kill -KILL $! 2> /dev/null
  wait $! 2> /dev/null
}
for i in $(seq "$random_kills"); do
  moment=0.$(printf %03d $((RANDOM % 200)))
  rm -rf below
  killed "$moment" $run --out below/run
  killed "$moment" $run --out below/run --resume-or-start
  goes_on "killed after $moment s" whole/run $run --resume-or-start || break
done
check "killed at $random_kills random moments, twice each" test "$i" = "$random_kills"

# --- two at once ----------------------------------------------------------------------------------------------------------

$run --seed 2 --out seed2 > stdout 2> stderr
# two NAME [ENVIRONMENT...]: runs of two seeds in one folder, the second a moment later. One of them has it, whole.
two() {
  local name=$1 delay first second problem good=1
  shift
  for delay in 0 0 0.01 0.02 0.05 0.1 0.2; do
    rm -rf below
    env "$@" $run --out below/run > out1 2> err1 &
    sleep $delay
    env "$@" $run --seed 2 --out below/run > out2 2> err2
    second=$?
    wait $!
    first=$?
    [ "$(cat err1 err2 | wc -l)" = 1 ] || { bad "$name, $delay s apart: not one line in all"; good=0; }
    case $first-$second in
      0-2) problem=$(problem_of below/run whole/run) ;;
      2-0) problem=$(problem_of below/run seed2) ;;
      *) problem="exit codes $first and $second" ;;
    esac
    [ -z "$problem" ] || { bad "$name, $delay s apart: $problem"; good=0; }
  done
  [ $good = 0 ] || ok "$name: one is refused"
}
two "two at once"
two "two at once where folders cannot be locked" ${unlocked#env }
check "... and the file that is locked instead is gone" test -z "$(find below -name '.*lock')"

finish

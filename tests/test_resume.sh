#!/usr/bin/env bash
# Stops and kills runs on the real data wherever it could hurt: continued, they must end in the files of a run that nobody
# stopped.
#
#     tests/test_resume.sh TRAIN_MNIST
#
# MNIST is looked for in $EVENKEEL_DATA, then in data/mnist; without it the test is skipped (exit 77).
set -u
[ $# = 1 ] || { echo "usage: $0 TRAIN_MNIST" >&2; exit 2; }
train=$(realpath "$1")
# shellcheck source=tests/app_testing.sh
. "$(dirname "$(realpath "$0")")/app_testing.sh"

# Batch norm has buffers, the rate drops after the first epoch, and momentum is the default.
recipe="--norm bn --l1 1e-5 --epochs 2 --max-steps 100 --step-size 1"
run="$train $recipe --log-interval 1"
$run --out whole > stdout 2> stderr
check "the run that nobody stops" test $? = 0

# What does not depend on the clock.
figures() { cut -d, -f1-5,8,9 "$1/metrics.csv"; }
lines() { sed -E 's/"(seconds|images_per_s)":[^,}]*//g' "$1/metrics.jsonl"; }
# same NAME DIR: DIR holds a finished run and, but for the clock, what whole/ holds.
same() {
  local problem="" file
  has_files "$2" "$all_files" || problem="it holds $(ls -A "$2" | tr '\n' ' ')"
  for file in model.safetensors predictions.csv confusion.csv misclassified.png; do
    cmp -s "whole/$file" "$2/$file" || problem+=" $file differs"
  done
  [ "$(figures whole)" = "$(figures "$2")" ] || problem+=" metrics.csv differs"
  [ "$(lines whole)" = "$(lines "$2")" ] || problem+=" metrics.jsonl differs"
  if [ -z "$problem" ]; then ok "$1"; else bad "$1: $problem"; fi
}
listing() { ls -AlR --full-time "$1"; }
# keeps NAME CODE DIR COMMAND...: refused, and DIR is as it was.
keeps() {
  local name=$1 code=$2 dir=$3 before
  shift 3
  before=$(listing "$dir")
  refuses "$name" "$code" "$@"
  check "... $dir is as it was" test "$before" = "$(listing "$dir")"
}
says() { check "... says: $1" grep -q -- "$1" "${2:-stderr}"; }

# --- killed -----------------------------------------------------------------------------------------------------------

stopped KILL '^Train Epoch: 1 ' $run --out killed
check "killed in the first epoch: no half file" has_files killed config.json
touch killed/metrics.csv.1-0.tmp # what a kill within a write would leave
stopped KILL '^Train Epoch: 2 .640/' $run --resume --out killed
says "No checkpoint in killed: starting from the beginning" stdout
check "killed in the second: the first one's files" has_files killed "checkpoint.safetensors config.json metrics.csv metrics.jsonl"
cp -r killed once
touch killed/checkpoint.safetensors.1-0.tmp
stopped KILL '^Train Epoch: 2 .1280/' $run --resume --out killed
says "Continuing killed after epoch 1 of 2" stdout
check "... trains nothing again" test "$(grep -c '^Train Epoch: 1' stdout)" = 0
"$train" $recipe --quiet --threads 1 --resume --out killed > stdout 2> stderr
same "killed in every epoch and continued" killed

stopped KILL '^Train set' $run --out evaluating
stopped KILL '^Train set' $run --resume --out evaluating
stopped KILL '^Test set' $run --resume --out evaluating
$run --resume --out evaluating > stdout 2> stderr
same "killed in evaluations, and around the writing of figures" evaluating

# Some of the moments that are too short to be hit: files that a kill would leave one ahead of the other.
rm once/metrics.jsonl
$run --resume --out once > stdout 2> stderr
same "killed between the two files of figures" once

for _ in 1 2; do
  moment=$((RANDOM % 1500 + 1))
  rm -rf random
  for _ in 1 2; do
    $run --resume-or-start --out random > stdout 2> stderr &
    sleep "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))"
    kill -KILL $!
    wait $! 2> /dev/null
  done
  $run --resume-or-start --out random > stdout 2> stderr
  same "killed twice, each time after $moment ms" random
done

# --- stopped by a signal ----------------------------------------------------------------------------------------------

stopped INT '^Train Epoch: 1 .640/' $run --out signalled
check "SIGINT in an epoch: exit code 130" test $got = 130
check "... one line" test "$(wc -l < stderr)" = 1
says "^train_mnist: stopped by SIGINT in epoch 1, after step [0-9]* of 100; saved in signalled: .* the same command and --resume"
check "... with the checkpoint" has_files signalled "checkpoint.safetensors config.json"
done_steps=$(sed 's/.*after step \([0-9]*\) of.*/\1/' stderr)
keeps "started again without --resume" 2 signalled $run --out signalled
says "holds an unfinished run, saved in epoch 1 of 2, after step $done_steps of 100: continue with --resume"
stopped TERM '^Train Epoch: 2 ' $run --resume --out signalled
check "SIGTERM in an epoch: exit code 143" test $got = 143
check "... after the steps that were left" grep -q "^Train Epoch: 1 .$((done_steps * 64))/" <(head -3 stdout)
stopped INT '^Train set' $run --resume --out signalled
check "SIGINT in an evaluation: exit code 130" test $got = 130
says "saved in signalled: continue with the same command$"
$run --resume --out signalled > stdout 2> stderr
same "stopped by signals and continued" signalled

# --- what cannot be continued -----------------------------------------------------------------------------------------

stopped INT '^Train Epoch: 2 ' $run --out damaged
whole_checkpoint=$(mktemp -p .)
cp damaged/checkpoint.safetensors "$whole_checkpoint"
keeps "another rate" 2 damaged $run --lr 0.02 --resume --out damaged
says "with lr 0.01, not 0.02: remove it or choose another --out"
keeps "more epochs" 2 damaged $run --epochs 3 --resume --out damaged
says "with epochs 2, not 3"
# damage NAME WORDS: the checkpoint as it is now is refused, whether it is asked for or not.
damage() {
  keeps "$1" 3 damaged $run --resume --out damaged
  says "$2.*remove it to start that run over"
  keeps "$1, without --resume" 3 damaged $run --out damaged
}
head -c 20000 "$whole_checkpoint" > damaged/checkpoint.safetensors
damage "a checkpoint that is cut short" "checkpoint.safetensors .*; give an undamaged"
: > damaged/checkpoint.safetensors
damage "an empty checkpoint" "too few for a header"
cp whole/model.safetensors damaged/checkpoint.safetensors
damage "weights for a checkpoint" "is no checkpoint of a run"
cp "$whole_checkpoint" damaged/checkpoint.safetensors
printf 'XX' | dd of=damaged/checkpoint.safetensors bs=1 seek=$(($(stat -c %s "$whole_checkpoint") - 100)) conv=notrunc status=none
damage "a checkpoint with two other bytes" "its checksum is wrong"
cp "$whole_checkpoint" damaged/checkpoint.safetensors
$run --resume --out damaged > stdout 2> stderr
same "the undamaged checkpoint" damaged

cp "$whole_checkpoint" whole/checkpoint.safetensors # of a kill after DONE
$run --resume --out whole > stdout 2> stderr
check "a finished run: exit code 0" test $? = 0
check "... says where the results are" test "$(cat stdout)" = "Results: whole, finished before"
check "... and holds nothing else" has_files whole "$all_files"
keeps "a finished run with another seed" 2 whole $run --seed 2 --resume --out whole
says "is a finished run with seed 1, not 2"
refuses "a loss that is not finite in the second epoch" 5 $run --gamma 1e30 --out diverged
check "... has no checkpoint to continue from" has_files diverged "config.json metrics.csv metrics.jsonl"

finish

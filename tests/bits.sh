#!/usr/bin/env bash
# The bits of results, against those that are on record: a change that is only about the code leaves them as they are.
#
#     tests/bits.sh cpu|cuda|cuda_ops TEST_PROPERTY TRAIN_MNIST [record]
#
# cpu: for each instruction set that this machine has, all results of test_property, and of each network the weights after
# 60 steps. cuda: the same on the SIMT executor, where each engine trains a network for 3 steps; cuda_ops: without networks.
# The record is tests/bits.txt; with "record" the lines that are made here are written anew. The networks need MNIST in
# $EVENKEEL_DATA or data/mnist; without it they are left out.
set -u
[ $# -ge 3 ] || { echo "usage: $0 cpu|cuda|cuda_ops TEST_PROPERTY TRAIN_MNIST [record]" >&2; exit 2; }
[[ $1 =~ ^(cpu|cuda|cuda_ops)$ ]] || { echo "$0: '$1' is none of cpu, cuda, cuda_ops" >&2; exit 2; }
device=$1 property=$(realpath "$2") train=$(realpath "$3") mode=${4:-check}
source_dir=$(dirname "$(dirname "$(realpath "$0")")")
record=$source_dir/tests/bits.txt
export EVENKEEL_DATA=${EVENKEEL_DATA:-$source_dir/data/mnist} SIMT_ORDERS=1 TERM=dumb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# of_properties NAME OPTION...: a line for each family.
of_properties() {
  local name=$1
  shift
  "$property" --bits "$@" > log || { tail -3 log >&2; exit 1; }
  awk -v name="$name" 'NF == 2 && length($2) == 16 && $2 != "0000000000000001" { print name, "property", $1, $2 }' log
}
# of_network NAME NORM OPTION...: a line.
of_network() {
  local name=$1 norm=$2
  shift 2
  [ -e "$(find "$EVENKEEL_DATA"/ -name 'train-images-idx3-ubyte*' -print -quit 2> /dev/null)" ] || return 0
  "$train" --norm "$norm" --epochs 1 --seed 7 --test-images 10 --quiet "$@" --out run > log 2>&1 || { tail -1 log >&2; exit 1; }
  echo "$name network $norm $(sha256sum run/model.safetensors | cut -d' ' -f1)"
  rm -rf run
}
norms="none bn gn ln ln-row ln-c in"
cpu() {
  local isa
  for isa in baseline avx2 avx512; do
    case $isa in
      avx2) grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo || continue ;;
      avx512) grep -qw avx512f /proc/cpuinfo && grep -qw avx512dq /proc/cpuinfo || continue ;;
    esac
    export EVENKEEL_MAX_CPU_ISA=$isa
    of_properties "cpu-$isa"
    for norm in $norms; do of_network "cpu-$isa" "$norm" --device cpu --max-steps 60; done
  done
}
cuda_ops() { of_properties cuda --device cuda --cases 20; }
cuda() {
  cuda_ops
  for norm in $norms; do
    for engine in layers grid sm; do
      of_network "cuda-$engine" "$norm" --device cuda --engine $engine --max-steps 3 --batch-size 8
    done
  done
}

"$device" > now || exit 1
[ -s now ] || { echo "no result has a line" >&2; exit 1; }
touch "$record"
if [ "$mode" = record ]; then
  # What this machine cannot make, another instruction set or the networks without MNIST, stays.
  { awk 'NR == FNR { made[$1, $2, $3] = 1; next } !(($1, $2, $3) in made)' now "$record"; cat now; } | LC_ALL=C sort > sorted
  cp sorted "$record"
  echo "$(wc -l < now) lines on record"
  exit 0
fi
# Lines whose hash is another on record. What this machine cannot make may stay there; what nobody has recorded yet, a new op
# on another instruction set for example, has nothing to be compared with and is said to be new.
awk 'NR == FNR { known[$1, $2, $3] = $4; next }
  !(($1, $2, $3) in known) { print "not on record: " $0; next }
  known[$1, $2, $3] != $4 { print "other bits: " $0 > "other" }' "$record" now
touch other
cat other
echo "$(wc -l < now) results, $(wc -l < other) with other bits than on record"
[ ! -s other ]

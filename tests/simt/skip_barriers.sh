#!/usr/bin/env bash
# Takes each __syncthreads, sync_cluster and sync_grid_group out of the shipped kernels in turn; the op's test must fail every time.
#   skip_barriers.sh FOLDER-OF-THE-TESTS [FILE:LINE]      (of a build with the race detector; all barriers, or one)
set -uo pipefail
tests=$1
root=$(dirname "$0")/../..

# The program and the file of tests that run the kernels of a file: "op conv2d" is test_op with test_conv2d.cpp.
test_of() {
  case "$1" in
    conv2d*) echo op conv2d ;;
    fused_block* | epilogue*) echo nn fused_blocks ;;
    one_kernel*) echo nn one_kernel_engine ;;
    permutation.cu) echo core random ;;
    matmul.cu) echo op linear ;;
    norm.cuh) echo op layer_norm ;;
    reduce.cuh) echo op batch_norm ;;
    reduce.cu) echo core ops ;;
    grid_group.cu) echo core cuda ;;
    *) echo op "${1%.cu}" ;;
  esac
}

# without_barrier FILE:LINE: says on one line how the test fails without this barrier; 1 if it passes, 2 if it cannot be run.
without_barrier() {
  local file=${1%:*} program test output status
  read -r program test < <(test_of "$file")
  output=$(SIMT_ORDERS=1 SIMT_SKIP_BARRIER=$1 "$tests/test_$program" --warn NoTests --filenames-as-tags "[#test_$test]" --abort 2>&1)
  status=$?
  if [ $status -eq 0 ]; then
    echo "test_$test.cpp passes without the barrier at $1"
    return 1
  fi
  if [ $status -ge 126 ] && [ $status -le 127 ] || grep -q 'No test cases matched' <<<"$output"; then
    echo "$file has no test to run: name it in test_of"
    return 2
  fi
  echo "$1: $(tr -s ' \n' ' ' <<<"$output" | grep -o 'kernel [a-z0-9_]*: [a-z :]*' | head -1)"
}

if [ $# -eq 2 ]; then
  without_barrier "$2"
  exit
fi
barriers=$(grep -nE '^[^/]*(__syncthreads\(\)|sync_(grid_group|cluster)\()' "$root"/{kernels/cuda,apps/mnist}/*.{cu,cuh} |
  grep -vE '/(grid_group|cluster).cuh:' | sed -E 's|^.*/([^/:]*:[0-9]+):.*|\1|')
[ -n "$barriers" ] || { echo "no barrier in the kernels"; exit 1; }
xargs -P "$(nproc)" -n 1 bash "$0" "$tests" <<<"$barriers" || { echo "not every one of $(wc -l <<<"$barriers") barriers is noticed"; exit 1; }
echo "$(wc -l <<<"$barriers") barriers, each noticed"

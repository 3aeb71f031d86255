#!/usr/bin/env bash
# Takes each __syncthreads, sync_cluster and sync_team out of the shipped kernels in turn; the op's test must fail every time.
#   skip_barriers.sh FOLDER-OF-THE-TESTS      (of a build with the race detector)
set -uo pipefail
tests=$1
kernels=$(dirname "$0")/../../kernels/cuda

# The test that runs the kernels of a file.
test_of() {
  case "$1" in
    conv2d*) echo conv2d ;;
    chain*) echo conv_chain ;;
    permutation.cu) echo random ;;
    matmul.cu) echo linear ;;
    norm.cuh) echo layer_norm ;;
    reduce.cuh) echo batch_norm ;;
    reduce.cu) echo ops ;;
    team.cu) echo cuda ;;
    train_net*) echo train_net ;;
    *) echo "${1%.cu}" ;;
  esac
}

count=0 unnoticed=0
while IFS=: read -r file line _; do
  file=$(basename "$file")
  count=$((count + 1))
  [ -x "$tests/test_$(test_of "$file")" ] || { echo "$file has no test to run: name it in test_of"; exit 1; }
  output=$(SIMT_ORDERS=1 SIMT_SKIP_BARRIER=$file:$line "$tests/test_$(test_of "$file")" --abort 2>&1)
  if [ $? -eq 0 ]; then
    echo "test_$(test_of "$file") passes without the barrier at $file:$line"
    unnoticed=$((unnoticed + 1))
  else
    echo "$file:$line: $(tr -s ' \n' ' ' <<<"$output" | grep -o 'kernel [a-z0-9_]*: [a-z :]*' | head -1)"
  fi
done < <(grep -nE '^[^/]*(__syncthreads\(\)|sync_(team|cluster)\()' "$kernels"/*.cu "$kernels"/*.cuh | grep -vE '/(team|cluster).cuh:')
echo "$count barriers, $unnoticed unnoticed"
[ "$count" -gt 0 ] && [ "$unnoticed" -eq 0 ]

#!/usr/bin/env bash
# Everything that only a GPU can show, into one JSON:   scripts/gpu_check.sh [options]
#
#   --out FILE       default docs/benchmarks/gpu_check-<device>-<date>.json
#   --epochs N       of each network, default 20
#   --preset NAME    default cuda; `emulated` tries the script itself on a machine without a GPU
#   --no-sanitizer   without compute-sanitizer, for machines on which it does not run
#
# Builds, runs the test suite on the device, runs compute-sanitizer (memcheck, racecheck, synccheck, initcheck) on the
# kernel tests, trains bn with L1, gn, ln and ln-row, times steps with and without CUDA graphs and in one kernel, trains
# a network on every multiprocessor, and runs bench_norms against cuDNN and, where Python has it, PyTorch, eager and
# compiled: its page of tables goes beside the JSON. Needs nvcc, CMake, ninja and a compiler; the libraries come from the
# system or from .deps/ (scripts/pack_deps.sh); MNIST from EVENKEEL_DATA or data/mnist.
# Exit codes: 0 all green, 1 something failed (the JSON is written and says what), 2 usage, 4 no GPU.
set -uo pipefail

die() {
  local code=$1
  shift
  echo "gpu_check.sh: $*" >&2
  exit "$code"
}
preset=cuda epochs=20 out="" sanitize=true
while [ $# -gt 0 ]; do
  case "$1" in
    --out | --epochs | --preset)
      [ -n "${2:-}" ] || die 2 "$1 has no value; see the head of the script"
      declare "${1#--}=$2"
      shift 2
      ;;
    --no-sanitizer) sanitize=false && shift ;;
    *) die 2 "unknown option $1; see the head of the script" ;;
  esac
done
[[ $epochs =~ ^[1-9][0-9]{0,5}$ ]] || die 2 "--epochs $epochs: must be an integer from 1 to 999999"
[[ $preset =~ ^[a-z-]+$ ]] || die 2 "--preset $preset: is none of CMakePresets.json"
# Paths are relative to the caller's folder, not to the checkout.
[ -z "$out" ] || out=$(realpath -m -- "$out")
if [ -n "${EVENKEEL_DATA:-}" ]; then
  EVENKEEL_DATA=$(realpath -m -- "$EVENKEEL_DATA")
  export EVENKEEL_DATA
fi
cd "$(dirname "$0")/.." || exit 1

device="emulated" driver="none"
if [ "$preset" != emulated ]; then
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1)
  [ -n "$device" ] || die 4 "nvidia-smi shows no GPU here; run it on a machine that has one"
fi
date=$(date -u +%Y-%m-%d)
name=$(printf '%s' "$device" | tr -c 'A-Za-z0-9' '-')
[ -n "$out" ] || out=$(realpath -m "docs/benchmarks/gpu_check-$name-$date.json")
build=build/$preset
log=$build/gpu_check
data=${EVENKEEL_DATA:-data/mnist}
failed=0
mkdir -p "$log" "$(dirname "$out")" 2>/dev/null || true # mktemp fails then
# Now, not after an hour; beside the file, so that the last step is a rename.
[ ! -e "$out" ] || [ -f "$out" ] || die 1 "cannot write --out $out: what is there is no file; choose another name"
part=$(mktemp -- "$out.XXXXXX" 2>/dev/null) || die 1 "cannot write --out $out: choose another name, in a folder that may be written"
trap 'rm -f -- "$part"' EXIT

# step NAME COMMAND...: runs it into $log/NAME.log, prints the outcome and the seconds, and adds them to the JSON.
steps=""
step() {
  local name=$1 start=$SECONDS status=passed
  shift
  "$@" >"$log/$name.log" 2>&1 || { status=failed && failed=1 && tail -20 "$log/$name.log"; }
  printf '%-24s %s in %d s\n' "$name" "$status" $((SECONDS - start))
  steps+="${steps:+,}
    {\"step\": \"$name\", \"status\": \"$status\", \"seconds\": $((SECONDS - start))}"
}

configure=(cmake --preset "$preset")
[ ! -d .deps ] || configure+=("-DCMAKE_PREFIX_PATH=$PWD/.deps/usr")
step configure "${configure[@]}"
step build cmake --build --preset "$preset"
step tests ctest --test-dir "$build" --label-regex '^(core|op|nn)$' --output-on-failure --parallel 4

if [ "$sanitize" = true ] && [ "$preset" != emulated ]; then
  for tool in memcheck racecheck synccheck initcheck; do
    for test in relu dropout softmax pool2d sgd rotate batch_norm group_norm layer_norm layer_norm2d conv2d linear fused_blocks \
                one_kernel_engine; do
      program=test_op cases="[#test_$test]*reference*" # of one file
      case "$test" in
        sgd) cases="[#test_$test]" ;;
        fused_blocks | one_kernel_engine) program=test_nn cases="[#test_$test]" ;;
      esac
      step "$tool-$test" compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/tests/$program" --filenames-as-tags "$cases" \
        --warn NoTests
    done
  done
fi

# train NAME OPTIONS...: one network on the device; its last test row goes into the JSON.
networks=""
train() {
  local name=$1 run=$log/run-$1
  shift
  rm -rf "$run"
  step "train-$name" "$build/apps/train_mnist" --device cuda --data "$data" --epochs "$epochs" --quiet --out "$run" "$@"
  [ ! -f "$run/metrics.jsonl" ] || networks+="${networks:+,}
    {\"network\": \"$name\", \"last\": $(grep '"test"' "$run/metrics.jsonl" | tail -1)}"
}
train bn-l1 --norm bn --l1 1e-5
train gn --norm gn
train ln --norm ln
train ln-row --norm ln-row

for norm in bn gn ln; do  # the same steps as a graph and op by op; the same bits
  for how in graph no-graph; do
    options=(--device cuda --data "$data" --norm "$norm" --epochs 2 --quiet --out "$log/run-$norm-$how")
    rm -rf "$log/run-$norm-$how"
    [ "$how" = graph ] || options+=(--no-graph)
    step "steps-$norm-$how" "$build/apps/train_mnist" "${options[@]}"
    [ ! -f "$log/run-$norm-$how/metrics.jsonl" ] || networks+="${networks:+,}
    {\"network\": \"$norm-$how\", \"last\": $(grep '"train"' "$log/run-$norm-$how/metrics.jsonl" | tail -1)}"
  done
  step "same-bits-$norm" cmp "$log/run-$norm-graph/model.safetensors" "$log/run-$norm-no-graph/model.safetensors"
done

# In one kernel. The bits of a network do not depend on how many blocks train it, nor on how many networks are trained at
# the same time: one a multiprocessor.
for norm in bn gn ln ln-row; do
  train "$norm-grid" --norm "$norm" --engine grid
done
train gn-sm --norm gn --engine sm
step same-bits-one-kernel cmp "$log/run-gn-grid/model.safetensors" "$log/run-gn-sm/model.safetensors"
rm -rf "$log/study"
step study-132-seeds "$build/apps/compare_norms" --device cuda --data "$data" --norms gn --penalties off \
  --seeds 132 --epochs "$epochs" --quiet --out "$log/study"
for metrics in "$log"/study/gn-seed132-*/metrics.jsonl; do
  [ ! -f "$metrics" ] || networks+="${networks:+,}
    {\"network\": \"gn, 132 seeds at once\", \"last\": $(grep '"train"' "$metrics" | tail -1)}"
done

step profile "$build/apps/train_mnist" --device cuda --data "$data" --norm bn --epochs 1 --profile --out "$log/run-profile"

if [ "$preset" != emulated ]; then
  bench=("$build/apps/bench_norms" --device cuda --dtype f32,bf16)
  peers=()
  if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
    step bench-list "${bench[@]}" --list --json "$log/rows.json"
    step torch-eager python3 scripts/peer_torch.py "$log/rows.json" --device cuda --out "$log/eager.json"
    step torch-compiled python3 scripts/peer_torch.py "$log/rows.json" --device cuda --compile reduce-overhead --out "$log/compiled.json"
    for file in "$log/eager.json" "$log/compiled.json"; do [ ! -f "$file" ] || peers+=(--peer-json "$file"); done
  fi
  step bench "${bench[@]}" "${peers[@]}" --json "$log/bench.json"
  [ ! -f "$log/bench.json" ] || step table scripts/bench_table.py "$log/bench.json" --out "${out%.json}.md" --date "$date"
fi

nvcc=$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
cat >"$part" <<JSON
{
  "device": "$device",
  "driver": "$driver",
  "nvcc": "${nvcc:-none}",
  "date": "$date",
  "commit": "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)",
  "epochs": $epochs,
  "passed": $([ $failed -eq 0 ] && echo true || echo false),
  "steps": [$steps
  ],
  "networks": [$networks
  ]
}
JSON
chmod '=rw' "$part" # what the umask leaves of it
mv -f -- "$part" "$out"
echo "gpu_check.sh: $([ $failed -eq 0 ] && echo 'all green' || echo 'FAILED'); $out"
exit $failed

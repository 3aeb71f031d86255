#!/usr/bin/env bash
# Everything that only a GPU can show, into one JSON:   scripts/gpu_check.sh [options]
#
#   --out FILE       default docs/benchmarks/gpu_check-<device>-<date>.json
#   --epochs N       of each network, default 20
#   --preset NAME    default cuda; `emulated` tries the script itself on a machine without a GPU
#   --no-sanitizer   without compute-sanitizer, for machines on which it does not run
#
# Builds, runs the test suite on the device, runs compute-sanitizer (memcheck, racecheck, synccheck, initcheck) on the
# kernel tests, and trains bn with L1, gn, ln and ln-row. Needs nvcc, CMake, ninja and a compiler; the libraries come
# from the system or from .deps/ (scripts/pack_deps.sh); MNIST from EVENKEEL_DATA or data/mnist.
# Exit codes: 0 all green, 1 something failed (the JSON is written and says what), 2 usage, 4 no GPU.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

preset=cuda epochs=20 out="" sanitize=true
while [ $# -gt 0 ]; do
  case "$1" in
    --out) out=${2:?--out needs a file} && shift 2 ;;
    --epochs) epochs=${2:?--epochs needs a number} && shift 2 ;;
    --preset) preset=${2:?--preset needs a name} && shift 2 ;;
    --no-sanitizer) sanitize=false && shift ;;
    *) echo "gpu_check.sh: unknown option $1; see the head of the script" >&2 && exit 2 ;;
  esac
done

device="emulated" driver="none"
if [ "$preset" != emulated ]; then
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1)
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | head -1)
  if [ -z "$device" ]; then
    echo "gpu_check.sh: nvidia-smi shows no GPU here; run it on a machine that has one" >&2
    exit 4
  fi
fi
date=$(date -u +%Y-%m-%d)
name=$(printf '%s' "$device" | tr -c 'A-Za-z0-9' '-')
[ -n "$out" ] || out="docs/benchmarks/gpu_check-$name-$date.json"
build=build/$preset
log=$build/gpu_check
data=${EVENKEEL_DATA:-data/mnist}
failed=0
mkdir -p "$log" "$(dirname "$out")"

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
    for test in relu dropout softmax pool2d sgd rotate batch_norm group_norm layer_norm layer_norm2d conv2d linear; do
      filter='*reference*'
      [ "$test" != sgd ] || filter='*'
      step "$tool-$test" compute-sanitizer --tool "$tool" --error-exitcode 1 "$build/tests/test_$test" "$filter" --warn NoTests
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

nvcc=$(nvcc --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
cat >"$out.part" <<JSON
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
mv "$out.part" "$out"
echo "gpu_check.sh: $([ $failed -eq 0 ] && echo 'all green' || echo 'FAILED'); $out"
exit $failed

#!/usr/bin/env bash
# train_mnist on a CUDA device, real or emulated:   test_apps_cuda.sh PATH/train_mnist
# Skipped (77) without a device or without MNIST.
set -uo pipefail
train=$1
data=${EVENKEEL_DATA:-$(dirname "$0")/../data/mnist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tested= # on all images; the executor is too slow for that
[ "${SIMT_ORDERS:-}" = "" ] || tested="--test-images 40"
failures=0
fail() { echo "FAILED: $*" && failures=$((failures + 1)); }

# Where the device is emulated, a machine without one can be too.
refuses() {
  local words=$1 message
  shift
  message=$(env "$@" "$train" --device cuda --epochs 1 --out "$work/none" 2>&1 >/dev/null)
  local code=$?
  [ $code -eq 4 ] || fail "exit code $code, not 4, with $*"
  [ "$(wc -l <<<"$message")" -eq 1 ] || fail "more than one line: $message"
  case "$message" in *"$words"*) ;; *) fail "no \"$words\" in \"$message\"" ;; esac
}
case "$("$train" --device cuda --epochs 0 --data "$work" 2>&1)" in
  *"not available"*) echo "skipped: no CUDA device" && exit 77 ;;
esac
if [ "${SIMT_ORDERS:-}" != "" ]; then
  refuses "there is no NVIDIA driver" SIMT_DEVICES=-1
  refuses "there is no CUDA device" SIMT_DEVICES=0
fi
if [ ! -e "$data/train-images-idx3-ubyte" ] && [ ! -e "$data/train-images-idx3-ubyte.gz" ] && [ ! -d "$data/MNIST" ]; then
  echo "skipped: no MNIST in $data" && exit 77
fi

# An engine for the wrong device, or none.
for options in "--engine grid --device cpu" "--engine sm --device cpu" "--engine fast --device cuda"; do
  message=$("$train" $options --epochs 1 --out "$work/none" 2>&1 >/dev/null)
  [ $? -eq 2 ] && [ "$(wc -l <<<"$message")" -eq 1 ] || fail "$options: $message"
  case "$message" in *"layers"*) ;; *) fail "$options: no advice in \"$message\"" ;; esac
done
[ ! -e "$work/none" ] || fail "a refused engine leaves a directory"

# The same few steps on both devices: the same run but for rounding.
last() { tail -1 "$work/$1/metrics.jsonl" | sed -n "s/.*\"$2\":\([-0-9.e]*\).*/\1/p"; }
for device in cpu cuda; do
  "$train" --device $device --norm gn --epochs 1 --max-steps 2 $tested --seed 1 --data "$data" --quiet --out "$work/$device" \
    >"$work/$device.log" 2>&1 || fail "$device: $(tail -1 "$work/$device.log")"
done
grep -q "device cuda:0" "$work/cuda.log" || fail "the device is not named: $(head -1 "$work/cuda.log")"
awk -v a="$(last cpu loss)" -v b="$(last cuda loss)" \
  'BEGIN { d = a - b; exit !(a > 0 && d <= 1e-4 * a && -d <= 1e-4 * a) }' ||
  fail "test loss $(last cpu loss) on the CPU, $(last cuda loss) on the device"
awk -v a="$(last cpu accuracy)" -v b="$(last cuda accuracy)" \
  'BEGIN { d = a - b; exit !(a > 0 && d <= 0.001 && -d <= 0.001) }' ||
  fail "accuracy $(last cpu accuracy) on the CPU, $(last cuda accuracy) on the device"

# Steps as launches of a CUDA graph leave the bits of their ops one by one, stopped and continued too.
steps="--device cuda --norm bn --l1 1e-5 --epochs 1 --max-steps 5 --batch-size 8 --log-interval 1 --seed 2 --data $data $tested"
figures() { cut -d, -f1-5,8,9 "$work/$1/metrics.csv"; }
same() {
  cmp "$work/plain/model.safetensors" "$work/$1/model.safetensors" || fail "$1: other weights than op by op"
  [ "$(figures plain)" = "$(figures "$1")" ] || fail "$1: other figures than op by op: $(figures "$1")"
}
"$train" $steps --no-graph --out "$work/plain" >"$work/plain.log" 2>&1 || fail "plain: $(tail -1 "$work/plain.log")"
"$train" $steps --out "$work/graph" >"$work/graph.log" 2>&1 || fail "graph: $(tail -1 "$work/graph.log")"
same graph
for log in plain graph; do grep "^Train Epoch" "$work/$log.log" >"$work/$log.losses"; done
[ "$(wc -l <"$work/plain.losses")" -eq 5 ] || fail "$(wc -l <"$work/plain.losses") lines of losses, not 5"
cmp "$work/plain.losses" "$work/graph.losses" || fail "other losses than op by op"

# Inside one kernel: the same run but for rounding.
loss_of() { sed -n 's/^Train Epoch.*Loss: *\([0-9.]*\).*/\1/p' "$1"; }
for engine in grid sm; do
  "$train" $steps --engine $engine --out "$work/$engine" >"$work/$engine.log" 2>&1 ||
    fail "$engine: $(tail -1 "$work/$engine.log")"
  paste <(loss_of "$work/plain.log") <(loss_of "$work/$engine.log") |
    awk '{ d = $1 - $2; if (!($1 > 0 && d <= 1e-3 && -d <= 1e-3)) bad = 1 } END { exit bad || NR != 5 }' ||
    fail "$engine: losses $(loss_of "$work/$engine.log" | xargs), not $(loss_of "$work/plain.log" | xargs)"
done
cmp "$work/grid/model.safetensors" "$work/sm/model.safetensors" || fail "grid and sm leave other weights"

"$train" $steps --out "$work/stopped" >"$work/stopped.log" 2>&1 &
pid=$!
until grep -q "^Train Epoch: 1 .16/" "$work/stopped.log" || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -INT $pid 2>/dev/null
wait $pid
code=$?
if [ "${SIMT_ORDERS:-}" != "" ] && [ $code -ne 130 ]; then fail "stopped: exit code $code, not 130"; fi
"$train" $steps --resume --out "$work/stopped" >"$work/resumed.log" 2>&1 || fail "resumed: $(tail -1 "$work/resumed.log")"
same stopped

"$train" --device cuda --epochs 1 --max-steps 2 $tested --batch-size 8 --lr 1e30 --data "$data" --quiet --out "$work/diverged" \
  >"$work/diverged.log" 2>&1
code=$?
[ $code -eq 5 ] || fail "a loss that is not finite: exit code $code, not 5: $(tail -1 "$work/diverged.log")"

"$train" --device cuda --epochs 1 --max-steps 2 $tested --batch-size 8 --profile --data "$data" --quiet --out "$work/profile" \
  >"$work/profile.log" 2>&1 || fail "profile: $(tail -1 "$work/profile.log")"
grep -Eq "^sgd_step +2 +[0-9.]+ +[0-9.]+%$" "$work/profile.log" || fail "no two calls of sgd_step in the profile"

[ $failures -eq 0 ] && echo "all checks passed"
exit $((failures > 0))

#!/usr/bin/env bash
# Fuzzes every reader for a while, three at a time on two cores.   tests/fuzz/run.sh [BUILD [SECONDS]]
#
# BUILD is the folder of the preset `fuzz` (cmake --preset fuzz && cmake --build --preset fuzz), SECONDS the time of each
# target, 60 if it is not given. What the fuzzers learn stays in BUILD/corpus and is where the next run begins. Prints how
# many inputs each target was given. Exit code 1 if one crashed, hung, took too much memory or broke its property: the input
# that does it is named, and `BUILD/tests/fuzz/fuzz_TARGET FILE` repeats it.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$here/build/fuzz} seconds=${2:-60}
bin=$build/tests/fuzz corpus=$build/corpus seeds=$build/seeds
[ -x "$bin/fuzz_seeds" ] || { echo "run.sh: no fuzzers in $build: cmake --preset fuzz && cmake --build --preset fuzz" >&2; exit 2; }
[[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "run.sh: '$seconds' is no number of seconds" >&2; exit 2; }
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1

rm -rf "$seeds"
"$bin/fuzz_seeds" write "$seeds" || exit 1

# fuzz TARGET: its log is BUILD/fuzz_TARGET.log, its reproducing inputs BUILD/fuzz_TARGET-crash-... and the like.
fuzz() {
  mkdir -p "$corpus/$1"
  "$bin/fuzz_$1" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -print_final_stats=1 -artifact_prefix="$build/fuzz_$1-" "$corpus/$1" "$seeds/$1" > "$build/fuzz_$1.log" 2>&1
}

targets=$(ls "$seeds")
failed=0 running=0
declare -A process
for target in $targets; do
  while [ "$(jobs -rp | wc -l)" -ge $(($(nproc) * 3 / 2)) ]; do wait -n; done
  fuzz "$target" &
  process[$target]=$!
done
printf '%-14s %12s %12s\n' target inputs corpus
for target in $targets; do
  wait "${process[$target]}"
  code=$? log=$build/fuzz_$target.log
  printf '%-14s %12s %12s\n' "$target" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
    "$(ls "$corpus/$target" | wc -l)"
  [ $code -eq 0 ] && continue
  failed=1
  grep -E '^broken:|ERROR:|SUMMARY:|runtime error:' "$log" | head -5
  sed -n "s/^artifact_prefix.*Test unit written to /$target: repeat it with $(basename "fuzz_$target") /p" "$log"
done
exit $failed

#!/bin/bash
# Takes fixes out of a copy of the tree, one at a time, and expects the property test to find each.
#
#     tests/property/mutations.sh BUILD_FOLDER [CMAKE_OPTION...]
#
# BUILD_FOLDER is made if it is not there and holds the copy and its build, so that a second run compiles little. Exits
# with 1 if the test passes without a fix, if it fails with all of them, or if a fix is no longer where this says.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { echo "usage: mutations.sh BUILD_FOLDER [CMAKE_OPTION...]" >&2; exit 2; }
mkdir -p "$1"
work=$(cd "$1" && pwd)
shift
tree=$work/tree build=$work/build

# FAMILIES | FILE | PERL SUBSTITUTION, one line each: a fix, as what it replaces.
mutations=(
  # Batch norm of nothing has nothing to divide by.
  "batch_norm | nn/functional/normalization.cpp | s/if \(x\.numel\(\) == 0\) return;//"
  "batch_norm | nn/functional/normalization.cpp | s/if \(dy\.numel\(\) == 0\) return;//"
  "group_norm layer_norm batch_norm | nn/functional/normalization.cpp | s/if \(x\.numel\(\) > 0\) return;\n/return;\n/"
  # Linear of rows without elements has rows all the same.
  "linear | nn/functional/convolution.cpp | s/\{rows_of_x, x\.size\(-1\)\}/{x.numel() \/ std::max<std::int64_t>(x.size(-1), 1), x.size(-1)}/"
  # Running statistics that are views are no dense arrays, and those that overlap cannot be written.
  "batch_norm | core/overlap.cpp | s/(\nvoid DenseTarget::store\(\) \{\n)/\$1  return;\n/"
  "batch_norm add_ copy_ | core/overlap.cpp | s/(\nvoid check_no_overlap\([^{]*\{\n)/\$1  return;\n/"
  # A gradient fits its input in shape and dtype, and there is one for each.
  "bad_gradient | core/autograd.cpp | s/EK_CHECK\(gradient\.shape\(\) == shape,/EK_CHECK(true,/"
  "bad_gradient | core/autograd.cpp | s/EK_CHECK\(gradient\.dtype\(\) == options\.dtype,/EK_CHECK(true,/"
  "bad_gradient | core/autograd.cpp | s/EK_CHECK\(results\.size\(\) == node\.inputs\.size\(\),/EK_CHECK(true,/"
)

# The files of the tree as they are, with their times where they did not change.
mkdir -p "$tree"
cd "$root"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
  [ -f "$file" ] || continue
  cmp -s "$file" "$tree/$file" || { mkdir -p "$tree/$(dirname "$file")"; cp "$file" "$tree/$file"; }
done
cmake -S "$tree" -B "$build" -DCMAKE_BUILD_TYPE=Release -DEVENKEEL_CPU_ISAS=OFF -DEVENKEEL_CUDA=OFF "$@" > "$work/cmake.log"

# run FAMILIES: builds and runs them.
run() {
  cmake --build "$build" --target test_property -j "$(nproc)" > "$work/build.log" 2>&1 || { echo "does not compile: $work/build.log" >&2; exit 1; }
  for family in $1; do
    "$build/tests/property/test_property" --op "$family" --cases 200 > "$work/run.log" || return 1
  done
}

all=$(printf '%s\n' "${mutations[@]}" | cut -d'|' -f1 | tr ' ' '\n' | sort -u)
run "$all" || { echo "the property test fails with all fixes in: $work/run.log" >&2; exit 1; }

missed=0
for mutation in "${mutations[@]}"; do
  IFS='|' read -r families file substitution <<< "$mutation"
  file=$tree/$(echo "$file" | tr -d ' ') substitution=${substitution# }
  cp -p "$file" "$work/original"
  perl -0pi -e "$substitution" "$file"
  if cmp -s "$file" "$work/original"; then
    echo "NOT THERE  $substitution"
    missed=$((missed + 1))
  elif run "$families"; then
    echo "NOT FOUND  $substitution"
    missed=$((missed + 1))
  else
    echo "found      $(grep -m1 -o -- '--op .*' "$work/run.log")    without $substitution"
  fi
  cp -p "$work/original" "$file"
  touch "$file"
done
echo "$missed of ${#mutations[@]} fixes are missed"
[ "$missed" -eq 0 ]

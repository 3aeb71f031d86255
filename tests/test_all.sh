#!/usr/bin/env bash
# What takes hours, run before a release: `make test-all`.   tests/test_all.sh [PART...]
# Parts: gates, the CUDA kernels assembled for every architecture;
#        commands, the two commands in a bare Debian 12 (needs root and debootstrap; in $TMPDIR or /var/tmp);
#        property, the property test on a fresh seed, and on copies of the tree in which one fix is taken out;
#        orders, every launch of a CUDA kernel in three orders of threads;  kills, 200 killed runs;
#        bits, of all results, as on record in tests/bits.txt (with the C library of Debian 12);
#        packaging, every way to build an outside project;  fuzz, an hour each.
# FUZZ_SECONDS=3600 is the time of each fuzzer.
set -uo pipefail
cd "$(dirname "$0")/.."
parts=${*:-gates commands property orders bits kills packaging fuzz}
failed=()
for part in $parts; do
  echo "=== $part"
  case $part in
    gates) python3 tests/gates/cuda_gates.py --archs 90a,75,80,86,89 ;;
    commands)
      folder=$(mktemp -d "${TMPDIR:-/var/tmp}/evenkeel-bare.XXXXXX")
      tests/bare_debian.sh "$folder/debian" && rm -rf "$folder"
      ;;
    property) tests/property/test_all.sh ;;
    orders) SIMT_REPEATS=0 make test PRESETS=emulated ;;
    bits)
      make build-emulated && tests/bits.sh cpu build/emulated/tests/property/test_property build/emulated/apps/train_mnist &&
        tests/bits.sh cuda build/emulated/tests/property/test_property build/emulated/apps/train_mnist
      ;;
    kills) EVENKEEL_RANDOM_KILLS=200 make test PRESETS=release TESTS='^kills$' ;;
    packaging) EVENKEEL_PACKAGING=full make test PRESETS=release TESTS='^packaging$' ;;
    fuzz) make build-fuzz && tests/fuzz/run.sh build/fuzz "${FUZZ_SECONDS:-3600}" ;;
    *)
      echo "test_all.sh: there is no part '$part'" >&2
      exit 2
      ;;
  esac || failed+=("$part")
done
if [ ${#failed[@]} -ne 0 ]; then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "All of it passed: $parts"

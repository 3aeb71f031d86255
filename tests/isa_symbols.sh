#!/usr/bin/env bash
# isa_symbols.sh ISA OBJECT...: object files of the CPU's vector code for one instruction set must share no function with
# those for others, as the linker keeps one version of what they share (kernels/isa.h).
set -euo pipefail
isa=$1
shift
command -v nm >/dev/null || { echo "skipped: there is no nm"; exit 77; }
# DW.ref.* are no code: pointers to what handles exceptions, the same everywhere.
defined=$(nm --defined-only "$@" | awk '$2 ~ /^[WVu]$/ && $3 !~ /^DW\.ref\./ { print $3 }' | sort -u)
[ -n "$defined" ] || { echo "no symbol in $*"; exit 1; }
shared=$(grep -v "${#isa}$isa" <<<"$defined" || true) # a mangled namespace is its length and its name
if [ -n "$shared" ]; then
  echo "in $isa, but not in its namespace:"
  c++filt <<<"$shared"
  exit 1
fi
echo "$(wc -l <<<"$defined") symbols that the linker may merge, all in $isa"

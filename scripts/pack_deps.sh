#!/usr/bin/env bash
# Packs what Evenkeel is built with into a folder, for a machine that has a compiler, CMake and ninja but no
# package manager:   scripts/pack_deps.sh [FOLDER]     (default: the checkout's .deps; about 30 MB)
# There:             cmake --preset cuda -DCMAKE_PREFIX_PATH="$PWD/.deps/usr"
#
# Copies headers, CMake files and shared libraries of the installed Debian packages; made anew every time. Replaces
# nothing but what it has made itself.
# Exit codes: 0 done, 1 something is missing or FOLDER cannot be written, 2 usage.
set -euo pipefail

die() {
  echo "pack_deps.sh: $*" >&2
  exit 1
}
usage="usage: scripts/pack_deps.sh [FOLDER]   packs what Evenkeel is built with into FOLDER, default .deps"
if [ "$*" = --help ] || [ "$*" = -h ]; then
  echo "$usage"
  exit 0
fi
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
to=${1-$checkout/.deps}
if [ $# -gt 1 ] || [ -z "$to" ] || [[ $to == -* ]]; then
  echo "$usage" >&2
  exit 2
fi
to=$(realpath -m -- "$to") # a link stays one
mark=.made_by_pack_deps
if [ -d "$to" ]; then
  case $(ls -A -- "$to") in
    "" | "$mark"$'\n'usr) ;;
    *) die "$to was not made by this script, or has more in it now: name another folder, or remove it" ;;
  esac
elif [ -e "$to" ]; then
  die "$to is not a folder: name another"
fi

packages=(libcli11-dev libfmt-dev libfmt9 nlohmann-json3-dev libeigen3-dev libstb-dev libtbb-dev libtbb12 libtbbmalloc2
  libtbbbind-2-5 zlib1g-dev zlib1g librandom123-dev catch2 libssl-dev libssl3 libboost-math-dev)

missing=()
for package in "${packages[@]}"; do
  # shellcheck disable=SC2016  # dpkg-query's own variable
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] || die "not installed: ${missing[*]}; run scripts/setup.sh first"

# Made beside FOLDER, so that the last step is a rename.
mkdir -p -- "$(dirname -- "$to")" 2>/dev/null || true # mktemp fails then
work=$(mktemp -d -- "$to.XXXXXX" 2>/dev/null) || die "cannot write beside $to: make room there or name another folder"
trap 'rm -rf -- "$work"' EXIT
new=$work/new
mkdir "$new"

wanted='^(/usr/include/|/usr/share/(cmake|eigen3)/|/usr/lib/cmake/|/usr/lib/libCatch2[^/]*\.a$|(/usr)?/lib/[^/]*-linux-gnu/(cmake/|lib[^/]*\.so[.0-9]*$))'
# Boost has 140 MB; only the headers that Boost.Math's distributions need are packed.
boost_headers() {
  printf '#include <boost/math/distributions/%s.hpp>\n' students_t binomial | c++ -std=c++20 -x c++ -M - |
    tr ' ' '\n' | grep '^/usr/include/boost/'
}
{ dpkg -L "${packages[@]}" | grep -E "$wanted"; boost_headers; } | sort -u | while read -r file; do
  [ -d "$file" ] || printf '%s\n' "${file#/}"
done | tar -C / -cf - --no-recursion -T - | tar -C "$new" -xf - || die "not all files could be copied to $to"
[ ! -d "$new/lib" ] || cp -a "$new/lib" "$new/usr/"
rm -rf "${new:?}/lib"
for needed in include/CLI/CLI.hpp include/boost/math/distributions/students_t.hpp include/eigen3/Eigen/Core include/Random123/philox.h 'lib/*/libtbb.so'; do
  # shellcheck disable=SC2086  # a pattern
  ls "$new"/usr/$needed >/dev/null 2>&1 || die "$needed was not copied"
done
: >"$new/$mark"
[ ! -d "$to" ] || mv -T -- "$to" "$work/old"
mv -T -- "$new" "$to"
echo "pack_deps.sh: $(du -sh -- "$to" | cut -f1) in $to"

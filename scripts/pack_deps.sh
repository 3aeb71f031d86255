#!/usr/bin/env bash
# Packs what Evenkeel is built with into a folder, for a machine that has a compiler, CMake and ninja but no
# package manager:   scripts/pack_deps.sh [FOLDER]     (default: .deps; about 30 MB)
# There:             cmake --preset cuda -DCMAKE_PREFIX_PATH="$PWD/.deps/usr"
#
# Copies headers, CMake files and shared libraries of the installed Debian packages; made anew every time.
set -euo pipefail
cd "$(dirname "$0")/.."
to=${1:-.deps}

packages=(libcli11-dev libfmt-dev libfmt9 nlohmann-json3-dev libeigen3-dev libstb-dev libtbb-dev libtbb12 libtbbmalloc2
  libtbbbind-2-5 zlib1g-dev zlib1g librandom123-dev catch2 libssl-dev libssl3 libboost-math-dev)

missing=()
for package in "${packages[@]}"; do
  # shellcheck disable=SC2016  # dpkg-query's own variable
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "pack_deps.sh: not installed: ${missing[*]}; run scripts/setup.sh first" >&2
  exit 1
fi

wanted='^(/usr/include/|/usr/share/(cmake|eigen3)/|/usr/lib/cmake/|/usr/lib/libCatch2[^/]*\.a$|(/usr)?/lib/[^/]*-linux-gnu/(cmake/|lib[^/]*\.so[.0-9]*$))'
rm -rf "$to.part"
mkdir -p "$to.part"
# Of Boost's 140 MB only the headers that Boost.Math's distributions need.
boost_headers() {
  printf '#include <boost/math/distributions/%s.hpp>\n' students_t binomial | c++ -std=c++20 -x c++ -M - |
    tr ' ' '\n' | grep '^/usr/include/boost/'
}
{ dpkg -L "${packages[@]}" | grep -E "$wanted"; boost_headers; } | sort -u | while read -r file; do
  [ -d "$file" ] || printf '%s\n' "${file#/}"
done | tar -C / -cf - --no-recursion -T - | tar -C "$to.part" -xf -
[ ! -d "$to.part/lib" ] || { cp -a "$to.part/lib" "$to.part/usr/" && rm -r "$to.part/lib"; }
for needed in include/CLI/CLI.hpp include/boost/math/distributions/students_t.hpp include/eigen3/Eigen/Core include/Random123/philox.h 'lib/*/libtbb.so'; do
  # shellcheck disable=SC2086  # a pattern
  if ! ls "$to.part"/usr/$needed >/dev/null 2>&1; then
    echo "pack_deps.sh: $needed was not copied" >&2
    exit 1
  fi
done
rm -rf "$to"
mv "$to.part" "$to"
echo "pack_deps.sh: $(du -sh "$to" | cut -f1) in $to"

#!/usr/bin/env bash
# Installs what compiles and runs programs for 64-bit ARM on Debian (cmake/aarch64.cmake), and puts Debian's libraries for it
# into build/aarch64-root. The system gets no other packages, and no second architecture.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v aarch64-linux-gnu-g++ >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
  sudo=() && [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    g++-aarch64-linux-gnu qemu-user >/dev/null
fi

root=$PWD/build/aarch64-root
packages=(libtbb-dev libtbb12 libtbbmalloc2 libtbbbind-2-5 libfmt-dev libfmt9 libssl-dev libssl3 zlib1g-dev zlib1g
  nlohmann-json3-dev librandom123-dev libeigen3-dev catch2)
if [ "$(cat "$root/packages" 2>/dev/null)" = "${packages[*]}" ]; then exit; fi

rm -rf "$root"
state=$root/apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
touch "$state/status"
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root
  -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache")
"${apt[@]}" update
(cd "$state/debs" && "${apt[@]}" download "${packages[@]}")
for deb in "$state"/debs/*.deb; do dpkg-deb --extract "$deb" "$root"; done
rm -r "$state"
cp -a "$root"/lib/* "$root/usr/lib/" # where Debian has a link
echo "${packages[*]}" >"$root/packages"

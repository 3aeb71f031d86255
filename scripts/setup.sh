#!/usr/bin/env bash
# Installs what Evenkeel is built with and is not here yet (Debian and Ubuntu):   scripts/setup.sh [--peers]
#
# With --peers also what bench_norms compares with: oneDNN and PyTorch.
# As root by apt-get, else through sudo, else prints the command; without apt-get, names what is missing.
# Exit codes: 0 everything is there, 1 something still has to be installed, 2 usage, 3 everything is there but standard
# output cannot be written.
set -euo pipefail
{ true >&1; } 2>/dev/null || exec 1</dev/null # a stream that the caller closed would become the next file's

packages=(build-essential cmake ninja-build libcli11-dev libfmt-dev nlohmann-json3-dev libeigen3-dev
  libstb-dev libtbb-dev zlib1g-dev librandom123-dev catch2 libssl-dev libboost-context-dev libboost-math-dev
  librsvg2-bin fonts-dejavu-core curl ca-certificates ccache python3)
case "${1:-}" in
  "") ;;
  --peers) packages+=(libdnnl-dev python3-torch) ;;
  *)
    echo "usage: $0 [--peers]" >&2
    exit 2
    ;;
esac

printed=true
say() { (trap '' PIPE && echo "setup.sh: $*") 2>/dev/null || printed=false; }
# finish TEXT: everything is there.
finish() {
  say "$*"
  $printed && exit 0
  echo "setup.sh: everything is installed, but what was to be printed is lost: cannot write to standard output" >&2 2>/dev/null || true
  exit 3
}

# Without apt-get: every command that is not in PATH and every header that the compiler does not find.
check_without_apt() {
  local missing=() command
  for command in c++ cmake curl python3; do
    command -v "$command" >/dev/null || missing+=("$command")
  done
  if command -v c++ >/dev/null; then
    mapfile -t -O ${#missing[@]} missing < <(c++ -std=c++20 -x c++ -E -P - <<'CODE' | grep .
#if !__has_include(<CLI/CLI.hpp>)
CLI11
#endif
#if !__has_include(<fmt/format.h>)
fmt
#endif
#if !__has_include(<nlohmann/json.hpp>)
nlohmann/json
#endif
#if !__has_include(<Eigen/Core>) && !__has_include(<eigen3/Eigen/Core>)
Eigen
#endif
#if !__has_include(<stb_image_write.h>) && !__has_include(<stb/stb_image_write.h>)
stb
#endif
#if !__has_include(<oneapi/tbb/parallel_for.h>)
oneTBB
#endif
#if !__has_include(<zlib.h>)
zlib
#endif
#if !__has_include(<Random123/philox.h>)
Random123
#endif
#if !__has_include(<catch2/catch.hpp>) && !__has_include(<catch2/catch_all.hpp>)
Catch2
#endif
#if !__has_include(<boost/math/distributions/students_t.hpp>)
Boost.Math
#endif
#if !__has_include(<openssl/evp.h>)
OpenSSL
#endif
CODE
    )
  fi
  if [ ${#missing[@]} -eq 0 ]; then finish "everything is installed"; fi
  echo "setup.sh: there is no apt-get here; install these yourself: ${missing[*]}" >&2
  exit 1
}

# Prints the packages that dpkg does not know as installed.
missing_packages() {
  local package
  for package in "${packages[@]}"; do
    # shellcheck disable=SC2016  # dpkg-query's own variable
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

if ! command -v apt-get >/dev/null; then check_without_apt; fi

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -eq 0 ]; then finish "everything is installed"; fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # sudo may ask for a password, but only a person can answer.
  if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
    as_root=(sudo)
  else
    echo "setup.sh: not root; run: apt-get update && apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
fi

say "installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq || echo "setup.sh: using the package lists that are here" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  -o Dpkg::Use-Pty=0 "${missing[@]}" | { grep '^Setting up' 2>/dev/null; cat >/dev/null; } || true # all is read, printed or not

mapfile -t missing < <(missing_packages)
if [ ${#missing[@]} -ne 0 ]; then
  echo "setup.sh: apt-get could not install ${missing[*]}; its own messages are above" >&2
  exit 1
fi
finish "done"

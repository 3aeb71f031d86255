# What the tests of the programs share; sourced by them. Leaves the shell in a new folder that is removed at the end, with
# EVENKEEL_DATA set; without MNIST in $EVENKEEL_DATA or data/mnist the test is skipped (exit 77).
# shellcheck source=tests/checks.sh
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
data=$(realpath -m "${EVENKEEL_DATA:-$(dirname "${BASH_SOURCE[0]}")/../data/mnist}")
[ -d "$data/MNIST/raw" ] && data=$data/MNIST/raw
files="train-images-idx3-ubyte train-labels-idx1-ubyte t10k-images-idx3-ubyte t10k-labels-idx1-ubyte"
for file in $files; do
  [ -e "$data/$file" ] || [ -e "$data/$file.gz" ] || { echo "skipped: $file is not in $data"; exit 77; }
done
export EVENKEEL_DATA=$data TERM=dumb
content() { if [ -e "$data/$1" ]; then cat "$data/$1"; else gzip -dc "$data/$1.gz"; fi; }
unset EVENKEEL_DEVICE
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# Before a command that is killed or may not write large files. In a build that counts lines it would damage the counts of
# all processes, and so leaves its own elsewhere.
# shellcheck disable=SC2034
apart="env GCOV_PREFIX=$work/.counts"

# refuses NAME CODE COMMAND...: what the command should have written goes to out/.
refuses() {
  local name=$1 code=$2 got
  shift 2
  rm -rf out
  timeout 60 "$@" > stdout 2> stderr
  got=$?
  if [ $got != "$code" ]; then bad "$name: exit code $got, not $code"
  elif [ "$(wc -l < stderr)" != 1 ]; then bad "$name: $(wc -l < stderr) lines on stderr, not 1"
  elif [ -e out ]; then bad "$name: left $(find out | tr '\n' ' ')"
  else ok "$name: exit code $code, $(cat stderr)"; fi
}

all_files="DONE config.json confusion.csv metrics.csv metrics.jsonl misclassified.png model.safetensors predictions.csv"
has_files() { [ "$(ls -A "$1" | LC_ALL=C sort | tr '\n' ' ')" = "$2 " ]; }

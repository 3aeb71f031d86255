#!/usr/bin/env bash
# Run directories and the command line: what a run touches, refuses, notices and continues.
#
#     tests/test_runs.sh TRAIN_MNIST
#
# TRAIN_MNIST: tests/runs/small_train_mnist.cpp, which needs no data.
set -u
[ $# = 1 ] || { echo "usage: $0 TRAIN_MNIST" >&2; exit 2; }
train=$(realpath "$1")
# shellcheck source=tests/checks.sh
. "$(dirname "$(realpath "$0")")/checks.sh"
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
export TERM=dumb OMP_NUM_THREADS=1
unset EVENKEEL_DEVICE EVENKEEL_DATA

run="$train --norm ln --batch-size 48 --epochs 1 --quiet"
all_files="DONE config.json confusion.csv metrics.csv metrics.jsonl misclassified.png model.safetensors predictions.csv"
has_files() { [ "$(ls -A "$1" | LC_ALL=C sort | tr '\n' ' ')" = "$2 " ]; }
listing() { ls -AlR --full-time "$1" 2> /dev/null; }
says() { check "... says: $1" grep -Eq -- "$1" "${2:-stderr}"; }
# refuses NAME CODE COMMAND...: one line, and nothing here is touched.
refuses() {
  local name=$1 code=$2 got before
  shift 2
  before=$(listing .)
  timeout 60 "$@" > "$work.out" 2> "$work.err"
  got=$?
  if [ "$before" != "$(listing .)" ]; then bad "$name: touched files"; fi
  mv "$work.out" stdout; mv "$work.err" stderr
  if [ $got != "$code" ]; then bad "$name: exit code $got, not $code"
  elif [ "$(wc -l < stderr)" != 1 ]; then bad "$name: $(wc -l < stderr) lines on stderr, not 1"
  else ok "$name: exit code $code, $(cat stderr)"; fi
}
# works NAME DIR COMMAND...: a run that ends in DIR.
works() {
  local name=$1 dir=$2
  shift 2
  if timeout 60 "$@" > stdout 2> stderr && has_files "$dir" "$all_files"; then ok "$name"; else bad "$name"; fi
}
touch stdout stderr

# --- paths --------------------------------------------------------------------------------------------------------------

mkdir -p else/dir else/run1 paths
ln -s else/dir sym
ln -s nowhere dangling
touch file
works "a run" run1 $run --out run1
before=$(listing run1)
works "sym/../run1 is beside what sym points to" else/run1 $run --out sym/../run1
check "... and run1 as it was" test "$before" = "$(listing run1)"
works "made on the way: .., . and slashes" paths/b $run --out paths//a/.././b//
check "... which are not left behind" test ! -e paths/a
ln -s ../else/linked paths/link
mkdir else/linked
works "a link to a folder" else/linked $run --out paths/link/
check "... which stays a link" test -L paths/link
works "a folder by another name of it is the same run" else/linked $run --out sym/../linked --resume
refuses "a dangling link" 1 $run --out dangling
refuses "below a dangling link" 1 $run --out dangling/run
refuses "a file in the way" 1 $run --out file
refuses "a path through a file" 1 $run --out file/run
refuses "a path through a file and back" 1 $run --out file/../run2
refuses "no name" 2 $run --out ''
refuses "no name after =" 2 $run --out=
refuses "the root directory" 2 $run --out /
refuses "... by another name" 2 $run --out /..//.
refuses "no data" 2 $run --data '' --out none
refuses "no weights" 2 $run --weights '' --out none
refuses "weights in a folder" 3 $run --weights else --out none
for name in $(printf 'caf\303\251 \342\202\254 \360\237\230\200'); do
  works "UTF-8 in --out: $name" "$name" $run --out "$name"
  check "... is printed as it is" grep -q -- "^Results: $name" stdout
  check "... and is so in config.json" grep -q -- "\"out\": \"$name\"" "$name/config.json"
done
bytes=$(printf 'caf\351')
works "bytes that are no UTF-8 in --out" "$bytes" $run --out "$bytes"
check "... are escaped" grep -qF '"caf\\xE9"' "$bytes/config.json"
mkdir "$bytes-place"
(cd "$bytes-place" && EVENKEEL_DATA=$bytes $run --out run) > stdout 2> stderr
check "... in the working directory and the environment" has_files "$bytes-place/run" "$all_files"
cp run1/model.safetensors "$bytes.safetensors"
works "... in --weights" weighted $run --weights "$bytes.safetensors" --out weighted
check "... which is the same run again" $run --weights "$bytes.safetensors" --out weighted --resume
long=deep
while [ ${#long} -lt 3900 ]; do long+=/$(printf 'x%.0s' $(seq 100)); done
long+=/$(printf 'y%.0s' $(seq $((4048 - ${#long}))))
refuses "a name that is too long for the files in it" 2 $run --out "${long}y"
says "--out: the name of a run's folder has 4050 bytes, more than 4049: choose a shorter one"
works "the longest name" "$long" $run --out "$long"
rm -rf deep
if [ "$(id -u)" != 0 ]; then
  mkdir closed && chmod a-w closed
  refuses "a folder that may not be written" 1 $run --out closed/run
  refuses "... or that is to hold the run" 2 $run --out closed
fi
# on_the_way DIR: starts a run in DIR and returns once it has a checkpoint. Its streams go to out1 and err1.
on_the_way() {
  rm -rf "$1"
  timeout 60 $run --epochs 100000 --out "$1" > out1 2> err1 &
  until [ -e "$1"/checkpoint.safetensors ] || ! kill -0 $! 2> /dev/null; do sleep 0.01; done
}
# left NAME: the run that on_the_way began ends without having written to the folder that has its name now.
left() {
  wait $!
  check "$1: exit code 1" test $? = 1
  check "... one line" test "$(wc -l < err1)" = 1
  says "the folder moved was moved or removed while the run was going on" err1
}
on_the_way moved
mv moved moved.old
works "a folder of the same name, while the first run goes on" moved $run --seed 2 --out moved
left "a folder that is renamed under its run"
works "... which has the other's files, whole" moved $run --seed 2 --out moved --resume
check "... and a checkpoint of its own" test -e moved.old/checkpoint.safetensors
on_the_way moved
kill -STOP -- -$! # else it might see the folder there still, with a file of it gone
rm -rf moved
kill -CONT -- -$!
left "a folder that is removed under its run"
check "... stays away" test ! -e moved

# --- files of others ------------------------------------------------------------------------------------------------------

begun() { rm -rf begun && mkdir begun && cp run1/config.json begun; }
ours="checkpoint.safetensors.12-0.tmp config.json.7-3.tmp DONE.1-1.tmp predictions.csv.99-12.tmp"
theirs="checkpoint.safetensors.bak metrics.csv.old DONE.txt config.json.tmp metrics.csv.tmp metrics.csv.1-.tmp confusion.csv.1-2.tmp.x notes"
begun
(cd begun && touch $ours $theirs && mkdir metrics.csv.1-0.tmp)
check "beside files of others" $run --out begun
check "... which stay" test "$(cd begun && ls -d $theirs metrics.csv.1-0.tmp 2> /dev/null | wc -l)" = 9
check "... while what killed runs left is gone" test -z "$(cd begun && ls -d $ours 2> /dev/null)"
for name in DONE.1 metrics.csv model.safetensors; do
  begun
  mkdir begun/$name
  [ $name = DONE.1 ] || refuses "a folder named $name" 2 $run --out begun
done
rm -rf begun && cp -r run1 begun && rm begun/DONE
refuses "a run without its DONE" 2 $run --out begun
says 'begun/confusion.csv is not of an unfinished run and would be overwritten'
refuses "... with --resume" 2 $run --out begun --resume
refuses "... and another seed" 2 $run --seed 9 --lr 1e30 --out begun
begun
cp run1/model.safetensors begun
ln -s begun/model.safetensors link.safetensors
for weights in begun/model.safetensors link.safetensors; do
  refuses "$weights as weights" 2 $run --weights $weights --out ./begun
  says "--weights $weights is a file of the run in ./begun and would be overwritten: choose another --out"
done
mv begun/model.safetensors begun/model.safetensors.1-0.tmp
refuses "a half-written file as weights" 2 $run --weights begun/model.safetensors.1-0.tmp --out begun
mv begun/model.safetensors.1-0.tmp begun/start.safetensors
check "weights beside the files of the run" $run --weights begun/start.safetensors --out begun
check "... which stay" cmp run1/model.safetensors begun/start.safetensors
begun
ln -s ../file begun/predictions.csv
refuses "a link in place of a result" 2 $run --out begun
begun
mkfifo begun/checkpoint.safetensors
refuses "a pipe in place of the checkpoint" 2 $run --out begun --resume
mkdir precious && echo mine > precious/predictions.csv
refuses "results of something else" 2 $run --out precious
refuses "... with --resume" 2 $run --out precious --resume
for config in '' '\0\0\0' '{' '{\n  "build": "Rel' '{\n  "build": "make"\n}\n' 'notes'; do
  printf "$config" > precious/config.json
  refuses "... beside a config.json of '$config'" 2 $run --out precious
done
rm precious/predictions.csv
for config in '{\n  "build": "make"}' '{\n  "build": "make", // both\n}\n' 'notes'; do
  printf "$config" > precious/config.json
  refuses "a config.json of something else, '$config'" 2 $run --out precious
done
mkdir strange && touch strange/notes
check "a folder with other files" $run --out strange
check "... which stay" test -e strange/notes

# --- what kills leave -----------------------------------------------------------------------------------------------------

for left in nothing config.json.1-0.tmp config.json; do # an empty config.json: of a power failure
  rm -rf left && mkdir left
  [ $left = nothing ] || touch left/$left
  works "killed at the start, $left is left: --resume" left $run --out left --resume
  rm -rf left && mkdir left
  [ $left = nothing ] || touch left/$left
  works "... and without" left $run --out left
done
size=$(stat -c %s run1/config.json)
for bytes in 0 1 5 14 20 200 $((size / 2)) $((size - 3)); do
  rm -rf left && mkdir left
  head -c "$bytes" run1/config.json > left/config.json
  works "$bytes bytes of config.json are left" left $run --out left --resume-or-start
done
rm -rf left && mkdir left
head -c 300 /dev/zero > left/config.json
works "a config.json of zeros is left" left $run --out left --resume
on_the_way stopped
kill -TERM $!
wait $!
for config in no '' '{\n  "build": "Rel' '\0\0\0' 'notes'; do
  rm -rf left && cp -r stopped left
  if [ "$config" = no ]; then rm left/config.json; else printf "$config" > left/config.json; fi
  stopped TERM '^T' $run --epochs 100000 --out left --resume # at the first figures of an epoch
  check "a checkpoint proves a run, with '$config' as config.json" test $got = 143
  check "... and it goes on" grep -q '^Continuing left' stdout
  check "... with a whole config.json" cmp <(sed 's/"out": .*//' stopped/config.json) <(sed 's/"out": .*//' left/config.json)
done
truncate -s -1 left/checkpoint.safetensors
echo notes > left/config.json
refuses "... a damaged one does not" 2 $run --epochs 100000 --out left --resume
refuses "--resume where there is nothing" 2 $run --out typo --resume
says 'there is no run in typo'
refuses "... or something else" 2 $run --out else --resume
works "--resume-or-start where there is nothing" started $run --out started --resume-or-start
works "... and again" started $run --out started --resume-or-start

# --- a finished run -------------------------------------------------------------------------------------------------------

before=$(listing run1)
refuses "a finished run in the way" 2 $run --out run1
works "a finished run again" run1 $run --out run1 --resume
check "... is as it was" test "$before" = "$(listing run1)"
cp -r run1 someone && echo notes > someone/logits.safetensors
refuses "a finished run without logits, beside a file of that name" 2 $run --out someone --resume --save-logits
says "without --save-logits"
for name in $all_files; do
  [ $name != DONE ] || continue
  rm -rf damaged && cp -r run1 damaged
  printf 'X' | dd of=damaged/$name bs=1 seek=$(($(stat -c %s damaged/$name) / 2)) conv=notrunc status=none
  refuses "a byte of $name" 3 $run --out damaged --resume
  says "damaged/?$name|remove .*damaged|damaged has DONE"
  rm damaged/$name
  refuses "no $name" 3 $run --out damaged --resume
done
rm -rf damaged && cp -r run1 damaged
sed -i -E 's/"loss":[^,]*/"loss":0.001/' damaged/metrics.jsonl
refuses "other losses" 3 $run --out damaged --resume
says 'damaged/metrics.jsonl is not as the run wrote it'
truncate -s -1 damaged/DONE
refuses "a cut DONE" 3 $run --out damaged --resume
rm -rf damaged && cp -r run1 damaged
truncate -s 8T damaged/metrics.csv
refuses "a result of 8 TB" 3 $run --out damaged --resume
says 'metrics.csv has [0-9]+ bytes, far more'
truncate -s 1G damaged/metrics.csv
$run --out damaged --resume > stdout 2> stderr &
until ls -l /proc/$!/fd 2> /dev/null | grep -q metrics.csv || ! kill -0 $! 2> /dev/null; do sleep 0.01; done
kill -TERM $!
wait $!
check "a signal while a large result is checked: exit code 143" test $? = 143
says 'stopped by SIGTERM while results were checked'
rm -rf older && cp -r run1 older && echo done > older/DONE
works "a run that an older version finished" older $run --out older --resume
refuses "... cannot go on" 2 $run --out older --resume --epochs 2
rm older/model.safetensors
refuses "... and is incomplete without its weights" 3 $run --out older --resume

works "two epochs" two $run --epochs 2 --out two
cp -r run1 more
works "a finished run goes on to more epochs" more $run --epochs 2 --out more --resume
check "... and trains nothing again" test "$(grep -c '^Train set' stdout)" = 2
for name in model.safetensors predictions.csv confusion.csv misclassified.png; do
  check "... to the same $name" cmp two/$name more/$name
done
check "... and figures" test "$(cut -d, -f1-5,8,9 two/metrics.csv)" = "$(cut -d, -f1-5,8,9 more/metrics.csv)"
check "... and options" test "$(grep -v '"out"' two/config.json)" = "$(grep -v '"out"' more/config.json)"
# in_the_way NAME: a finished run that cannot go on as long as damaged/NAME is what it is.
in_the_way() { refuses "a finished run cannot go on: $1" 2 $run --epochs 2 --out damaged --resume; }
for name in logits.safetensors checkpoint.safetensors; do
  for kind in mkdir mkfifo "ln -s $name"; do
    rm -rf damaged && cp -r run1 damaged
    $kind damaged/$name
    in_the_way "$kind $name"
  done
done
rm -rf damaged && cp -r run1 damaged
mv damaged/model.safetensors elsewhere && ln -s ../elsewhere damaged/model.safetensors
in_the_way "model.safetensors is a link"
rm -rf damaged && cp -r run1 damaged
if [ "$(id -u)" != 0 ]; then
  chmod a-w damaged
  in_the_way "it may not be written"
  chmod u+w damaged
fi
refuses "fewer epochs" 2 $run --epochs 1 --out two --resume
says 'finished run with epochs 2, not 1'
rm -rf beside && cp -r two beside && cp two/DONE beside/checkpoint.safetensors
works "what a kill after DONE has left goes" beside $run --epochs 2 --out beside --resume
$run --seed 2 --out seed2 > stdout 2> stderr
echo notes > else/notes
for others in else/notes two/model.safetensors seed2/DONE; do # the last one is a checkpoint, of another run
  cp $others beside/checkpoint.safetensors
  check "$others beside DONE, as checkpoint.safetensors" $run --epochs 2 --out beside --resume
  check "... stays" cmp $others beside/checkpoint.safetensors
  refuses "... and is in the way of more epochs" 2 $run --epochs 3 --out beside --resume
  says 'beside/checkpoint.safetensors is no checkpoint that this run can go on from, and would be overwritten: move it away'
done
# differs NAME THERE HERE WORDS: a run with the options THERE, finished or stopped, is not continued with HERE.
differs() {
  rm -rf other && $run $2 --out other > stdout 2> stderr
  refuses "a finished run $1" 2 $run $3 --out other --resume
  says "other is a finished run with $4: remove it or choose another --out"
  rm -rf other
  stopped TERM '^T' $run --epochs 100000 $2 --out other
  refuses "an unfinished run $1" 2 $run --epochs 100000 $3 --out other --resume
  says "other holds an unfinished run, saved .*, with $4: remove it or choose another --out"
}
differs "on fewer test images" "--test-images 10" "" "test_images 10, not all"
differs "on all test images" "" "--test-images 10" "test_images all, not 10"
differs "of another norm, which has groups" "" "--norm gn" 'norm "ln", not "gn"'
refuses "more epochs and another rate" 2 $run --epochs 3 --lr 0.5 --out two --resume
works "evaluation only" evaluated $run --epochs 0 --weights two/model.safetensors --out evaluated
works "... again" evaluated $run --epochs 0 --weights two/model.safetensors --out evaluated --resume
refuses "... is nothing to go on from" 2 $run --epochs 1 --weights two/model.safetensors --out evaluated --resume

cp run1/model.safetensors weights.safetensors
cp run1/model.safetensors same.safetensors
evaluate="$train --norm ln --epochs 0"
works "weights" content $evaluate --weights weights.safetensors --out content
works "... by another name" content $evaluate --weights same.safetensors --out content --resume
rm -rf older && cp -r content older && echo done > older/DONE
sed -zi 's/,\n *"weights_sha256": "[0-9a-f]*"//' older/config.json
cp two/model.safetensors weights.safetensors
refuses "other weights of the same name" 2 $evaluate --weights weights.safetensors --out content --resume
says 'content is a finished run with weights_sha256 "[0-9a-f]{64}", not "[0-9a-f]{64}"'
refuses "no weights" 2 $evaluate --out content --resume
says 'content is a finished run with weights "weights.safetensors", not "": '
works "a run of an older version, which knows the name only" older $evaluate --weights weights.safetensors --out older --resume
refuses "... and another name" 2 $evaluate --weights same.safetensors --out older --resume
says 'older is a finished run with weights "weights.safetensors", not "same.safetensors"'

# --- numbers --------------------------------------------------------------------------------------------------------------

numbers="--groups --epochs --batch-size --test-batch-size --step-size --threads --log-interval --max-steps --seed"
for option in $numbers --lr --momentum --weight-decay --l1 --gamma --rotate; do
  for value in '' ' 1' '1 ' +1 1x 0x10 1e999 nan inf 1,2 99999999999999999999999 -1 "1'0"; do
    case $option$value in --lr9* | --weight-decay9* | --l19* | --gamma9*) continue ;; esac
    "$train" --out none "$option" "$value" > stdout 2> stderr
    got=$?
    [ $got = 2 ] && [ "$(wc -l < stderr)" = 1 ] && [ ! -e none ] || bad "$option '$value': exit code $got"
  done
done
ok "numbers are read strictly"
for option in $numbers; do
  for value in 9223372036854775807 9223372036854775808 1.5 1e3; do
    [ "$option" != --seed ] || [ ${value#9} = "$value" ] || continue
    "$train" --out none "$option" "$value" > stdout 2> stderr
    got=$?
    [ $got = 2 ] && [ "$(wc -l < stderr)" = 1 ] && [ ! -e none ] || bad "$option '$value': exit code $got"
  done
done
ok "... and none that products would overflow"
refuses "no value" 2 $run --epochs= 2 --out none
refuses "a value for a switch" 2 $run --resume=99999999999999999999 --out none
for threads in 0 -1 x 4x 99999999999 ' 1' 1e3; do
  refuses "OMP_NUM_THREADS='$threads'" 2 env OMP_NUM_THREADS="$threads" $run --out none
done
works "OMP_NUM_THREADS=1,2 is OpenMP's list" listed env OMP_NUM_THREADS=1,2 $run --out listed
refuses "EVENKEEL_DEVICE=cuda:" 2 env EVENKEEL_DEVICE=cuda: $run --out none
says '^train_mnist: EVENKEEL_DEVICE: '
refuses "... and --device cuda:" 2 env EVENKEEL_DEVICE=cpu $run --device cuda: --out none
says '^train_mnist: --device: '
for options in --help "--lr x --help" "--dataset x --help"; do
  env EVENKEEL_DEVICE=cuda: $run $options > stdout 2> stderr
  check "... and $options: exit code 0" test $? = 0
  says '^Usage: train_mnist' stdout
done
check "... and --version" env EVENKEEL_DEVICE=cuda: $run --version
works "an octal number is none" octal $run --epochs 01 --test-batch-size 0010 --out octal

# --- streams --------------------------------------------------------------------------------------------------------------

# streams CODE DIR COMMAND: a shell line; what it leaves.
streams() {
  eval "$3"
  got=$?
  if [ $got != "$1" ]; then bad "$3: exit code $got, not $1"
  elif [ -n "$2" ] && ! has_files "$2" "$all_files"; then bad "$3: $(ls -A "$2")"
  else ok "$3: exit code $1"; fi
}
streams 2 "" '$train --lr 0 2> /dev/full'
streams 2 "" '$train --lr 0 2>&-'
streams 2 "" '$train --lr 0 >&- 2>&- <&-'
streams 1 "" '$train --help > /dev/full 2> stderr'
streams 1 full '$run --out full > /dev/full 2> stderr'
says 'cannot write to standard output \(No space left on device\)'
streams 1 both '$run --out both > /dev/full 2> /dev/full'
streams 1 closed1 '$run --out closed1 >&- 2> stderr'
streams 0 closed2 '$run --out closed2 2>&- > stdout'
streams 1 closed3 '$run --out closed3 <&- >&- 2>&-'
check "... no file has what was to be printed" test -z "$(grep -l 'Test set' closed[123]/*)"
(set -o pipefail; $run --log-interval 1 --out piped 2> stderr | true)
check "a pipe without a reader: exit code 1" test $? = 1
check "... and the results are there" has_files piped "$all_files"
says 'Broken pipe'

finish

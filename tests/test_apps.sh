#!/usr/bin/env bash
# Runs the programs as a user would, on the real data with few steps: what they print, write and refuse.
#
#     tests/test_apps.sh TRAIN_MNIST COMPARE_NORMS
#
# Every run is evaluated on the first $EVENKEEL_TEST_IMAGES of the test images, all 10,000 if that is not set.
# MNIST is looked for in $EVENKEEL_DATA, then in data/mnist; without it the test is skipped (exit 77).
set -u
[ $# = 2 ] || { echo "usage: $0 TRAIN_MNIST COMPARE_NORMS" >&2; exit 2; }
train=$(realpath "$1") compare=$(realpath "$2")
# shellcheck source=tests/app_testing.sh
. "$(dirname "$(realpath "$0")")/app_testing.sh"

# --- bad input: an exit code, one line on stderr, nothing left behind --------------------------------------------

few="--epochs 1 --max-steps 10 --quiet --out out"

refuses "unknown option" 2 "$train" --no-such-option
refuses "unknown norm" 2 "$train" --norm foo $few
refuses "groups that do not divide" 2 "$train" --norm gn --groups 3 $few
check "... names the option" grep -q -- '--groups 3: ' stderr
for program in "$train" "$compare"; do
  for variable in EVENKEEL_MAX_CPU_ISA=foo EVENKEEL_POISON=abc EVENKEEL_POISON=256 EVENKEEL_POISON=-1 EVENKEEL_POISON=1,x; do
    refuses "$variable" 2 env "$variable" "$program" --data nowhere $few
    check "... names the variable" grep -q "${variable%=*}" stderr
  done
done
for bad_value in "--lr nan" "--lr 0" "--lr -1" "--lr inf" "--lr x" "--epochs -1" "--epochs 1.5" "--batch-size 0" \
  "--test-batch-size 0" "--momentum 1" "--weight-decay -1" "--l1 nan" "--l1-mode x" "--step-size 0" "--gamma 0" \
  "--rotate nan" "--seed -1" "--seed 18446744073709551616" "--device gpu" "--threads -1" "--log-interval 0" \
  "--max-steps -1" "--epochs"; do
  refuses "$bad_value" 2 "$train" $few $bad_value
done
refuses "a mode of no penalty" 2 "$train" --l1-mode proximal $few
check "... names both options" grep -q -- '--l1-mode requires --l1' stderr
for option in "--batch-norms gn" "--batch-epochs 2"; do
  refuses "$option without batch sizes" 2 "$compare" $option $few
  check "... names both options" grep -q -- "${option% *} requires --batch-sizes" stderr
done
refuses "unknown norm in a study" 2 "$compare" --norms bn,foo $few
refuses "a norm twice in a study" 2 "$compare" --norms bn,bn $few
refuses "a study without seeds" 2 "$compare" --seeds 0 $few
refuses "an unknown penalty" 2 "$compare" --penalties l2 $few
refuses "a penalty of no strength" 2 "$compare" --penalties off,subgradient --l1 0 $few
refuses "no batch size" 2 "$compare" --batch-sizes 64,0 $few
for bad_value in "--norms=" "--norms bn,,gn" "--norms bn," "--penalties ,off" "--seeds 10001" "--seeds 1e2" "--batch-sizes 0x10" \
  "--batch-sizes 64," "--batch-sizes 9223372036854775807" "--batch-epochs 0" "--batch-sizes 8 --lr 1e308 --batch-size 1" \
  "--seed 18446744073709551615 --seeds 2"; do
  refuses "a study with $bad_value" 2 "$compare" $few $bad_value
done
refuses "a study of no norms" 2 "$compare" --norms "" $few
refuses "an unknown data set" 2 "$train" --dataset cifar $few
if ! ls /dev/nvidia[0-9]* > /dev/null 2>&1; then
  refuses "no CUDA device" 4 "$train" --device cuda $few
  refuses "no CUDA device for a study" 4 "$compare" --device cuda $few
fi

# damaged_data DIR FILE: DIR with all files but FILE.
damaged_data() {
  mkdir "$1"
  for file in $files; do
    [ "$file" = "$2" ] || ln -s "$data/$file"* "$1"
  done
}
refuses "no data directory" 3 "$train" --data nowhere $few
damaged_data missing t10k-labels-idx1-ubyte
refuses "a data file missing" 3 "$train" --data missing $few
damaged_data truncated-gz train-labels-idx1-ubyte
content train-labels-idx1-ubyte | gzip -c | head -c 5000 > truncated-gz/train-labels-idx1-ubyte.gz
refuses "a truncated .gz file" 3 "$train" --data truncated-gz $few
damaged_data truncated train-labels-idx1-ubyte
content train-labels-idx1-ubyte | head -c 5000 > truncated/train-labels-idx1-ubyte
refuses "a truncated file" 3 "$train" --data truncated $few
damaged_data magic train-labels-idx1-ubyte
content train-labels-idx1-ubyte > magic/train-labels-idx1-ubyte
printf '\x09' | dd of=magic/train-labels-idx1-ubyte bs=1 seek=2 conv=notrunc status=none
refuses "a wrong magic number" 3 "$train" --data magic $few
damaged_data checksum train-labels-idx1-ubyte
content train-labels-idx1-ubyte > checksum/train-labels-idx1-ubyte
printf '\x03' | dd of=checksum/train-labels-idx1-ubyte bs=1 seek=60007 conv=notrunc status=none
refuses "a wrong checksum" 3 "$train" --data checksum $few
refuses "a study on a wrong checksum" 3 "$compare" --data checksum $few

refuses "a loss that is not finite" 5 "$train" --norm bn --lr 1e30 $few
check "... advises a lower --lr only" grep -q ': try a lower --lr than 1e+30$' stderr
for cause in "--weight-decay 1e+30" "--l1 1e+26"; do
  refuses "a loss that is not finite, of $cause" 5 "$train" --norm bn $cause $few
  check "... names the option" grep -q -- "or a lower ${cause% *} than ${cause#* }\$" stderr
done
refuses "a loss that is not finite, of --gamma 1e+300" 5 "$train" --norm bn --gamma 1e+300 --step-size 1 $few --epochs 2 --out steep
check "... names the option" grep -q -- 'or a lower --gamma than 1e+300$' stderr
for program in "$train --norm bn" "$compare --norms bn"; do
  refuses "a file above the limit of the shell" 1 bash -c 'ulimit -f 8; exec "$@"' _ $apart $program $few --test-images 50
  check "... names it and says why" grep -Eq 'cannot write out/.* \(File too large\)' stderr
done
name=$(printf 'x%.0s' $(seq 100))
refuses "a study whose runs have names that are too long" 2 "$compare" $few --out "out$(printf "/$name%.0s" $(seq 40))"
touch regular-file
refuses "an output below a regular file" 1 "$train" $few --out regular-file/run
refuses "a study's output below a regular file" 1 "$compare" $few --out regular-file/study
refuses "weights that are not there" 3 "$train" --weights nowhere.safetensors $few
mkdir others && echo precious > others/model.safetensors
refuses "files of something else" 2 "$train" $few --out others
check "... which are still there" grep -q precious others/model.safetensors

# --- a good run -----------------------------------------------------------------------------------------------------

images=${EVENKEEL_TEST_IMAGES:-10000} steps=60
[ "$images" = 10000 ] || steps=25
run="--epochs 2 --max-steps $steps --log-interval 20 --test-images $images"

"$train" $run --norm gn --threads 2 --out good > stdout 2> stderr
check "a good run succeeds" test $? = 0
check "... without a word on stderr" test ! -s stderr
check "... with exactly the files of a run" has_files good "$all_files"
check "... PyTorch's lines" grep -Pqx 'Train Epoch: 2 \[1280/60000 \(2%\)\]\tLoss: \d\.\d{6}' stdout
check "... and its test line" grep -Pqx 'Test set: Average loss: \d\.\d{4}, Accuracy: \d+/'$images' \(\d+\.\d\d%\)' stdout
check "... the network's size" grep -q '^Network gn: 9300 parameters' stdout
check "... and where the results are, last" grep -q '^Results: good ' <(tail -1 stdout)
check "a picture in PNG" grep -aq PNG <(head -c 4 good/misclassified.png)

# The three files about the test images must tell the same story.
predicted=$(awk -F, 'NR > 1 { n += $2 == $3 } END { print n }' good/predictions.csv)
check "a prediction for each image, in order" awk -F, 'NR > 1 && $1 != NR - 2 { exit 1 } END { exit NR != '$images' + 1 }' good/predictions.csv
check "probabilities of the label below those of the prediction" \
  awk -F, 'NR > 1 && !(0 <= $4 && $4 <= $5 && $5 <= 1) { exit 1 }' good/predictions.csv
confused=$(awk -F, 'NR > 1 { n += $(NR); for (i = 2; i <= 11; ++i) all += $i } END { print n, all }' good/confusion.csv)
measured=$(awk -F, 'END { printf "%.0f", '$images' * $3 }' <(grep test good/metrics.csv | cut -d, -f1,2,4))
check "predictions, confusion and metrics agree" test "$confused" = "$predicted $images" -a "$measured" = "$predicted"
check "two epochs, train and test" test "$(cut -d, -f1,2 good/metrics.csv | tr '\n' ' ')" \
  = "epoch,split 1,train 1,test 2,train 2,test "
check "... in both forms" test "$(grep -Ec '^\{"accuracy":[0-9.]+,"epoch":[12],.*"split":"(train|test)"\}$' good/metrics.jsonl)" = 4

"$train" $run --norm gn --threads 1 --quiet --out again > stdout 2> stderr
check "same seed, one thread: the same weights" cmp good/model.safetensors again/model.safetensors
check "... and predictions" cmp good/predictions.csv again/predictions.csv
check "--quiet prints no progress" test "$(grep -c '^Train Epoch' stdout)" = 0
"$train" $run --norm gn --seed 2 --quiet --out other > stdout 2> stderr
check "another seed: other weights" test "$(cmp -s good/model.safetensors other/model.safetensors; echo $?)" = 1

"$train" --norm gn --weights good/model.safetensors --epochs 0 --test-images $images --save-logits --quiet --out evaluated > stdout 2> stderr
check "evaluation of stored weights" has_files evaluated "${all_files/config.json confusion.csv/config.json confusion.csv logits.safetensors}"
check "... gives the predictions of the run" cmp good/predictions.csv evaluated/predictions.csv
check "... and leaves the weights alone" cmp good/model.safetensors evaluated/model.safetensors
python3 - good/model.safetensors nan.safetensors << 'END'
import sys
content = bytearray(open(sys.argv[1], "rb").read())
content[-4:] = b"\x00\x00\xc0\x7f"
open(sys.argv[2], "wb").write(content)
END
for epochs in 0 1; do
  refuses "weights that are not finite, --epochs $epochs" 3 "$train" --norm gn --weights nan.safetensors $few --epochs $epochs
  check "... names the file" grep -q 'nan.safetensors has values that are not finite in .*: give other --weights' stderr
done
python3 - huge.safetensors << 'END'
import sys
header = b'{"w":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}}'
with open(sys.argv[1], "wb") as file:
    file.write(len(header).to_bytes(8, "little") + header)
    file.truncate(8 + len(header) + (1 << 40))
END
if [ "$(cat /proc/sys/vm/overcommit_memory)" != 1 ]; then
  refuses "weights that no memory holds" 3 "$train" --norm gn --weights huge.safetensors $few
  check "... names the file" grep -q 'huge.safetensors needs more memory than there is' stderr
  for name in DONE checkpoint.safetensors; do
    cp -r good large
    [ $name = DONE ] || rm large/DONE
    cp --sparse=always huge.safetensors "large/$name"
    refuses "a finished run whose $name no memory holds" 3 "$train" $run --norm gn --epochs 3 --resume --out large
    check "... names the file" grep -q "large/$name needs more memory than there is" stderr
    rm -r large
  done
fi
refuses "weights of another network" 2 "$train" --norm ln --weights good/model.safetensors $few

if [ -e /dev/full ]; then
  "$train" --epochs 1 --max-steps 1 --test-images $images --quiet --out full > /dev/full 2> stderr
  check "standard output that cannot be written: exit code 1" test $? = 1
fi

listing=$(ls -l good)
refuses "a finished run in the way" 2 "$train" $few --out good
check "... which is as it was" test "$listing" = "$(ls -l good)"

finish

#!/usr/bin/env bash
# Runs bench_norms as a user would, on tiny rows: what it prints, writes and refuses. No timings are judged.
#
#     tests/test_bench.sh BENCH_NORMS [PYTHON]
#
# PYTHON, with torch, also makes a peer file with scripts/peer_torch.py; without torch one is made up.
set -u
[ $# -ge 1 ] || { echo "usage: $0 BENCH_NORMS [PYTHON]" >&2; exit 2; }
bench=$(realpath "$1") python=${2:-}
source_dir=$(dirname "$(dirname "$(realpath "$0")")")
export TERM=dumb OMP_NUM_THREADS=2 EVENKEEL_DEVICE=cpu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# shellcheck source=tests/checks.sh
. "$source_dir/tests/checks.sh"

# refuses NAME CODE WORDS OPTION...: exit code CODE, one line on stderr that holds WORDS, no file out.json.
refuses() {
  local name=$1 code=$2 words=$3 got
  shift 3
  timeout 60 "$bench" "$@" --json out.json > stdout 2> stderr
  got=$?
  if [ $got != "$code" ]; then bad "$name: exit code $got, not $code"
  elif [ "$(wc -l < stderr)" != 1 ]; then bad "$name: $(wc -l < stderr) lines on stderr, not 1"
  elif ! grep -qF -- "$words" stderr; then bad "$name: not a word of '$words'"
  elif [ -e out.json ]; then bad "$name: wrote a file"
  else ok "$name: exit code $code, $(cat stderr)"; fi
}
count() { grep -c "$1" "$2"; }

tiny="--shape 3,4,6,5 --shape 5,7 --shape 19 --shape 3,1,9,8 --repeat 2 --min-time 0"
ops="conv2d batch_norm group_norm layer_norm layer_norm2d rms_norm max_pool2d avg_pool2d relu dropout rotate_normalize
  log_softmax_nll sgd"

# --- what it refuses --------------------------------------------------------------------------------------------------

refuses "unknown option" 2 "--no-such-option" --no-such-option
refuses "unknown op" 2 "unknown op 'foo': use some of conv2d" --op foo
refuses "unknown op among others" 2 "unknown op 'foo'" --op relu,foo
refuses "an op twice" 2 "relu is named twice" --op relu,relu
refuses "a type twice" 2 "f32 is named twice" --dtype f32,f32
refuses "a shape twice" 2 "5,7 is named twice" --shape 5,7 --shape 19 --shape 5,7
refuses "unknown type" 2 "unknown type 'f8'" --dtype f8
refuses "16 bits on the CPU" 2 "CUDA devices only" --dtype f32,bf16
refuses "unknown device" 2 "unknown device 'gpu'" --device gpu
refuses "no shape" 2 "is no shape" --shape 3,x
refuses "a size of 0" 2 "is no shape" --shape 3,0,4,4
refuses "a shape that fits no op" 2 "--list" --op conv2d --shape 3,4
refuses "a variant that no row has" 2 "--list" --variant nowhere
refuses "no samples" 2 "--repeat 0" --repeat 0
refuses "no time" 2 "--min-time nan" --min-time nan
refuses "threads below 0" 2 "--threads -1" --threads -1
refuses "samples in another base" 2 "--repeat 0x10" --repeat 0x10
refuses "a size beyond 64 bits" 2 "is no shape" --shape 99999999999999999999,2
refuses "a list with a gap" 2 "has an empty part" --op relu,,sgd
refuses "an empty word" 2 "has an empty part" --variant ""
ls /dev/nvidia[0-9]* > /dev/null 2>&1 || refuses "no CUDA device" 4 "not available" --device cuda
refuses "a peer file that is not there" 2 "peer.json: cannot be read" --op relu $tiny --peer-json peer.json
refuses "a peer file whose name CLI11 takes for a list" 2 "--peer-json [peer.json]: cannot be read" --peer-json "[peer.json]"
echo "{" > peer.json
refuses "a peer file that is no JSON" 2 "is no JSON" --op relu $tiny --peer-json peer.json
echo '{"rows": []}' > peer.json
refuses "a peer file without a peer" 2 "peer_torch.py" --op relu $tiny --peer-json peer.json
echo '{"peer": "P", "device": "cpu", "threads": 2, "rows": [{"op": "relu", "cold": 1, "warm": 0}]}' > peer.json
refuses "a peer file with half a row" 2 "peer_torch.py" --op relu $tiny --peer-json peer.json
times='{"median": 1e308, "p10": 1e-6, "p90": 1e-6}'
echo '{"peer": "P", "device": "cpu", "threads": 2, "rows": [{"op": "relu", "pass": "forward", "variant": "", "dtype": "f32", "shape": [19],
  "cold": '"$times"', "warm": '"$times"'}]}' > peer.json
refuses "a peer file with times that have no ratio" 2 "has median 1e+308, not one from" --op relu $tiny --peer-json peer.json
echo '{"peer": "P", "device": "cuda", "threads": 2, "rows": []}' > peer.json
refuses "a peer file of another device" 2 'was measured on "cuda"' --op relu $tiny --peer-json peer.json
for name in 'two\nlines' '\u001b[31m' "$(printf '%0101d' 0)"; do
  echo '{"peer": "'"$name"'", "device": "cpu", "threads": 2, "rows": []}' > peer.json
  refuses "a peer file whose peer would break the table" 2 "as peer, not a short name" --op relu $tiny --peer-json peer.json
done
echo '{"peer": "P", "device": "cpu", "threads": 3, "rows": []}' > peer.json
refuses "a peer file of other threads" 2 "--threads 3, this is 2" --op relu $tiny --peer-json peer.json
refuses "a shape that no memory holds" 2 "use a smaller --shape" --op conv2d --shape 1,1048576,1,1
refuses "more elements than are counted" 2 "2^30" --op relu --shape 1048576,1048576
refuses "five axes" 2 "up to 4 sizes" --op relu --shape 2,2,2,2,2
refuses "a size that no integer holds" 2 "--shape" --op relu --shape 99999999999999999999

# refuses_file NAME FILE: exit code 1 and one line that names the file, before anything is measured.
refuses_file() {
  "$bench" --op relu $tiny --json "$2" > stdout 2> stderr
  check "$1: exit code 1" test $? = 1
  check "... in one line that names it" test "$(wc -l < stderr)-$(grep -c -- "$2" stderr)" = 1-1
  check "... before anything is measured" test ! -s stdout
}
refuses_file "a file in a folder that is not there" nowhere/out.json
ln -s b.json a.json && ln -s a.json b.json
refuses_file "links in a circle" a.json
check "... which are still there" test -L a.json -a -L b.json
ln -s nowhere/out.json astray.json
refuses_file "a link into a folder that is not there" astray.json
refuses_file "a name that is too long for the file beside it" "$(printf '%0250d' 0)"
mkdir folder && mkfifo fifo
refuses_file "a folder in place of a file" folder
refuses_file "a pipe in place of a file" fifo
check "... which is still a pipe" test -p fifo

bash -c 'ulimit -f 8; exec "$@"' _ "$bench" --list --json limited.json > /dev/null 2> stderr
check "a file above the limit of the shell: exit code 1" test $? = 1
check "... one line that says so" test "$(wc -l < stderr)-$(grep -c 'cannot write limited.json' stderr)" = 1-1
check "... nothing left behind" test -z "$(ls limited.json* 2> /dev/null)"
for variable in EVENKEEL_MAX_CPU_ISA=foo EVENKEEL_POISON=abc EVENKEEL_POISON=256; do
  env $variable "$bench" --list > stdout 2> stderr
  check "$variable: exit code 2" test $? = 2
  check "... in one line, at once" test "$(grep -c "${variable%=*}" stderr)-$(wc -l < stderr)-$(wc -c < stdout)" = 1-1-0
done

# --- the list -----------------------------------------------------------------------------------------------------------

check "--help has an example" grep -q '^Examples: bench_norms' <("$bench" --help)
"$bench" --list --json list.json > stdout 2> stderr
check "--list succeeds" test $? = 0
for op in $ops; do check "... $op" grep -q "^$op  *[a-z_]*  " stdout; done
check "... the network's nine convolutions and a large one, three directions" test "$(count '^conv2d .* nchw ' stdout)" = 30
check "... as JSON" grep -q '"least_bytes": ' list.json
check "... as many rows" test "$(count '"op": ' list.json)" = "$(wc -l < stdout)"
rows() { "$bench" --list "$@" | wc -l; }
check "--op" test "$(rows --op relu,dropout)" = "$(grep -Ec '^(relu|dropout) ' stdout)"
check "--variant of a layout" test "$(rows --variant nchw)" = "$(wc -l < stdout)"
check "--variant of an op" test "$(rows --op layer_norm --variant row)" = "$(count '^layer_norm .* row' stdout)"
# The network is timed in f32 only.
check "--dtype" test "$(rows --dtype f32,f64)" = $((2 * $(grep -vc '^train_step ' stdout) + $(grep -c '^train_step ' stdout)))
check "--shape that is listed" test "$(rows --op conv2d --shape 64,4,26,26)" = 3
check "--shape that is not" grep -q '^relu *forward .*\[2, 3, 4, 5\]' <("$bench" --list --op relu --shape 2,3,4,5)

# --- tiny rows of all ops -----------------------------------------------------------------------------------------------

"$bench" $tiny --dtype f32,f64 --json all.json > stdout 2> stderr
check "tiny rows of all ops: every check holds" test $? = 0
check "... without a word on stderr" test ! -s stderr
for op in $ops; do
  check "... $op in f32" grep -Eq "^$op .* f32 " stdout
  check "... $op in f64" grep -Eq "^$op .* f64 " stdout
done
for field in name clock threads load copy_bytes_per_s copy_cached_bytes_per_s peak_f32_flops peak_f64_flops; do
  check "... the header's $field" grep -q "^  \"$field\": " all.json
done
number=$(count '"op": ' all.json)
for field in pass variant dtype layout least_bytes flops bytes_per_s of_copy flops_per_s of_peak error error_bound \
  same_bits same_bits_threads ok; do
  check "... $field in every row" test "$(count "^   \"$field\": " all.json)" = "$number"
done
check "... p10, median and p90, cold and warm" test "$(count '^    "\(p10\|median\|p90\)": [0-9]' all.json)" = $((6 * number))
check "... no cell is empty" test "$(count '": null' all.json)" = "$(count '"error": null' all.json)"
check "... all rows are right" test "$(count '^   "ok": true' all.json)" = "$number"

"$bench" --op relu $tiny --threads 1 --json one.json > stdout 2> stderr
check "--threads" grep -q '^  "threads": 1,' one.json

# --- what the machine gives at most -------------------------------------------------------------------------------------

# above FILE: how many rows have more than 100 % of the copy or the peak without saying why, or say so without having it.
above() {
  python3 -c 'import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
print(sum(len(r["above_100_percent"]) != sum(r[f] >= 1.005 for f in ("of_copy", "of_peak")) for r in rows))' "$1"
}
# has FILE EXPRESSION: a Python expression of the machine m and the rows.
has() { python3 -c 'import json, sys
content = json.load(open(sys.argv[1]))
m, rows = content["machine"], content["rows"]
sys.exit(not eval(sys.argv[2]))' "$@"; }
# Operations are counted as direct convolution does them; Winograd has 16 products where that has 36.
below_peak='m["vectors"] == "baseline" or all(r["of_peak"] < 36 / 16 for r in rows)'
for isa in avx512 avx2 baseline; do
  for _ in 1 2 3; do # another program may take the cores just while the peak is measured
    EVENKEEL_MAX_CPU_ISA=$isa "$bench" --op conv2d --shape 64,16,10,10 --json $isa.json > stdout 2> stderr
    code=$?
    [ $code != 0 ] || ! has $isa.json "$below_peak" || break
  done
  check "vectors of $isa at most" test $code = 0
  check "... no convolution exceeds the peak, with what Winograd saves" has $isa.json "$below_peak"
  check "... and what exceeds anything is marked" test "$(above $isa.json)" = 0
done
vectors() { sed -n 's/^  "vectors": "\(.*\)"$/\1/p' $1.json; }
peak() { sed -n 's/^  "peak_f32_flops": \([0-9.e+]*\),$/\1/p' $1.json; }
peaks_fit() {
  [ "$(vectors avx2)" = "$(vectors baseline)" ] || [ "$(python3 -c "print($(peak avx2) > 1.3 * $(peak baseline))")" = True ]
}
for _ in 1 2 3 4 5; do # here too another program may take the cores
  ! peaks_fit || break
  for isa in avx2 baseline; do
    EVENKEEL_MAX_CPU_ISA=$isa "$bench" --op relu $tiny --json $isa.json > stdout 2> stderr
  done
done
check "the peak is that of the vectors in use" peaks_fit
check "all rows: what exceeds anything is marked" test "$(above all.json)" = 0

"$bench" --op batch_norm --shape 1,1,1,1 --repeat 1 --min-time 0 --json failed.json > stdout 2> stderr
check "a result that is not finite (the unbiased variance of one element): exit code 1" test $? = 1
check "... says how many rows failed" grep -q '^bench_norms: 2 of 4 rows failed' stderr
check "... and why" grep -q '^  FAILED: the error of running_var is nan' stdout
check "... also in the JSON" test "$(count '^   "ok": false' failed.json)" = 2

# --- a peer's file ------------------------------------------------------------------------------------------------------

"$bench" --list $tiny --json rows.json > stdout
if [ -n "$python" ] && "$python" -c 'import torch' > /dev/null 2>&1; then
  echo notes > peer.json.part
  ln -sf peer.json link.json
  "$python" "$source_dir/scripts/peer_torch.py" rows.json --out link.json --repeat 1 --min-time 0 > stdout 2> stderr
  check "peer_torch.py succeeds" test $? = 0
  check "... and follows a link" test -L link.json
  check "... and leaves what is beside it" test "$(cat peer.json.part)-$(find . -newer peer.json.part -name 'tmp*')" = notes-
  check "... on every row" test "$(count '"warm": ' peer.json)" = "$(count '"layout": "nchw"' rows.json)"
else
  echo "not run: PyTorch, there is none; peer_torch.py is tried with as much of it as is needed until something is computed"
  python=python3
  mkdir -p stub/torch/nn
  : > stub/torch/nn/__init__.py
  : > stub/torch/nn/functional.py
  cat > stub/torch/__init__.py << 'STUB'
import types
ops = types.SimpleNamespace(aten=None)
float32 = float64 = bfloat16 = float16 = ones = manual_seed = set_num_threads = lambda *_, **__: None
__version__ = "0"
STUB
  export PYTHONPATH=$PWD/stub
  sed -e 's/^ "rows"/ "peer": "PyTorch made up", "device": "cpu", "threads": 2, "rows"/' \
    -e 's/"least_bytes": .*,/"cold": TIMES, "warm": TIMES,/' -e 's/TIMES/{"median": 2e-6, "p10": 1e-6, "p90": 3e-6}/g' rows.json > peer.json
fi
# no_peer NAME OPTION...: exit code 2, one line, and nothing is written.
no_peer() {
  local name=$1
  shift
  timeout 60 "$python" "$source_dir/scripts/peer_torch.py" "$@" > stdout 2> stderr
  check "peer_torch.py, $name: exit code 2" test $? = 2
  check "... in one line that is no traceback" test "$(grep -vc '^usage: \|^  ' stderr)-$(grep -c '^peer_torch.py: ' stderr)" = 1-1
  check "... and nothing is written" test ! -e no_peer.json
}
no_peer "another file" all.log --out no_peer.json
no_peer "a folder that is missing" rows.json --out no/no_peer.json
no_peer "a pipe as --out" rows.json --out fifo
for content in '{"rows": [{}]}' '{"rows": 5}' '{"rows": [{"op": "conv2d", "pass": "forward", "variant": "", "dtype": "f32",
  "layout": "nchw", "shape": [1, 1, 3, 3], "parameters": {}}]}'; do
  echo "$content" > half.json
  no_peer "half a row" half.json --out no_peer.json
done
no_peer "no end" rows.json --min-time inf --out no_peer.json
OMP_NUM_THREADS=x no_peer "no number of threads" rows.json --out no_peer.json
echo '{"rows": []}' > half.json
OMP_NUM_THREADS=2,1 "$python" "$source_dir/scripts/peer_torch.py" half.json --out none_of_them.json
check "... of a list of threads the first counts" grep -q '"threads": 2,' none_of_them.json
unset PYTHONPATH
"$bench" $tiny --peer-json peer.json --json with_peer.json > stdout 2> stderr
check "with a peer's file" test $? = 0
check "... its ratio in every line" test "$(grep -c 'PyTorch [^;]* us, x[0-9.]*$' stdout)" = "$(count '"op": ' rows.json)"
check "... and in the JSON" test "$(count '"name": "PyTorch ' with_peer.json)" = "$(count '"op": ' rows.json)"
check "... beside the other peer" test "$(count '^     "ratio": [0-9]' with_peer.json)" -ge "$(count '"op": ' rows.json)"
"$bench" $tiny --peer-json peer.json --peer-json peer.json --json two_peers.json > stdout 2> stderr
check "two peers' files: both in every line" test "$(grep -c 'PyTorch [^;]* us, x[0-9.]*; PyTorch' stdout)" = "$(count '"op": ' rows.json)"

# --- the page of tables -------------------------------------------------------------------------------------------------

table="$source_dir/scripts/bench_table.py"
echo notes > page.md.part
ln -s page.md page_link.md
check "bench_table.py writes a page" python3 "$table" with_peer.json --out page_link.md
check "... and follows a link" test -L page_link.md
check "... and leaves what is beside it" test "$(cat page.md.part; rm page.md.part)" = notes
check "... with every row" test "$(count '^| [a-z_]* | .* |$' page.md)" = $(($(count '"op": ' with_peer.json) + $(count '^## ' page.md)))
check "... and the peer's ratio" test "$(count 'PyTorch .* (x[0-9.]*)' page.md)" = "$(count '"op": ' with_peer.json)"
python3 "$table" failed.json --out failed.md > stdout 2> stderr
check "... of a row that failed: exit code 1" test $? = 1
check "... names how many" grep -q '^bench_table.py: 2 rows failed their checks' stderr
check "... which says so" grep -q 'FAILED: the error of running_var is nan' failed.md
check "... refuses another file, and writes none" test "$(python3 "$table" all.log --out none.md 2> /dev/null; echo $?)-$(ls none.md* 2> /dev/null)" = 2-
# no_page NAME OPTION...: exit code 2, one line, and neither a page nor half of one.
no_page() {
  local name=$1
  shift
  python3 "$table" "$@" > stdout 2> stderr
  check "bench_table.py, $name: exit code 2" test $? = 2
  check "... in one line, no traceback" test "$(wc -l < stderr)-$(grep -c '^bench_table.py: ' stderr)" = 1-1
  check "... and nothing is written" test -z "$(find . -name 'tmp*')$(ls none.md 2> /dev/null)"
}
python3 -c 'print("[" * 100000 + "]" * 100000)' > deep.json
echo '{"machine": {"name": "M"}, "rows": [{"cold": 1}]}' > half.json
no_page "deep JSON" deep.json --out none.md
no_page "half a row" half.json --out none.md
# changed EXPRESSION: a file of bench_norms whose first row r the expression changes.
changed() {
  python3 -c 'import json, sys
content = json.load(open("with_peer.json"))
r = content["rows"][0]
eval(sys.argv[1])
json.dump(content, open("changed.json", "w"))' "$1"
}
changed 'r.pop("ok")'
no_page "a row that does not say whether it is right" changed.json --out none.md
changed 'r.update(least_bytes=10**400)'
no_page "a number beyond all" changed.json --out none.md
no_page "a pipe as --out" with_peer.json --out fifo
no_page "a folder as --out" with_peer.json --out folder
no_page "--out in a folder that is not there" with_peer.json --out nowhere/none.md

finish

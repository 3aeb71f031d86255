# What the tests of the programs share; to be sourced. At the end of a test: finish.

failures=0
ok() { echo "ok      $1"; }
# bad NAME: also shows the last lines of the files stdout and stderr.
bad() {
  local file
  echo "FAILED  $1"
  for file in stdout stderr; do
    [ ! -e $file ] || tail -3 $file | cut -c1-200 | sed "s/^/          $file: /"
  done
  failures=$((failures + 1))
}
# check NAME COMMAND...: the command must succeed.
check() {
  local name=$1
  shift
  if "$@" > /dev/null 2>&1; then ok "$name"; else bad "$name"; fi
}
finish() {
  if [ $failures != 0 ]; then
    echo "$failures failed"
    exit 1
  fi
  echo "all passed"
}

# stopped SIGNAL LINE COMMAND...: sends the signal once a line that matches is on stdout; sets `got` to the exit code.
stopped() {
  local signal=$1 line=$2
  shift 2
  : > stdout # now: the line may be in what was there before
  "$@" > stdout 2> stderr &
  local pid=$!
  until grep -q "$line" stdout || ! kill -0 $pid 2> /dev/null; do sleep 0.01; done
  kill "-$signal" $pid
  wait $pid 2> /dev/null
  got=$?
}

# Sourced by the other scripts: `step TEXT COMMAND...` runs a command quietly and shows that it runs.
# On a terminal a spinner with the seconds; elsewhere a line at its start and, past a second, one at its end.
# Fails as the command does, with the end of its output.

fail() { # LINE: one clear line, exit code 2
  echo "${0##*/}: $1" >&2
  exit 2
}

step() {
  local text=$1 log status=0 started=$SECONDS
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/step.XXXXXX") || fail "no temporary file can be made in ${TMPDIR:-/tmp}: is the disk full?"
  if [[ -t 2 ]]; then
    _step_on_terminal "$text" "$log" "$@" || status=$?
  else
    echo "$text" >&2
    "$@" >"$log" 2>&1 </dev/null || status=$?
    ((SECONDS - started > 1)) && ((status == 0)) && echo "$text: done in $((SECONDS - started)) s" >&2
  fi
  if ((status)); then
    echo "$text: failed (code $status)" >&2
    tail -n 15 "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}

_step_on_terminal() {
  local text=$1 log=$2 spin='|/-\' started=$SECONDS i=0 pid status=0
  shift 2
  # In the foreground's process group, so that a password can be asked for and Ctrl-C reaches the command.
  "$@" >"$log" 2>&1 </dev/tty &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    printf '\r%s %s %d s ' "${spin:i++%4:1}" "$text" $((SECONDS - started)) >&2
    sleep 0.2
  done
  wait "$pid" || status=$?
  ((status)) && printf '\r\033[K' >&2 || printf '\r\033[K+ %s (%d s)\n' "$text" $((SECONDS - started)) >&2
  return "$status"
}

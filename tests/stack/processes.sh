# shellcheck shell=bash
# Processes of one folder: free ports, start, find, stop, each by its own process id. To be sourced by a
# script that sets `dir` (the folder, absolute) and `me` (its name in what it says). Never ends a process
# that does not run in the folder.

ports_dir=${TMPDIR:-/tmp}/meridian-stack-ports.$(id -u)

say() { echo "$me: $*" >&2; }
die() { say "$*"; exit 1; }
locked() { # locked FILE CMD…: run under an exclusive lock that the servers do not inherit
  exec 9>"$1"; flock 9; shift
  "$@" 9>&-
  exec 9>&-
}

listening() { (exec 3<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null; } # listening PORT [HOST]
port() { # port NAME: the port of NAME in this DIR; reserved across parallel copies by mkdir
  local f=$dir/ports/$1 p
  if [ -e "$f" ]; then cat "$f"; return; fi
  mkdir -p "$dir/ports" "$ports_dir"
  for _ in $(seq 500); do
    p=$((20000 + (RANDOM * 32768 + RANDOM) % 10000)) # below the kernel's outgoing range
    if ! mkdir "$ports_dir/$p" 2>/dev/null; then
      local owner; owner=$(cat "$ports_dir/$p/dir" 2>/dev/null || true)
      # A reservation is dead when its DIR is gone or no longer claims the port.
      if [ -n "$owner" ] && ! grep -qsx "$p" "$owner"/ports/*; then rm -rf "${ports_dir:?}/$p"; fi
      continue
    fi
    echo "$p" >"$f"; echo "$dir" >"$ports_dir/$p/dir"
    if listening "$p"; then rm -rf "$f" "${ports_dir:?}/$p"; continue; fi
    echo "$p"; return
  done
  die "no free port"
}
release_ports() {
  local f
  for f in "$dir"/ports/*; do [ -e "$f" ] && rm -rf "${ports_dir:?}/$(cat "$f")"; done
  rm -rf "$dir/ports"
}

pid_of() { # live pid of NAME, checked against reuse of the number
  local p; p=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  case $(readlink "/proc/${p:-0}/cwd" 2>/dev/null) in "$dir/$1" | "$dir/$1"/*) echo "$p" ;; *) return 1 ;; esac
}
spawn() { # spawn NAME CMD…: own session, cwd DIR/NAME, log DIR/NAME/log
  local n=$1; shift
  [ ! -e "$dir/$n/log" ] || mv "$dir/$n/log" "$dir/$n/log.prev"
  # The process has its folder from its first moment: `pid_of` knows it by that.
  local back=$PWD; cd "$dir/$n"
  setsid "$@" >log 2>&1 </dev/null 8>&- 9>&- & # none of the script's locks
  echo $! >"$dir/$n/pid"
  disown # it is nobody's to wait for
  cd "$back"
}
stop() { # stop NAME SIGNAL SECONDS
  local p end; p=$(pid_of "$1") || { rm -f "$dir/$1/pid"; return 0; }
  kill -CONT "$p" 2>/dev/null || true
  kill -"$2" "$p" 2>/dev/null || true
  end=$((SECONDS + $3))
  while pid_of "$1" >/dev/null; do
    [ $SECONDS -lt $end ] || { say "$1 ignored SIG$2 for $3 s, SIGKILL"; kill -KILL "$p" 2>/dev/null || true; }
    sleep 0.02
  done
  rm -f "$dir/$1/pid"
}
all_names() { local f; for f in "$dir"/*/pid; do [ -e "$f" ] && basename "$(dirname "$f")"; done; true; }

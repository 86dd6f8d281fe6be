# shellcheck shell=bash
# The two regions of one machine: their folder, configurations, processes, and what is said of them. To
# be sourced by the commands beside it. Ends processes by their id only, and only those in its folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
stack=$root/tests/stack/stack.sh
# shellcheck source=../../tests/stack/processes.sh
. "$root/tests/stack/processes.sh"
me=$(basename "$0")

dir=${MERIDIAN_LOCAL:-${TMPDIR:-/tmp}/meridian-local.$(id -u)}
tenant=demo
patience=60 # seconds for a process to become ready

usage() { sed -n '2,/^$/p' "$0" | sed 's/^# \{0,1\}//'; }

# ---- the folder ----------------------------------------------------------
open_folder() { # makes it where it is missing
  mkdir -p "$dir"
  # Under /tmp another user could have made it, and would read the keys.
  [ -O "$dir" ] || die "$dir belongs to another user: name another folder in MERIDIAN_LOCAL"
  dir=$(cd "$dir" && pwd -P)
  # Postgres has a user of its own where this one is root.
  [ "$(id -u)" != 0 ] || chmod 755 "$dir"
}
there() { # the folder, if `up` ever made it
  [ -e "$dir/counts" ] || die "nothing was started in $dir"
  open_folder
  read -r routers brokers <"$dir/counts"
  [ ! -e "$dir/binary" ] || binary=$(cat "$dir/binary")
}
running() { # process id of the `up` of this folder, if one runs
  [ -e "$dir/up.lock" ] && ! flock -n "$dir/up.lock" true && cat "$dir/up.pid"
}

# ---- what there is -------------------------------------------------------
letters() { [ "$1" = 1 ] && echo a || echo a b; }
edges_of() { echo "edge-$1a" "edge-$1b"; }
routers_of() { local l; for l in $(letters "$routers"); do echo "router-$1$l"; done; }
processes() { local r; for r in 1 2; do routers_of $r; edges_of $r; done; echo console; }
servers() { local i; for i in $(seq "$brokers"); do echo "kafka$i"; done; echo redis1 redis2 pg1 pg2; }
is_server() { case $1 in kafka* | redis* | pg*) true ;; *) false ;; esac; }
pid_anywhere() { if is_server "$1"; then (dir=$dir/servers; pid_of "$1"); else pid_of "$1"; fi; }
region_of() { local n=${1#*-}; echo "${n%[ab]}"; }
named() { # named NAME…: a region stands for all that is its own
  local n
  for n in "$@"; do
    case $n in
    region-1 | region-2) n=${n#region-}; echo "redis$n" "pg$n"; routers_of "$n"; edges_of "$n" ;;
    *) # shellcheck disable=SC2046
      [[ " $(echo $(processes) $(servers)) " == *" $n "* ]] || die "no such part: $n"
      echo "$n" ;;
    esac
  done
}
server_address() { grep -i "^$1=" "$dir/servers/env" | cut -d= -f2-; }

# ---- configurations ------------------------------------------------------
make_keys() {
  command -v openssl >/dev/null || die "openssl is missing; install the package openssl"
  # Browsers take a certificate by its hash only if it is ECDSA and good for two weeks at most.
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 13 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$dir/key.pem" -out "$dir/certificate.pem" 2>"$dir/openssl.log") ||
    { cat "$dir/openssl.log" >&2; die "no certificate"; }
  # Kept, so that tokens outlive a restart.
  [ -e "$dir/token.secret" ] || (umask 077 && openssl rand -hex 32 >"$dir/token.secret")
}
configure() { # configure NAME: its folder and its configuration
  local n=$1 r page
  r=$(region_of "$n")
  [ "$n" != console ] || r=1
  page=http://127.0.0.1:$(port console)
  mkdir -p "$dir/$n"
  cat >"$dir/$n/meridian.toml" <<TOML
[node]
name = "$n"
region = "region-$r"

[listen]
client = "127.0.0.1:$(port "$n")"
admin = "127.0.0.1:$(port "$n.admin")"
workers = 2

[tls]
certificate = "../certificate.pem"
key = "../key.pem"
plain_tcp = true

[origins]
allow = ["$page"]

[cors]
origins = ["$page"]

[storage]
dir = "data"

[kafka]
bootstrap = "$(server_address KAFKA_BOOTSTRAP)"
partitions = 8
replication = $brokers

[redis]
url = "$(server_address "REDIS${r}_URL")"

[postgres]
url = "$(server_address "PG${r}_URL" | cut -d'?' -f1)"
plain = true

[regions.region-1]
url = "$(client_url edge-1a)"

[regions.region-2]
url = "$(client_url edge-2a)"

[[auth.keys]]
id = "development"
algorithm = "HS256"
secret_file = "../token.secret"

[limits]
# A region that fails is to be noticed while one looks.
heartbeat_ms = 5000

[drain]
# All edges end together: there is none to move to.
spread_ms = 500
deadline_ms = 2000

[namespaces.demo]
subscribe = ["tenant"]
publish = ["tenant"]

[namespaces.flights]
subscribe = ["tenant"]

[namespaces.typing]
class = "ephemeral"
subscribe = ["tenant"]
publish = ["tenant"]
TOML
}
client_url() { echo "http://127.0.0.1:$(port "$1")"; }
admin_url() { echo "http://127.0.0.1:$(port "$1.admin")"; }

# ---- processes -----------------------------------------------------------
launch() { # launch NAME: starts it if it is down
  local n=$1
  if is_server "$n"; then "$stack" start "$dir/servers" "$n" 8>&- 9>&-; return; fi
  if pid_of "$n" >/dev/null; then return; fi
  date +%s >"$dir/$n/started"
  case $n in
  edge-*) spawn "$n" "$binary" edge --config meridian.toml ;;
  router-*) spawn "$n" "$binary" router --config meridian.toml ;;
  console) spawn_console ;;
  esac
}
spawn_console() {
  local more=() n r
  for r in 1 2; do
    more+=(--address "$(client_url "edge-${r}b")")
    for n in $(edges_of $r) $(routers_of $r); do
      more+=("--${n%%-*}" "region-$r/$n=127.0.0.1:$(port "$n.admin")")
    done
  done
  spawn console "$binary" console --config meridian.toml --listen "127.0.0.1:$(port console)" \
    --tenant $tenant --trust-certificate --demo flights "${more[@]}"
}
get() { # get PORT PATH: the answer, head and all
  timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "GET %s HTTP/1.0\r\n\r\n" "$1" >&3 && cat <&3' "$1" "$2" 2>/dev/null
}
answers() { # whether a process that runs is ready
  local at=$1.admin
  [ "$1" != console ] || at=console
  [[ $(get "$(port "$at")" /readyz || true) == HTTP/1.?\ 200* ]]
}
await() { # await NAME…
  local n end=$((SECONDS + patience))
  for n in "$@"; do
    if is_server "$n"; then continue; fi # its script waited
    until answers "$n"; do
      pid_of "$n" >/dev/null || sleep 0.5 # one that has just begun may not be seen at once
      pid_of "$n" >/dev/null || { tail -n 20 "$dir/$n/log" >&2; die "$n ended while it started"; }
      [ $SECONDS -lt $end ] || { tail -n 20 "$dir/$n/log" >&2; die "$n is not ready after $patience s"; }
      sleep 0.1
    done
  done
}
end_all() { # in order: who depends first
  local n stopping=()
  for n in $(all_names); do
    case $n in edge-* | console) stop "$n" TERM 25 & stopping+=($!) ;; esac
  done
  wait "${stopping[@]}"
  stopping=()
  for n in $(all_names); do
    case $n in router-*) stop "$n" TERM 15 & stopping+=($!) ;; esac
  done
  wait "${stopping[@]}"
  [ ! -e "$dir/servers" ] || "$stack" down "$dir/servers" 8>&- 9>&-
  release_ports
  rm -f "$dir/env" "$dir"/*/held
}

# ---- what is said --------------------------------------------------------
state() { # state NAME
  if ! pid_of "$1" >/dev/null; then echo down
  elif answers "$1"; then echo ready
  else echo "not ready"; fi
}
line() { printf '%-11s %-9s %-26s %-26s %7s  %s\n' "$@"; }
table() {
  local n
  line PART STATE CLIENTS ADMIN PID LOG
  for n in $(processes); do
    local client=- admin=-
    case $n in
    edge-*) client=$(client_url "$n") admin=$(admin_url "$n") ;;
    router-*) admin=$(admin_url "$n") ;;
    console) client=$(client_url console)/ ;;
    esac
    line "$n" "$(state "$n")" "$client" "$admin" "$(pid_of "$n" || echo -)" "$dir/$n/log"
  done
  table_of_servers
}
table_of_servers() {
  local n ready pid at
  while read -r n ready _ pid _ at _; do
    [ "$ready" = ready ] || { pid=- at=-; }
    line "$n" "$ready" "${at:+127.0.0.1:$at}" - "${pid:--}" "$dir/servers/$n/log"
  done < <("$stack" status "$dir/servers" || true)
}
write_env() { # for shells: . DIR/env
  local n name
  {
    for n in $(processes); do
      name=${n^^}; name=${name//-/_}
      case $n in
      edge-*) echo "$name=$(client_url "$n")"; echo "${name}_ADMIN=$(admin_url "$n")" ;;
      router-*) echo "${name}_ADMIN=$(admin_url "$n")" ;;
      console) echo "$name=$(client_url console)/" ;;
      esac
    done
    echo "TOKEN=$("$binary" token --config "$dir/edge-1a/meridian.toml" --tenant $tenant --user developer --ttl 7d)"
    echo "CERTIFICATE_HASH=$(openssl x509 -in "$dir/certificate.pem" -outform DER | sha256sum | cut -d' ' -f1)"
  } >"$dir/env.tmp"
  chmod 600 "$dir/env.tmp"
  mv "$dir/env.tmp" "$dir/env"
}

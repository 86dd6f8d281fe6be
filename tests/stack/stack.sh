#!/usr/bin/env bash
# Real Redis, PostgreSQL and Kafka servers for tests, on free loopback ports.
#
#   stack.sh up DIR        install what is missing, start what is down, wait, print DIR/env
#   stack.sh down DIR      stop everything, free the ports, keep data (--purge: remove DIR too)
#   stack.sh status DIR    one line a service; exit 0 only if all are ready
#   stack.sh kill|pause|resume|start DIR NAME    SIGKILL/SIGSTOP/SIGCONT/restart one (redis1, pg2, kafka1)
#   stack.sh install       only fetch packages and broker jars
#
# Counts: STACK_REDIS=2 STACK_PG=2 STACK_KAFKA=1 (3 = replicated, min.insync.replicas=2),
# STACK_REDIS_CLUSTER=0 (masters of one cluster: none or at least 3; cluster1 …),
# STACK_SENTINEL=0 (watching redis1 by the name `main`; quorum 1; sentinel1 …).
# STACK_KAFKA_HOST=127.0.0.1 (the brokers' own address). STACK_PG_FSYNC=off|on, STACK_CACHE (broker jars, default target/stack), STACK_TIMEOUT=60 (seconds to become ready).
# Ports stay the same for a DIR until `down`, so a killed server comes back at its address.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/processes.sh"
me=stack
kit=${STACK_TEMPLATES:-$here/templates}
cache=${STACK_CACHE:-$here/../../target/stack}
n_redis=${STACK_REDIS:-2} n_pg=${STACK_PG:-2} n_kafka=${STACK_KAFKA:-1}
n_cluster=${STACK_REDIS_CLUSTER:-0} n_sentinel=${STACK_SENTINEL:-0}
host=${STACK_KAFKA_HOST:-127.0.0.1}
limit=${STACK_TIMEOUT:-60}
jvm=(-Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto)

# ---- install -------------------------------------------------------------
apt_get() {
  [ "$(id -u)" = 0 ] || die "missing $*: install by hand (not root)"
  say "apt-get install $*"
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2 && apt-get -qq -y --no-install-recommends install "$@" >&2
}
pg_bin() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1; }
install_apt() {
  local want=()
  [ "$((n_redis + n_cluster))" = 0 ] || command -v redis-server >/dev/null || want+=(redis-server)
  [ "$n_pg" = 0 ] || [ -x "$(pg_bin)/postgres" ] || want+=(postgresql)
  if [ "$n_kafka" != 0 ]; then
    command -v java >/dev/null || want+=(openjdk-17-jre-headless)
    [ -e "$jars/.done" ] || command -v mvn >/dev/null || want+=(maven)
  fi
  [ ${#want[@]} = 0 ] || apt_get "${want[@]}"
}
jars_of() { echo "$cache/kafka-$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$kit/pom.xml")"; }
install_kafka() {
  [ ! -e "$jars/.done" ] || return 0
  say "fetching broker jars"
  rm -rf "$jars"; mkdir -p "$jars/lib"
  mvn -B -q -f "$kit/pom.xml" dependency:copy-dependencies \
    -DoutputDirectory="$jars/lib" -DincludeScope=runtime >&2
  # Format once: the checkpoint (feature levels) is the same for every cluster; the ids are not.
  local t=$jars/seed; mkdir -p "$t"
  render kafka.properties.in ID=1 VOTERS=1@127.0.0.1:1 HOST=127.0.0.1 PORT=2 CPORT=1 DATA="$t/data" RF=1 MINISR=1 SESSION=1000 >"$t/p"
  java "${jvm[@]}" -cp "$jars/lib/*" kafka.tools.StorageTool format \
    -t "$(random_id)" -c "$t/p" >"$t/log" 2>&1 || { cat "$t/log" >&2; die "format failed"; }
  # Class archive: halves JVM start. Written by a throw-away broker as it exits.
  local d; d=$(mktemp -d); local ok=1
  ( cdsflag="-XX:ArchiveClassesAtExit=$jars/kafka.jsa"; n_redis=0 n_pg=0 n_kafka=1 n_cluster=0 n_sentinel=0
    host=127.0.0.1 dir=$d; mkdir -p "$d"; start kafka1 && wait_all && stop kafka1 TERM 30; release_ports ) || ok=0
  rm -rf "$d"
  [ $ok = 1 ] || rm -f "$jars/kafka.jsa"
  touch "$jars/.done"
}
pg_tpl() { echo "$cache/pg-$("$(pg_bin)/postgres" -V | tr -dc '0-9.')"; }
install_pg() { # initdb once; every server starts from a copy
  local tpl t; tpl=$(pg_tpl)
  [ ! -e "$tpl/.done" ] || return 0
  pg_user; t=$(mktemp -d); [ ${#as_pg[@]} = 0 ] || chown postgres: "$t"
  "${as_pg[@]}" "$(pg_bin)/initdb" -D "$t/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync \
    >"$cache/initdb.log" 2>&1 || { cat "$cache/initdb.log" >&2; die "initdb failed"; }
  rm -rf "$tpl"; mkdir -p "$tpl"; cp -a "$t/data" "$tpl/"; rm -rf "$t"
  touch "$tpl/.done"
}
install() {
  mkdir -p "$cache"
  jars=$(jars_of)
  locked "$cache/.apt.lock" install_apt
  [ "$n_pg" = 0 ] || locked "$cache/.pg.lock" install_pg
  [ "$n_kafka" = 0 ] || locked "$cache/.kafka.lock" install_kafka
}

# ---- small parts ---------------------------------------------------------
render() { # render TEMPLATE K=V…
  local f=$1 s=(); shift
  for kv in "$@"; do s+=(-e "s|@${kv%%=*}@|${kv#*=}|g"); done
  sed "${s[@]}" "$kit/$f"
}
random_id() { head -c16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='; }
names() {
  local i
  for i in $(seq "$n_redis"); do echo "redis$i"; done
  for i in $(seq "$n_cluster"); do echo "cluster$i"; done
  for i in $(seq "$n_sentinel"); do echo "sentinel$i"; done
  for i in $(seq "$n_pg"); do echo "pg$i"; done
  for i in $(seq "$n_kafka"); do echo "kafka$i"; done
}
as_pg=()
pg_user() { # the server refuses to run as root
  [ "$(id -u)" = 0 ] || return 0
  id postgres >/dev/null 2>&1 || die "no user postgres"
  as_pg=(setpriv --reuid=postgres --regid=postgres --clear-groups)
}
pg_dir_ok() {
  "${as_pg[@]}" test -x "$dir" || die "user postgres cannot enter $dir (a parent is private): choose another DIR"
}

# ---- start, ready, stop --------------------------------------------------
start() {
  local n=$1 d=$dir/$1 id=${1//[a-z]/}
  if pid_of "$n" >/dev/null; then return; fi
  mkdir -p "$d"
  case $n in
  redis* | cluster*)
    render redis.conf.in PORT="$(port "$n")" SOCK="$sock/$n.sock" DATA="$d" >"$d/redis.conf"
    if [ "$n" = "cluster$id" ]; then
      render redis-cluster.conf.in BUS="$(port "bus$id")" >>"$d/redis.conf"
    fi
    spawn "$n" redis-server "$d/redis.conf" ;;
  sentinel*)
    # Written once: it keeps there what it finds out.
    [ -e "$d/sentinel.conf" ] || render sentinel.conf.in PORT="$(port "$n")" DATA="$d" \
      MASTER="$(port redis1)" >"$d/sentinel.conf"
    spawn "$n" redis-server "$d/sentinel.conf" --sentinel ;;
  pg*)
    pg_user; pg_dir_ok
    local b; b=$(pg_bin)
    [ ${#as_pg[@]} = 0 ] || chown postgres: "$d"
    if [ ! -e "$d/.init" ]; then
      rm -rf "$d/data"; cp -a "$(pg_tpl)/data" "$d/"; touch "$d/.init"
    fi
    # After SIGKILL: wait for orphaned backends, then drop the lock files (their pid may linger as a zombie).
    while find /proc -maxdepth 2 -name cwd -lname "$d/data" 2>/dev/null | grep -q .; do sleep 0.05; done
    rm -f "$d/data/postmaster.pid" "$d"/.s.PGSQL.*
    local sd=$d; [ ${#d} -lt 85 ] || sd=
    render postgresql.conf.in PORT="$(port "$n")" SOCKDIR="$sd" FSYNC="${STACK_PG_FSYNC:-off}" >"$d/data/postgresql.conf"
    spawn "$n" "${as_pg[@]}" "$b/postgres" -D "$d/data" ;;
  kafka*)
    local rf=1 isr=1 ses=1000 voters="" i p cp
    [ "$n_kafka" -lt 3 ] || { rf=3; isr=2; ses=2000; }
    for i in $(seq "$n_kafka"); do voters+=${voters:+,}$i@127.0.0.1:$(port "ctl$i"); done
    p=$(port "$n"); cp=$(port "ctl$id")
    render kafka.properties.in ID="$id" VOTERS="$voters" HOST="$host" PORT="$p" CPORT="$cp" DATA="$d/data" \
      RF=$rf MINISR=$isr SESSION=$ses >"$d/server.properties"
    if [ ! -e "$d/data/meta.properties" ]; then
      [ -e "$dir/cluster.id" ] || random_id >"$dir/cluster.id"
      rm -rf "$d/data"; mkdir -p "$d/data"
      cp -r "$jars/seed/data/__cluster_metadata-0" "$d/data/"
      printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' \
        "$(cat "$dir/cluster.id")" "$id" "$(random_id)" >"$d/data/meta.properties"
    fi
    local cds=${cdsflag:-}
    [ -n "$cds" ] || [ ! -e "$jars/kafka.jsa" ] || cds="-XX:SharedArchiveFile=$jars/kafka.jsa"
    spawn "$n" java "${jvm[@]}" ${cds:+"$cds"} -Xlog:disable -Xlog:all=error:stderr \
      -Dorg.slf4j.simpleLogger.showDateTime=true -Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS \
      -Dorg.slf4j.simpleLogger.defaultLogLevel="${STACK_KAFKA_LOG:-warn}" \
      -Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info \
      -cp "$jars/lib/*" kafka.Kafka "$d/server.properties" ;;
  *) die "no such service: $n" ;;
  esac
}
ask_redis() { # ask_redis NAME COMMAND…
  local n=$1; shift
  timeout 2 redis-cli -h 127.0.0.1 -p "$(port "$n")" "$@" 2>/dev/null || true
}
make_cluster() {
  [ "$n_cluster" != 0 ] && [ ! -e "$dir/cluster.made" ] || return 0
  local i at=()
  for i in $(seq "$n_cluster"); do at+=("127.0.0.1:$(port "cluster$i")@$(port "bus$i")"); done
  redis-cli --cluster create "${at[@]}" --cluster-yes >"$dir/cluster.log" 2>&1 ||
    { cat "$dir/cluster.log" >&2; die "no cluster"; }
  touch "$dir/cluster.made"
  wait_all
}
ready() {
  local n=$1
  pid_of "$n" >/dev/null || return 1
  case $n in
  redis* | sentinel*) [ "$(ask_redis "$n" ping)" = PONG ] ;;
  cluster*) # once the cluster is made, a master that comes back waits before it takes writes
    if [ -e "$dir/cluster.made" ]; then [[ $(ask_redis "$n" cluster info) == *cluster_state:ok* ]]
    else [ "$(ask_redis "$n" ping)" = PONG ]; fi ;;
  pg*) "$(pg_bin)/pg_isready" -q -h 127.0.0.1 -p "$(port "$n")" ;;
  kafka*) grep -qs "Kafka Server started" "$dir/$n/log" && listening "$(port "$n")" "$host" ;; # KRaft binds only when unfenced
  esac
}
wait_ready() {
  local end=$((SECONDS + limit))
  until ready "$1"; do
    # On a busy machine a process that has just begun may not be seen at once.
    pid_of "$1" >/dev/null || { sleep 0.5; pid_of "$1" >/dev/null; } || { tail -n 20 "$dir/$1/log" >&2; die "$1 exited while starting"; }
    [ $SECONDS -lt $end ] || { tail -n 20 "$dir/$1/log" >&2; die "$1 not ready in $limit s"; }
    sleep 0.02
  done
}
wait_all() { local n; for n in $(names); do wait_ready "$n"; done; }
write_env() {
  local n i b=""
  {
    echo "STACK_DIR=$dir"
    for n in $(names); do
      i=${n//[a-z]/}
      case $n in
      redis*) echo "REDIS${i}_URL=redis://127.0.0.1:$(port "$n")"; echo "REDIS${i}_SOCK=$sock/$n.sock" ;;
      cluster*) echo "CLUSTER${i}_URL=redis://127.0.0.1:$(port "$n")" ;;
      sentinel*) echo "SENTINEL${i}=127.0.0.1:$(port "$n")" ;;
      pg*) echo "PG${i}_URL=postgres://postgres@127.0.0.1:$(port "$n")/postgres?sslmode=disable" ;;
      kafka*) b+=${b:+,}$host:$(port "$n") ;;
      esac
    done
    [ -z "$b" ] || { echo "KAFKA_BOOTSTRAP=$b"; echo "KAFKA_CLUSTER_ID=$(cat "$dir/cluster.id")"; }
  } >"$dir/env.tmp"
  mv "$dir/env.tmp" "$dir/env"
}
up() {
  local n
  printf '%s %s %s %s %s %s\n' "$n_redis" "$n_pg" "$n_kafka" "$n_cluster" "$n_sentinel" "$host" >"$dir/asked"
  for n in $(names | grep kafka || true) $(names | grep -v kafka || true); do start "$n"; done # slowest first
  wait_all
  make_cluster
  write_env
  cat "$dir/env"
}
down() {
  local n
  for n in $(all_names); do
    case $n in
    redis* | cluster* | sentinel*) stop "$n" TERM 5 & ;;
    pg*) stop "$n" INT 10 & ;; # fast shutdown: clients are cut off
    kafka*) stop "$n" TERM 8 & ;; # the last of 3 cannot leave cleanly: no quorum
    esac
  done
  wait
  release_ports
  # What they know of each other's ports is over with them.
  rm -f "$dir/env" "$dir/cluster.made" "$dir"/cluster*/nodes.conf "$dir"/sentinel*/sentinel.conf
}
status() {
  local n rc=0
  for n in $(names); do
    if ready "$n"; then echo "$n ready pid $(pid_of "$n") port $(port "$n") rss_kb $(awk '/VmRSS/{print $2}' "/proc/$(pid_of "$n")/status")"
    elif pid_of "$n" >/dev/null; then echo "$n starting-or-stuck pid $(pid_of "$n")"; rc=1
    else echo "$n down"; rc=1; fi
  done
  return $rc
}

# ---- main ----------------------------------------------------------------
[ $# -ge 1 ] || { sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 2; }
cmd=$1; shift
cdsflag=
[ "$cmd" != install ] || { sock=/tmp; install; exit; }
[ $# -ge 1 ] || die "DIR missing"
mkdir -p "$1"; dir=$(cd "$1" && pwd -P)
if [ "$cmd" != up ] && [ -e "$dir/asked" ]; then read -r n_redis n_pg n_kafka n_cluster n_sentinel host <"$dir/asked"; fi
sock=$dir
if [ ${#dir} -ge 85 ]; then # a socket path holds 107 bytes
  [ -e "$dir/sockdir" ] || mktemp -d /tmp/ss.XXXXXX >"$dir/sockdir"
  sock=$(cat "$dir/sockdir")
fi
case $cmd in
up) install; locked "$dir/.lock" up ;;
down) locked "$dir/.lock" down; if [ "${2:-}" = --purge ]; then
    [ "$sock" = "$dir" ] || rm -rf "$sock"
    rm -rf "$dir"
  fi ;;
status) jars=$(jars_of); status ;;
start) jars=$(jars_of); start "$2"; wait_ready "$2" ;;
kill) # gone means the port too: a dying process's threads hold it a moment longer
  kill -KILL "$(pid_of "$2")"
  case $2 in kafka*) at=$host ;; *) at=127.0.0.1 ;; esac
  while pid_of "$2" >/dev/null || listening "$(port "$2")" "$at"; do sleep 0.01; done ;;
pause) kill -STOP "$(pid_of "$2")" ;;
resume) kill -CONT "$(pid_of "$2")" ;;
*) die "unknown command $cmd" ;;
esac

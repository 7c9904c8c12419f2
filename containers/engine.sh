#!/usr/bin/env bash
# A Docker engine of our own, where none runs: from Debian's packages, with its own data, socket and process files.
#
#   containers/engine.sh start   start it, or find one running      (root on Debian, where none runs)
#   containers/engine.sh base    make the base images from Debian's packages, where no registry is in reach
#   containers/engine.sh env     print what makes `docker` find it: eval "$(containers/engine.sh env)"
#   containers/engine.sh stop    stop it and take back what it changed: bridge, firewall rules, forwarding
#   containers/engine.sh purge   stop, and delete its images
#
# SAGESTAGE_ENGINE names another folder for its data than /var/lib/sagestage-engine. Another engine is left alone.
set -euo pipefail

DATA=${SAGESTAGE_ENGINE:-/var/lib/sagestage-engine}
RUN=/run/sagestage-engine  # a socket's path is short
SOCKET=unix://$RUN/docker.sock
BASE=local/sagestage-base:py311
TOOLS=local/sagestage-build:py311
PACKAGES=(docker.io iptables debootstrap docker-compose)  # the last is what the SageMaker SDK runs

die() { echo "error: $*" >&2; exit 1; }
answers() { DOCKER_HOST=$1 docker version --format '{{.Server.Version}}' 2>/dev/null; }
ours_runs() { [[ -S $RUN/docker.sock ]] && answers "$SOCKET" >/dev/null; }

# Another engine that answers: the user's own (DOCKER_HOST, a context, Docker Desktop). Empty when it is ours.
other() {
  [[ ${DOCKER_HOST:-} != "$SOCKET" ]] || return 1
  command -v docker >/dev/null && docker version --format '{{.Server.Version}}' 2>/dev/null
}

packages() {
  local missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  may_install || die "${missing[*]} missing: install Docker (docs.docker.com/engine/install), or run this as root on Debian"
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; } ||
    die "apt-get could not install ${missing[*]}"
}

may_install() { [[ $EUID == 0 ]] && command -v apt-get >/dev/null; }

start() {
  local version
  if version=$(other); then echo "a Docker engine already runs: $version"; return; fi
  mkdir -p "$RUN" 2>/dev/null || die "cannot write $RUN: no Docker engine runs; start one, or run this as root on Debian"
  exec 9>"$RUN/lock"
  flock 9
  if ours_runs; then echo "engine runs already: $(answers "$SOCKET")"; return; fi
  # The packages' own service must not start beside this one.
  packages "${PACKAGES[@]}"
  mkdir -p "$DATA"
  remember
  local mtu
  mtu=$(ip -o route show default 2>/dev/null | sed -nE 's/.* dev ([^ ]+).*/\1/p' | head -1)
  mtu=$(cat "/sys/class/net/${mtu:-lo}/mtu")
  setsid dockerd --data-root "$DATA/data" --exec-root "$RUN/exec" --pidfile "$RUN/docker.pid" -H "$SOCKET" \
    --mtu "$((mtu > 1500 ? 1500 : mtu))" >"$DATA/dockerd.log" 2>&1 9>&- </dev/null &
  local starter=$!
  for _ in $(seq 300); do
    if ours_runs; then echo "engine started: $(answers "$SOCKET")"; return; fi
    kill -0 "$starter" 2>/dev/null || break
    sleep 0.1
  done
  forget
  die "dockerd did not start: $(grep -E 'level=(error|fatal)|failed' "$DATA/dockerd.log" | tail -1)"
}

# What dockerd changes on the machine and does not change back.
remember() {
  [[ ! -e $RUN/before ]] || return 0
  local bridge=no
  ip link show docker0 >/dev/null 2>&1 && bridge=yes
  {
    echo "BRIDGE=$bridge"
    echo "FORWARDING=$(cat /proc/sys/net/ipv4/ip_forward)"
    echo "POLICY=$(iptables -S FORWARD 2>/dev/null | sed -nE 's/^-P FORWARD (.*)/\1/p')"
    echo "CHAINS=$(iptables -S 2>/dev/null | grep -c DOCKER || true)"
  } >"$RUN/before"
}

forget() {
  [[ -e $RUN/before ]] || return 0
  local BRIDGE FORWARDING POLICY CHAINS
  # shellcheck disable=SC1091
  source "$RUN/before"
  if [[ $CHAINS == 0 ]]; then  # there were none before: all are this engine's
    for table in filter nat; do
      iptables-save -t "$table" 2>/dev/null | grep -vE 'DOCKER|docker0|-s 172\.(1[7-9]|2[0-9]|3[01])\.' |
        iptables-restore -T "$table" 2>/dev/null || true
    done
    iptables -P FORWARD "${POLICY:-ACCEPT}" 2>/dev/null || true
  fi
  [[ $BRIDGE == yes ]] || ip link delete docker0 2>/dev/null || true
  echo "$FORWARDING" >/proc/sys/net/ipv4/ip_forward || true
  rm -f "$RUN/before"
}

stop() {
  [[ -d $RUN ]] || { echo "no engine of ours runs"; return; }
  exec 9>"$RUN/lock"
  flock 9
  local pid
  if pid=$(cat "$RUN/docker.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null; then
    local left
    left=$(DOCKER_HOST=$SOCKET docker ps -q) && [[ -z $left ]] || DOCKER_HOST=$SOCKET docker kill $left >/dev/null || true
    DOCKER_HOST=$SOCKET docker network prune -f >/dev/null 2>&1 || true
    kill -TERM "$pid"
    for _ in $(seq 150); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    if kill -0 "$pid" 2>/dev/null; then kill -KILL "$pid"; fi
  fi
  forget
  rm -rf "$RUN"
  echo "engine stopped"
}

purge() {
  stop
  rm -rf "$DATA"
}

env_lines() { if ! other >/dev/null && ours_runs; then echo "export DOCKER_HOST=$SOCKET"; fi; }

# Base images without a registry. BASE is a plain Debian with Python 3.11, as python:3.11-slim is; TOOLS, for the first
# stage of a build, has this machine's certificates, pip configuration and folders of wheels on top.
base() {
  eval "$(env_lines)"
  docker version >/dev/null 2>&1 || die "no Docker engine answers: containers/engine.sh start"
  if docker image inspect "$BASE" "$TOOLS" >/dev/null 2>&1; then echo "$BASE is there already"; return; fi
  packages debootstrap
  may_install || die "debootstrap needs root on Debian; elsewhere use --build-arg BASE_IMAGE=python:3.11-slim"
  local made
  made=$(mktemp -d "${TMPDIR:-/tmp}/sagestage-base-XXXXXX")
  # shellcheck disable=SC2064
  trap "rm -rf '$made'" EXIT
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$made/root" \
    >"$made/log" 2>&1 || die "debootstrap: $(tail -1 "$made/log")"
  rm -rf "$made"/root/var/cache/apt/* "$made"/root/var/lib/apt/lists/*
  ln -s python3 "$made/root/usr/bin/python"
  tar -C "$made/root" -c . | docker import -c 'CMD ["python"]' - "$BASE" >/dev/null
  mkdir -p "$made/tools"
  {
    echo "FROM $BASE"
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip; do
      if [[ -e $file ]]; then
        mkdir -p "$made/tools$(dirname "$file")"
        cp -rL "$file" "$made/tools$file"
      fi
    done
    local links
    links="$(python3 -m pip config get global.find-links 2>/dev/null || true) ${PIP_FIND_LINKS:-}"
    links=$(for folder in $links; do if [[ -d $folder ]]; then echo "$folder"; fi; done | sort -u)
    for folder in $links; do
      mkdir -p "$made/tools$folder"
      cp -rL "$folder/." "$made/tools$folder/"
    done
    if [[ -n $links ]]; then echo "ENV PIP_FIND_LINKS=\"${links//$'\n'/ }\""; fi
    find "$made/tools" -name pip.conf -exec sed -i -E '/^(extra-)?index-url *= *file:/d' {} +  # folders that are not here
    echo "COPY . /"
  } >"$made/Dockerfile"
  DOCKER_BUILDKIT=0 docker build -q -t "$TOOLS" -f "$made/Dockerfile" "$made/tools" >/dev/null 2>"$made/log" ||
    die "docker build: $(tail -1 "$made/log")"
  echo "$BASE made: $(docker image inspect --format '{{.Size}}' "$BASE") bytes"
}

case ${1:-} in
  start|base|stop|purge) "$1" ;;
  env) env_lines ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# FluxEngine in containers; `make up`, `make demo-compose` and `make down` call this.
#
#   deploy/compose.sh up      build the image, make the secrets if there are none, start, wait until all serve
#   deploy/compose.sh demo    run the main job against the published port
#   deploy/compose.sh down    stop; VOLUMES=1 removes the data, too
#
# FLUX_PORT  the port of this machine that the gateway is published on (50051)
# FLUX_BIND  the address of this machine that it is published on (127.0.0.1)
# WAIT_S     how long a service may take until it serves (120)
set -euo pipefail
cd "$(dirname "$0")/.."
SECRETS=deploy/secrets
PROJECT=${COMPOSE_PROJECT_NAME:-fluxengine}
WAIT_S=${WAIT_S:-120}

fail() {
  echo "$*" >&2
  exit 1
}

compose() {
  docker compose -f deploy/compose.yaml "$@"
}

# One line for whatever is missing: the program, its compose plugin, the engine.
require_docker() {
  command -v docker >/dev/null ||
    fail "Docker is not installed; containers need Docker with its compose plugin (\`make run\` needs neither)"
  local version answer
  version=$(docker compose version --short 2>/dev/null) ||
    fail "Docker's compose plugin is not installed (\`docker compose version\` fails)"
  if ! [[ $version =~ ^v?([0-9]+)\.([0-9]+) ]] || ((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2] < 2024)); then
    fail "Docker's compose plugin is too old: $version, and 2.24 or later is needed"
  fi
  answer=$(docker version --format '{{.Server.Version}}' 2>&1) ||
    fail "no Docker engine answers: ${answer##*$'\n'}"
}

# In a container, for nothing but Docker and make is needed here, and handed over as an archive, so that they
# belong to whoever calls this, rootless engine or not.
make_secrets() {
  [[ -e $SECRETS ]] && return
  local volume making=$SECRETS.making
  volume=$(docker volume ls --quiet --filter "label=com.docker.compose.project=$PROJECT")
  [[ -z $volume ]] ||
    fail "$SECRETS is gone, but the volume $volume needs it: put it back, or remove the data with VOLUMES=1 make down"
  rm -rf "$making"
  mkdir -m 0700 "$making"
  docker run --rm --network none --log-driver none "$(compose config --images table | head -n 1)" \
    sh -c 'python -m deploy.secret_files /tmp/secrets >/dev/null && cd /tmp/secrets && tar -c *' |
    tar -x --no-same-owner -C "$making"
  # The folder keeps others of this machine out. The files are mounted one by one, as they are, into containers
  # whose user is another: it must be able to read them.
  chmod 0644 "$making"/*
  mv "$making" "$SECRETS"
  echo "made the keys and passwords of this installation in $SECRETS"
}

# The last lines of what was started and does not serve; who only waits for another comes before that other.
show_failed() {
  local service id state restarts
  for service in gateway workflow auth table; do
    id=$(compose ps --all --quiet "$service")
    [[ -n $id ]] || continue
    read -r state restarts < <(docker inspect --format \
      '{{.State.Status}}/{{with .State.Health}}{{.Status}}{{end}} {{.RestartCount}}' "$id")
    case $state in running/healthy | created/*) continue ;; esac
    echo "$service is $state after $restarts restarts; the end of its log:"
    docker logs --tail 20 "$id" 2>&1 | sed 's/^/  /'
  done >&2
}

up() {
  compose build table
  make_secrets
  if ! compose up --no-build --detach --remove-orphans --wait --wait-timeout "$WAIT_S"; then
    show_failed
    fail "FluxEngine does not serve; \`make down\` takes it away again"
  fi
  echo "FluxEngine runs; the gateway listens on $(gateway_address)"
  echo "  the admin's password is in $SECRETS/admin_password"
  echo "  \`make demo-compose\` runs the main job there, \`make down\` stops it"
}

gateway_address() {
  local address
  address=$(compose port gateway 50051 2>/dev/null) && [[ $address != *:0 ]] ||
    fail "no gateway runs in containers here; \`make up\` starts it"
  echo "${address/#0.0.0.0:/127.0.0.1:}"
}

demo() {
  local address
  address=$(gateway_address)
  exec .venv/bin/python -m examples.demo --gateway "$address" --password-file "$SECRETS/admin_password"
}

down() {
  if [[ ${VOLUMES:-} == 1 ]]; then
    compose down --remove-orphans --volumes
  else
    compose down --remove-orphans
  fi
}

case ${1:-} in
  up | demo | down)
    require_docker
    "$1"
    ;;
  *) fail "usage: deploy/compose.sh up|demo|down" ;;
esac

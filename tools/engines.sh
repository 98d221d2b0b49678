#!/usr/bin/env bash
# Private test engines: one dockerd and one Podman service of our own, beside whatever the machine runs.
#
#   tools/engines.sh up      start what is not running, wait until both answer
#   tools/engines.sh down    end both and everything below them; the image stores stay
#   tools/engines.sh env     print shell exports with the endpoints
#   tools/engines.sh status  one line an engine; exit 0 when both answer
#
# State lives in $MOONSAND_ENGINES (default: build/engines beside this script).
# When MOONSAND_TEST_DOCKER or MOONSAND_TEST_PODMAN is set, that engine is used as it is, neither started nor ended.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${MOONSAND_ENGINES:-$root/build/engines}
run=                                    # sockets and pid files: needs a short path

say() { printf 'engines: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# A unix socket path has 107 bytes, and dockerd puts its own sockets some levels below its directory.
find_run_dir() {
    local longest=$state/run/docker/exec/containerd/containerd-debug.sock
    if [ "${#longest}" -le 100 ]; then
        run=$state/run
    elif [ -s "$state/run.path" ]; then
        run=$(cat "$state/run.path")     # kept for good: Podman's database refuses to see its directories move
    elif [ "${1:-}" = create ]; then
        run=$(mktemp -d /tmp/moonsand-engines.XXXXXX)
        printf '%s\n' "$run" >"$state/run.path"
    else
        run=$state/run
    fi
}

docker_sock() { printf '%s/docker.sock' "$run"; }
podman_sock() { printf '%s/podman.sock' "$run"; }

answers() { # ENDPOINT
    case $1 in
    unix://*) curl -fsS -m 2 -o /dev/null --unix-socket "${1#unix://}" http://d/_ping 2>/dev/null ;;
    tcp://*) curl -fsS -m 2 -o /dev/null "http://${1#tcp://}/_ping" 2>/dev/null ;;
    *) return 1 ;;
    esac
}

# The pid in a pid file, when that process is still ours: a path of ours must stand in its arguments.
own_pid() { # PIDFILE
    local pid
    [ -s "$1" ] || return 1
    pid=$(cat "$1")
    [ -r "/proc/$pid/cmdline" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$run/" || return 1
    printf '%s' "$pid"
}

wait_for() { # NAME ENDPOINT PIDFILE LOG
    local try
    for try in $(seq 300); do
        if answers "$2"; then return 0; fi
        if [ "$try" -gt 10 ] && ! own_pid "$3" >/dev/null; then break; fi
        sleep 0.1
    done
    say "$1 did not come up; the end of $4:"
    tail -n 30 "$4" >&2 || true
    return 1
}

# The daemons must hold none of the caller's descriptors: a CI job waits until its pipes are closed.
detached() { # PIDFILE LOG COMMAND...
    local pidfile=$1 log=$2
    shift 2
    (
        cd /
        exec </dev/null >>"$log" 2>&1 9>&-
        exec setsid bash -c 'echo $$ >"$0"; exec "$@"' "$pidfile" "$@"
    ) &
    disown
}

# --- dockerd -------------------------------------------------------------------------------------------------------

# A bridge of our own for each of the two (tools/engine-net.sh), and none of the daemons' own netfilter handling.
# Never --bridge=none on the host's network: dockerd then deletes docker0, whoever's it is. Where no bridge can be made,
# a network namespace of its own.
bridge_name() { # d|p
    printf 'ms-%08x%s' "$(printf '%s' "$state" | cksum | cut -d' ' -f1)" "$1"
}

bridge_up() { # d|p LOG; sets subnet, empty when there can be no bridge, and way, empty when it leads nowhere
    way=1
    if ! subnet=$("$root/tools/engine-net.sh" up "$(bridge_name "$1")" 2>>"$2"); then
        say "no network for containers and image builds (see $2)"
        way=
    fi
}

bridge_down() { "$root/tools/engine-net.sh" down "$(bridge_name "$1")"; }

docker_network() { # sets prefix and flags
    local subnet way
    flags=(--iptables=false --ip6tables=false --ip-forward=false --ip-masq=false) prefix=()
    bridge_up d "$state/dockerd.log"
    if [ -n "$subnet" ]; then
        flags+=("--bridge=$(bridge_name d)")
        [ -n "$way" ] || flags+=(--label=moonsand.network=none)
    else
        flags+=(--bridge=none)
        prefix=(unshare --net)
    fi
}

# The same dockerd by TCP with client certificates, for the tests of that transport.
docker_tls() { # sets tls
    local dir=$state/tls
    tls=()
    command -v openssl >/dev/null || return 0
    if [ ! -s "$dir/cert.pem" ]; then
        rm -rf "$dir"
        mkdir -p -m 700 "$dir"
        (
            cd "$dir"
            openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=ca -keyout ca-key.pem -out ca.pem
            for who in server client; do
                openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout $who-key.pem -out $who.csr
                printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=%sAuth\n' "$who" >$who.ext
                openssl x509 -req -days 3650 -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial \
                    -extfile $who.ext -out $who.pem
            done
            cp client.pem cert.pem
            cp client-key.pem key.pem
        ) >>"$state/dockerd.log" 2>&1
    fi
    if [ ! -s "$state/tls.port" ]; then
        printf '%d\n' $((20000 + $(printf '%s' "$state" | cksum | cut -d' ' -f1) % 10000)) >"$state/tls.port"
    fi
    tls=(-H "tcp://127.0.0.1:$(cat "$state/tls.port")" --tlsverify
        --tlscacert "$dir/ca.pem" --tlscert "$dir/server.pem" --tlskey "$dir/server-key.pem")
}

docker_up() {
    local sock prefix flags tls
    sock=unix://$(docker_sock)
    if answers "$sock"; then return 0; fi
    command -v dockerd >/dev/null || die "dockerd is missing: run tools/deps.sh test"
    docker_down
    mkdir -p "$state/docker" "$run/docker/exec"
    # A broken download is tried once, not five times with growing pauses.
    printf '{"max-download-attempts": 1}\n' >"$run/daemon.json"
    : >"$state/dockerd.log"
    docker_network
    docker_tls
    detached "$run/dockerd.start" "$state/dockerd.log" "${prefix[@]}" dockerd \
        --config-file "$run/daemon.json" \
        --data-root "$state/docker" --exec-root "$run/docker/exec" --pidfile "$run/docker/dockerd.pid" \
        -H "$sock" --shutdown-timeout 3 --userland-proxy=false "${flags[@]}" "${tls[@]}"
    wait_for dockerd "$sock" "$run/dockerd.start" "$state/dockerd.log"
}

docker_down() {
    local id sock
    sock=$(docker_sock)
    if answers "unix://$sock"; then
        for id in $(curl -fsS -m 5 --unix-socket "$sock" 'http://d/v1.40/containers/json?all=1' |
            grep -oE '"Id":"[0-9a-f]{64}"' | cut -d'"' -f4); do
            curl -sS -m 10 -o /dev/null -X DELETE --unix-socket "$sock" "http://d/v1.40/containers/$id?force=1&v=1" || true
        done
    fi
    end_process "$run/dockerd.start" 10
    end_strays "$run/docker" "$state/docker"
    bridge_down d
    remove "$run/docker" "$sock"
}

# --- Podman --------------------------------------------------------------------------------------------------------

podman_flags=()
podman_configure() {
    local runtime=runc driver=overlay
    # crun refuses hybrid cgroup hierarchies; with the unified one either will do.
    if [ -e /sys/fs/cgroup/cgroup.controllers ] && command -v crun >/dev/null; then runtime=crun; fi
    if [ -s "$state/podman.driver" ]; then driver=$(cat "$state/podman.driver"); fi
    mkdir -p "$run/podman" "$state/podman"
    cat >"$run/containers.conf" <<CONF
[engine]
runtime = "$runtime"
cgroup_manager = "cgroupfs"
events_logger = "file"
events_logfile_path = "$run/podman/events.log"
[network]
network_config_dir = "$run/podman/networks"
network_backend = "cni"
CONF
    printf '[storage]\ndriver = "%s"\ngraphroot = "%s"\nrunroot = "%s"\n' \
        "$driver" "$state/podman" "$run/podman/run" >"$run/storage.conf"
    export CONTAINERS_CONF=$run/containers.conf CONTAINERS_STORAGE_CONF=$run/storage.conf
    podman_flags=(--root "$state/podman" --runroot "$run/podman/run" --tmpdir "$run/podman/tmp"
        --runtime "$runtime" --cgroup-manager cgroupfs --storage-driver "$driver")
}

# Podman's default network, on our bridge: CNI's "bridge" plugin without a rule of its own. Without a way out an
# internal one, for Podman would make up its own default else.
podman_network() {
    local subnet way gateway=true routes='"routes": [{"dst": "0.0.0.0/0"}],'
    bridge_up p "$state/podman.log"
    [ -n "$way" ] || gateway=false routes=
    mkdir -p "$run/podman/networks"
    cat >"$run/podman/networks/podman.conflist" <<CONF
{"cniVersion": "0.4.0", "name": "podman", "plugins": [{"type": "bridge", "bridge": "$(bridge_name p)",
 "isGateway": $gateway, "ipam": {"type": "host-local", "dataDir": "$run/podman/addresses", $routes
 "ranges": [[{"subnet": "${subnet:-198.18.0.0/24}"}]]}}]}
CONF
}

podman_up() {
    local sock
    sock=unix://$(podman_sock)
    if answers "$sock"; then return 0; fi
    command -v podman >/dev/null || die "podman is missing: run tools/deps.sh test"
    podman_down
    : >"$state/podman.log"
    podman_network
    podman_configure
    # Overlay needs a file system below that can carry it (a container's own overlay often cannot).
    if [ ! -e "$state/podman/overlay-images" ] && [ ! -s "$state/podman.driver" ] &&
        ! podman "${podman_flags[@]}" info >>"$state/podman.log" 2>&1; then
        say "podman cannot use overlay here; using vfs"
        printf 'vfs\n' >"$state/podman.driver"
        rm -rf "$state/podman"
        podman_configure
    fi
    detached "$run/podman.pid" "$state/podman.log" \
        podman "${podman_flags[@]}" system service --time 0 "$sock"
    wait_for podman "$sock" "$run/podman.pid" "$state/podman.log"
}

podman_down() {
    if own_pid "$run/podman.pid" >/dev/null; then
        podman_configure
        timeout 20 podman "${podman_flags[@]}" rm --all --force --volumes --time 0 >>"$state/podman.log" 2>&1 || true
    fi
    end_process "$run/podman.pid" 5
    end_strays "$run/podman" "$state/podman"
    bridge_down p
    remove "$run/podman" "$(podman_sock)"
}

# --- ending --------------------------------------------------------------------------------------------------------

end_process() { # PIDFILE SECONDS
    local pid try
    if pid=$(own_pid "$1"); then
        kill -TERM "$pid" 2>/dev/null || true
        for try in $(seq "$(($2 * 10))"); do
            if ! own_pid "$1" >/dev/null; then break; fi
            sleep 0.1
        done
        if own_pid "$1" >/dev/null; then kill -KILL "$pid" 2>/dev/null || true; fi
    fi
    rm -f "$1"
}

# Twice, for conmon's own cleaning up may be at work in the same directory.
remove() { rm -rf "$@" 2>/dev/null || { sleep 0.5; rm -rf "$@"; }; }

# What a daemon that died leaves: its containers, found by the pid files beside their state, then containerd, shims and
# conmons, which name its directory in their arguments, then the mounts. An engine that ended well has left nothing.
end_strays() { # DIRECTORY...
    local dir file pid name
    for dir in "$@"; do
        find "$dir" \( -name init.pid -o -name pidfile \) 2>/dev/null || true # they may still be ending
    done | while read -r file; do
        pid=$(cat "$file" 2>/dev/null) || continue
        name=$(grep -oE '[0-9a-f]{64}' <<<"$file" | tail -n 1) || continue
        if [ -n "$name" ] && grep -qF -- "$name" "/proc/$pid/cgroup" 2>/dev/null; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
    for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        name=$(cat "/proc/$pid/comm" 2>/dev/null) || continue
        case $name in containerd* | dockerd | conmon | podman | runc* | crun*) ;; *) continue ;; esac
        for dir in "$@"; do
            if { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$dir/"; then
                kill -KILL "$pid" 2>/dev/null || true
            fi
        done
    done
    # Deepest first: overlays, shm, network namespaces, and the bind of its own directory that each engine makes.
    for dir in "$@"; do
        awk -v dir="$dir" '$5 == dir || index($5, dir "/") == 1 { print $5 }' /proc/self/mountinfo
    done | sort -r | while read -r dir; do
        umount -l "$(printf '%b' "$dir")" 2>/dev/null || true
    done
}

# --- commands ------------------------------------------------------------------------------------------------------

cmd_env() {
    find_run_dir
    printf "export MOONSAND_TEST_DOCKER='%s'\n" "${MOONSAND_TEST_DOCKER:-unix://$(docker_sock)}"
    printf "export MOONSAND_TEST_PODMAN='%s'\n" "${MOONSAND_TEST_PODMAN:-unix://$(podman_sock)}"
    if [ -z "${MOONSAND_TEST_DOCKER:-}" ] && [ -s "$state/tls.port" ]; then
        printf "export MOONSAND_TEST_DOCKER_TLS='tcp://127.0.0.1:%s'\n" "$(cat "$state/tls.port")"
        printf "export MOONSAND_TEST_DOCKER_CERTS='%s'\n" "$state/tls"
    fi
    # The same Podman as a command, for the benchmark's peer.
    podman_configure
    printf "export MOONSAND_TEST_PODMAN_COMMAND='podman %s'\n" "${podman_flags[*]}"
}

cmd_status() {
    local bad=0 name at
    find_run_dir
    for name in docker podman; do
        case $name in
        docker) at=${MOONSAND_TEST_DOCKER:-unix://$(docker_sock)} ;;
        podman) at=${MOONSAND_TEST_PODMAN:-unix://$(podman_sock)} ;;
        esac
        if answers "$at"; then
            printf '%s up %s\n' "$name" "$at"
        else
            printf '%s down %s\n' "$name" "$at"
            bad=1
        fi
    done
    return "$bad"
}

cmd_up() {
    command -v curl >/dev/null || die "curl is missing: run tools/deps.sh test"
    if [ -z "${MOONSAND_TEST_DOCKER:-}" ] || [ -z "${MOONSAND_TEST_PODMAN:-}" ]; then
        [ "$(id -u)" = 0 ] || die "starting the engines needs root (or set MOONSAND_TEST_DOCKER and MOONSAND_TEST_PODMAN)"
        mkdir -p "$state"
        find_run_dir create
        mkdir -p -m 700 "$run"
        if [ -L "$run" ] || [ ! -O "$run" ]; then die "$run is not ours"; fi
        chmod 700 "$run"
        exec 9>"$state/lock"
        flock 9
    fi
    [ -n "${MOONSAND_TEST_DOCKER:-}" ] || docker_up || return 1
    [ -n "${MOONSAND_TEST_PODMAN:-}" ] || podman_up || return 1
    cmd_status >&2
}

cmd_down() {
    [ -d "$state" ] || return 0
    find_run_dir
    exec 9>"$state/lock"
    flock 9
    [ -n "${MOONSAND_TEST_PODMAN:-}" ] || podman_down
    [ -n "${MOONSAND_TEST_DOCKER:-}" ] || docker_down
    if [ -z "${MOONSAND_TEST_DOCKER:-}${MOONSAND_TEST_PODMAN:-}" ]; then
        rm -rf "$run"
    fi
}

case ${1:-} in
up) cmd_up ;;
down) cmd_down ;;
env) cmd_env ;;
status) cmd_status ;;
*) die "usage: tools/engines.sh up|down|env|status" ;;
esac

#!/usr/bin/env bash
# Private image registries for the specs: Debian's docker-registry with TLS and passwords. They live as long as the
# standard input is open, so that nothing outlives a test that was killed:
#
#   tools/registry.sh DIR     starts them, writes DIR/env (shell assignments) when all answer, and ends them at the
#                             end of its input. Exit status 3: this machine lets us have no address for them
#
#   $address:5000  htpasswd: user "sand", password "moon:s and"
#   $address:5001  nothing listens; for a proxy in front of the first one, with the same certificate
#   $address:5002  bearer tokens, given out by whoever listens at http://$address:5003/token and signs with DIR/key.pem
#   $address:5004  as the first, but no engine is told to trust its certificate
#
# All have the same images. The address is one of our own, not 127.0.0.1: engines take all of 127.0.0.0/8 for insecure and would verify nothing.
set -euo pipefail
unset LD_PRELOAD # a sanitizer for the tests is none for the programs started here

dir=${1:?usage: tools/registry.sh DIR}
user=sand password='moon:s and'
trusted=(/etc/docker/certs.d) # Podman reads these, too
address='' pids=()

say() { printf 'registry: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# From 198.18.0.0/15, as the bridges of tools/engine-net.sh: the first that no route of this machine touches.
take_address() {
    local first try n
    first=$(($(printf '%s' "$dir" | cksum | cut -d' ' -f1) % 512))
    for try in $(seq 0 511); do
        n=$(((first + try) % 512))
        address=198.$((18 + n / 256)).$((n % 256)).77
        if [ -z "$(ip -4 route show table all match "$address" | grep -v '^default')" ] &&
            ip addr add "$address/32" dev lo 2>/dev/null; then
            return 0
        fi
    done
    address=
    return 1
}

finish() {
    local status=$? pid port
    trap - EXIT INT TERM HUP
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    if [ "${#pids[@]}" -gt 0 ]; then wait "${pids[@]}" 2>/dev/null || true; fi
    if [ -n "$address" ]; then
        for port in 5000 5001 5002; do rm -rf "${trusted[0]:?}/$address:$port"; done
        rmdir --ignore-fail-on-non-empty "${trusted[@]}" 2>/dev/null || true
        ip addr del "$address/32" dev lo || true
    fi
    exit "$status"
}

certificates() {
    (
        cd "$dir"
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca-key.pem -out ca.pem
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$address" -keyout key.pem -out server.csr
        printf 'subjectAltName=IP:%s\nextendedKeyUsage=serverAuth\n' "$address" >server.ext
        openssl x509 -req -days 30 -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial \
            -extfile server.ext -out cert.pem
    ) >>"$dir/log" 2>&1
    local port
    for port in 5000 5001 5002; do
        mkdir -p "${trusted[0]}/$address:$port"
        cp "$dir/ca.pem" "${trusted[0]}/$address:$port/ca.crt"
    done
}

# HTTP/1.1: only there does an engine that gives a download up close the connection, which a test can see.
registry() { # PORT AUTHENTICATION-AS-YAML
    cat >"$dir/$1.yml" <<YAML
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "$dir/data"}, delete: {enabled: true}}
http: {addr: "$address:$1", secret: tests, http2: {disabled: true},
       tls: {certificate: "$dir/cert.pem", key: "$dir/key.pem"}}
auth: $2
YAML
    OTEL_TRACES_EXPORTER=none docker-registry serve "$dir/$1.yml" </dev/null >>"$dir/log" 2>&1 &
    pids+=($!)
}

answers() { # PORT
    [ "$(curl -sS -m 2 -o /dev/null -w '%{http_code}' --noproxy '*' --cacert "$dir/ca.pem" "https://$address:$1/v2/" \
        2>>"$dir/log")" = 401 ]
}

[ "$(id -u)" = 0 ] || { say "an address of our own needs root"; exit 3; }
command -v docker-registry >/dev/null || die "docker-registry is missing: run tools/deps.sh test"
mkdir -p -m 700 "$dir"
dir=$(cd "$dir" && pwd)
: >"$dir/log"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
take_address || { say "cannot add an address to the loopback device"; exit 3; }
certificates
# The registry takes bcrypt only, and crypt(3) makes it: no package of its own for one line.
# shellcheck disable=SC2016
printf '%s:%s\n' "$user" "$(perl -e 'print crypt($ARGV[0], q($2y$05$) . q(moonsandmoonsandmoons.))' "$password")" \
    >"$dir/htpasswd"
basic="{htpasswd: {realm: tests, path: \"$dir/htpasswd\"}}"
registry 5000 "$basic"
registry 5002 "{token: {realm: \"http://$address:5003/token\", service: tests, issuer: tests, \
rootcertbundle: \"$dir/ca.pem\"}}"
registry 5004 "$basic"
for port in 5000 5002 5004; do
    for try in $(seq 100); do
        if answers "$port"; then break; fi
        if [ "$try" = 100 ]; then
            tail -n 20 "$dir/log" >&2
            die "the registry at $address:$port does not answer"
        fi
        sleep 0.1
    done
done
printf 'address=%q\nuser=%q\npassword=%q\n' "$address" "$user" "$password" >"$dir/env.new"
mv "$dir/env.new" "$dir/env"
# In the background, so that a signal is served at once.
exec 3<&0
cat <&3 >/dev/null &
pids+=($!)
wait "$!" || true

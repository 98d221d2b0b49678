#!/usr/bin/env bash
# Installs what is missing of the Debian packages that a target needs; does nothing, and quickly, when all are there.
#
#   tools/deps.sh [build|demo|test|bench]     each contains the ones before it
set -euo pipefail

build=(gcc libc6-dev cmake make pkg-config lua5.4 liblua5.4-dev libcurl4-openssl-dev libjansson-dev libarchive-dev
    libssl-dev libseccomp-dev lua-cjson lua-argparse)
demo=(docker.io containerd podman conmon runc catatonit containernetworking-plugins
    iptables iproute2 mmdebstrap curl ca-certificates util-linux)
test=(lua-busted lua-luv lua-cqueues lua-sql-sqlite3 lua-check luarocks clang clang-format libclang-rt-14-dev valgrind
    openssh-client openssh-server openssl docker-registry chromium fonts-dejavu-core)
bench=(python3 python3-docker python3-optuna bubblewrap)

case ${1:-build} in
build) packages=("${build[@]}") ;;
demo) packages=("${build[@]}" "${demo[@]}") ;;
test) packages=("${build[@]}" "${demo[@]}" "${test[@]}") ;;
bench) packages=("${build[@]}" "${demo[@]}" "${test[@]}" "${bench[@]}") ;;
*) echo "usage: tools/deps.sh [build|demo|test|bench]" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is not a Debian system; install the equivalents of: ${packages[*]}" >&2
    exit 1
fi

installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "${packages[@]}" 2>/dev/null |
    awk '$1 == "ii" { print $2 }' || true)
missing=()
for package in "${packages[@]}"; do
    grep -qxF -- "$package" <<<"$installed" || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then exit 0; fi

if [ "$(id -u)" != 0 ]; then
    echo "deps: not root, and these packages are missing: ${missing[*]}" >&2
    echo "deps: install them with: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
# A daemon that a package would start is not wanted: the tests and the demo start private ones.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -d /run/systemd/system ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get -qq update
apt-get -qq -y --no-install-recommends install "${missing[@]}" >&2

#!/usr/bin/env bash
# The base image of tests and demo: Debian bookworm with python3, bootstrapped from the host's own package mirrors,
# so that no container registry is needed.
#
#   tools/base-image.sh OUT.tar                  make the root file system (kept while this script does not change)
#   tools/base-image.sh import ENDPOINT TAR REF  import it into an engine (unix://PATH, PATH or tcp://HOST:PORT);
#                                                does nothing when REF is there already with the same content
#
# BASE_PACKAGES adds Debian packages to the image.
set -euo pipefail

suite=bookworm
packages=python3,usr-is-merged${BASE_PACKAGES:+,${BASE_PACKAGES// /,}}
label=moonsand.base

say() { printf 'base-image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# "deb" lines for the suite, from whatever the host's apt is configured with.
sources() {
    local host
    host=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-$suite}")
    # Said by apt itself, so that both source formats are understood, downloaded package lists or not.
    apt-get update --print-uris | tr -d "'" | awk -v host="$host" -v suite="$suite" '
        match($1, /\/dists\/[^\/]+\/InRelease$/) {
            base = substr($1, 1, RSTART - 1)
            split(substr($1, RSTART + 1), part, "/")
            name = part[2]
            if (name == host || name == host "-security" || name == host "-updates") {
                sub("^" host, suite, name)
                print "deb " base " " name " main"
            }
        }' | sort -u
}

build() { # OUT
    local out=$1 key list work
    key=$({ cat "${BASH_SOURCE[0]}"; printf '%s\n' "$packages"; } | sha256sum | cut -c1-64)
    if [ -s "$out" ] && [ "$(cat "$out.key" 2>/dev/null)" = "$key" ]; then return 0; fi
    [ "$(id -u)" = 0 ] || die "bootstrapping needs root"
    command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: run tools/deps.sh test"
    list=$(sources)
    [ -n "$list" ] || die "found no $suite mirror in the host's apt configuration"
    mkdir -p "$(dirname "$out")"
    work=$(mktemp -d)
    trap "rm -rf '$work'" EXIT
    printf '%s\n' "$list" >"$work/sources.list"
    say "bootstrapping $suite with $packages"
    # usrmerge comes with the essential packages and brings all of perl; usr-is-merged does in its place.
    # Everything that only a person at a terminal reads goes; the fixed date makes equal input equal output.
    if ! SOURCE_DATE_EPOCH=1686355200 mmdebstrap --quiet --mode=root --variant=essential --skip=output/dev --include="$packages" \
        --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/lintian/*' \
        --dpkgopt='path-exclude=/usr/share/pixmaps/*' \
        --customize-hook='chroot "$1" dpkg --purge usrmerge libfile-find-rule-perl libnumber-compare-perl \
            libtext-glob-perl perl $(chroot "$1" dpkg-query -W -f "\${Package}\n" "perl-modules-*" "libperl5*")' \
        --customize-hook='ln -s ../../bin/python3 "$1/usr/local/bin/python"' \
        --customize-hook='rm -rf "$1"/usr/share/i18n/* "$1"/usr/lib/*/gconv/* "$1"/usr/share/bash-completion' \
        --customize-hook='rm -rf "$1"/var/cache/debconf/* "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
        --customize-hook='rm -rf "$1"/etc/apt/sources.list.d/* "$1"/var/log/* "$1"/var/lib/dpkg/*-old "$1"/etc/resolv.conf "$1"/etc/hostname' \
        --customize-hook='rm -rf "$1"/tmp/* "$1"/run/*' \
        "$suite" "$work/base.tar" "$work/sources.list" >"$work/log" 2>&1; then
        tail -n 30 "$work/log" >&2
        die "bootstrapping failed"
    fi
    mv "$work/base.tar" "$out"
    printf '%s\n' "$key" >"$out.key"
    say "$out: $(($(stat -c %s "$out") / 1000000)) MB"
}

engine() { # ENDPOINT PATH CURL-OPTIONS...
    local endpoint=$1 path=$2
    shift 2
    case $endpoint in
    unix://*) curl -sS --unix-socket "${endpoint#unix://}" "$@" "http://d/v1.40$path" ;;
    /*) curl -sS --unix-socket "$endpoint" "$@" "http://d/v1.40$path" ;;
    tcp://*) curl -sS "$@" "http://${endpoint#tcp://}/v1.40$path" ;;
    *) die "cannot reach $endpoint from here (unix:// or tcp:// only)" ;;
    esac
}

import() { # ENDPOINT TAR REF
    local endpoint=$1 tar=$2 ref=$3 sum answer id
    sum=$(sha256sum "$tar" | cut -c1-64)
    if engine "$endpoint" "/images/$ref/json" | grep -qE "\"$label\": ?\"$sum\""; then return 0; fi
    answer=$(engine "$endpoint" "/images/create" -X POST -T "$tar" -H 'Content-Type: application/x-tar' -H 'Expect:' \
        --url-query "fromSrc=-" --url-query "repo=${ref%:*}" --url-query "tag=${ref##*:}" \
        --url-query "changes=ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
        --url-query "changes=ENV LANG=C.UTF-8" \
        --url-query "changes=LABEL $label=$sum" \
        --url-query 'changes=CMD ["python3"]')
    # Podman 4.3 forgets the tag and says "latest": name the image by its id.
    id=$(printf '%s' "$answer" | grep -oE 'sha256:[0-9a-f]{64}' | tail -n 1) || die "import of $ref failed: $answer"
    engine "$endpoint" "/images/$id/tag" -X POST --url-query "repo=${ref%:*}" --url-query "tag=${ref##*:}"
    # The engine answers 200 before it knows; only the label on the finished image proves the import.
    engine "$endpoint" "/images/$ref/json" | grep -qE "\"$label\": ?\"$sum\"" || die "import of $ref failed: $answer"
    say "imported $ref into $endpoint"
}

case ${1:-} in
import) [ $# -eq 4 ] || die "usage: tools/base-image.sh import ENDPOINT TAR REF"; import "$2" "$3" "$4" ;;
'' | -*) die "usage: tools/base-image.sh OUT.tar | import ENDPOINT TAR REF" ;;
*) build "$1" ;;
esac

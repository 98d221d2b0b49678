#!/bin/sh
# Runs mmdebstrap once and makes of its root file system an archive that an engine can load. Leaves nothing behind,
# however it ends, and never a half-written OUT. Does nothing when OUT is there.
#
#   bootstrap.sh OUT CONFIG MANIFEST COMMAND...
#
# CONFIG is the image's configuration with LAYER where the digest of the root file system goes, MANIFEST the archive's
# with CONFIG where the configuration's goes. COMMAND writes the root file system's tar to the path that stands for
# the word LAYER among its arguments.
set -eu
out=$1 config=$2 manifest=$3
shift 3
command -v "$1" >/dev/null || { echo "$1 is not installed" >&2; exit 127; }

# 0600: what is below /etc of a root file system is not for everybody.
umask 077
mkdir -p "$(dirname "$out")"
exec 8<"$(dirname "$out")"
flock 8
if [ -s "$out" ]; then exit 0; fi

work=$(mktemp -d "${TMPDIR:-/tmp}/moonsand-bootstrap.XXXXXX")
part=$(mktemp "$out.XXXXXX")
trap 'rm -rf "$work" "$part"' EXIT
trap 'exit 143' INT TERM HUP
# The trap has no say when the whole process group is killed. This one is outside of the group, and gets the lock when
# the last of us is gone.
exec 9>"$work/lock"
flock 9
# shellcheck disable=SC2016 # for the inner shell
setsid sh -c 'exec 8>&- 9>&-; flock "$1/lock" true
    rm -rf --one-file-system "$@" || { sleep 1; rm -rf --one-file-system "$@"; }' - "$work" "$part" </dev/null >/dev/null 2>&1 &
chmod 711 "$work" # an unprivileged mmdebstrap works below it under other uids

layer=$work/layer.tar
for argument; do
    shift
    if [ "$argument" = LAYER ]; then argument=$layer; fi
    set -- "$@" "$argument"
done
# What mmdebstrap mounts must go with its processes, or removing the tree would reach into it.
if [ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null; then set -- unshare --mount --propagation private "$@"; fi
# mmdebstrap writes ">&N" into scripts for a /bin/sh that knows descriptors of one digit only: all of those are its own.
TMPDIR=$work "$@" </dev/null 8>&- 9>&-

digest() { sha256sum "$1" | cut -c1-64; }
printf '%s' "$config" | sed "s/LAYER/$(digest "$layer")/" >"$work/config"
id=$(digest "$work/config")
mv "$work/config" "$work/$id.json"
printf '%s' "$manifest" | sed "s/CONFIG/$id/" >"$work/manifest.json"
tar -C "$work" --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime=@0 \
    -cf "$part" manifest.json "$id.json" layer.tar
sync "$part"
mv "$part" "$out"

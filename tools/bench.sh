#!/usr/bin/env bash
# The benchmark on the private engines, which are ended afterwards unless they were up before.
#
#   tools/bench.sh [BUILD [SUBJECT...]]     a subject is a file of bench/ (default: build, all of them)
#
# MOONSAND_BENCH_SAMPLES: how often each contender runs (default 20).
# MOONSAND_BENCH_BUILDS: the same for builds that take a minute (default 3).
# MOONSAND_BENCH_TRIALS: trials without a program that a sample of bench/sweeps.lua has (2000), _MANY: that are streamed
# and read again (100000).
# MOONSAND_BENCH_WARM: of what fork mode and pools are compared with (default 200), _SLOW: where it takes a second (50).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ms_root"
ms_env "$ms_root/${1:-build}"
shift || true
subjects=("$@")
if [ $# -eq 0 ]; then
    for file in bench/*.lua; do
        name=$(basename "$file" .lua)
        case $name in bench | lib) ;; *) subjects+=("$name") ;; esac
    done
fi
for name in "${subjects[@]}"; do
    [ -e "bench/$name.lua" ] || { echo "bench: no bench/$name.lua" >&2; exit 2; }
done

ours=0
tools/engines.sh status >/dev/null 2>&1 || ours=1
trap 'if [ "$ours" = 1 ]; then tools/engines.sh down; fi' EXIT
trap 'exit 130' INT
tools/engines.sh up
endpoints=$(tools/engines.sh env)
(
    eval "$endpoints"
    if [ -z "${MOONSAND_TEST_IMAGE:-}" ]; then MOONSAND_TEST_IMAGE=$(lua5.4 tools/base.lua); fi
    export MOONSAND_TEST_IMAGE
    exec lua5.4 bench/bench.lua "${subjects[@]}"
)

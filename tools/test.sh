#!/usr/bin/env bash
# Runs the C tests, the fuzzers' corpora and the specs; ends with one line: N passed, N failed, N skipped.
#
#   --build DIR     the build to test (default build)
#   --asan          DIR was built with MS_SANITIZE: load the runtime into Lua too
#   --valgrind      run everything under valgrind, with leak check; time limits are MOONSAND_TEST_SLOWDOWN times
#                   longer (10)
#   --c, --lua      only the C side, only the specs
#   --filter TEXT   only the test programs and spec files whose name contains TEXT
#   --verbose       print every TAP line
#
# Starts the private engines (tools/engines.sh) for the specs, and ends them unless they were up before.
# A program that crashes, hangs (MOONSAND_TEST_TIMEOUT: 300 s, under valgrind 900), or prints no plan is one failure
# more.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ms_root"

build=build mode=plain want=all filter= verbose=0 limit=${MOONSAND_TEST_TIMEOUT:-}
while [ $# -gt 0 ]; do
    case $1 in
    --build) build=$2; shift ;;
    --asan) mode=asan ;;
    --valgrind) mode=valgrind ;;
    --c) want=c ;;
    --lua) want=lua ;;
    --filter) filter=$2; shift ;;
    --verbose | -v) verbose=1 ;;
    *) echo "test: unknown option $1" >&2; exit 2 ;;
    esac
    shift
done
[ -d "$build" ] || { echo "test: no build in $build" >&2; exit 2; }
build=$(cd "$build" && pwd)
ms_env "$build"
if [ -z "$limit" ]; then
    limit=300
    if [ "$mode" = valgrind ]; then limit=900; fi
fi

passed=0 failed=0 skipped=0 child= ours=0
out=$(mktemp -d)

finish() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$child" ]; then
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    if [ "$ours" = 1 ]; then tools/engines.sh down || true; fi
    rm -rf "$out"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Counts one program's TAP and prints what a reader needs: failures with their diagnostics, skips with their reasons,
# and what takes long.
count() { # NAME STATUS FILE [SECONDS]
    awk -v name="$1" -v status="$2" -v seconds="${4:-0}" -v verbose="$verbose" -v totals="$out/totals" '
        function plain(line) { sub(/^(not )?ok *[0-9]* *-? */, "", line); return line }
        verbose { print "    " $0 }
        /^ok([ \t]|$)/ {
            bad = 0; ran++
            if (match($0, /# *[Ss][Kk][Ii][Pp]/)) { skipped++; if (!verbose) print "  skip: " name ": " plain($0) }
            else passed++
            next
        }
        /^not ok([ \t]|$)/ { bad = 1; ran++; failed++; if (!verbose) print "  FAIL: " name ": " plain($0); next }
        /^1\.\.[0-9]+/ {
            bad = 0; plan = substr($1, 4) + 0; planned++
            if (plan == 0 && match($0, /# *[Ss][Kk][Ii][Pp]/)) { skipped++; print "  skip: " name ": " $0 }
            next
        }
        /^#/ { if (bad && !verbose) print "    " $0; next }
        { if (bad && !verbose) print "    " $0; else other[++others] = $0 }
        END {
            why = ""
            if (!planned) why = "ended without a plan"
            else if (planned > 1) why = "printed more than one plan"
            else if (plan != ran) why = "planned " plan " tests but ran " ran
            else if (status != 0 && !failed) why = "ended badly"
            if (why != "") {
                failed++
                print "  FAIL: " name ": " why " (exit status " status ")"
                for (i = 1; i <= others; i++) if (i <= 60 || i > others - 20) print "    " other[i]
            }
            long = seconds >= 10 ? " (" seconds " s)" : ""
            printf "%s: %d passed, %d failed, %d skipped%s\n", name, passed, failed, skipped, long
            printf "%d %d %d\n", passed, failed, skipped > totals
        }' "$3"
    local p f s
    read -r p f s <"$out/totals"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

# In the background and waited for, so that a Ctrl-C is served at once.
run() { # NAME COMMAND...
    local name=$1 status=0 began=$SECONDS
    shift
    timeout --kill-after=10 "$limit" "$@" >"$out/tap" 2>&1 </dev/null &
    child=$!
    wait "$child" 2>/dev/null || status=$?
    child=
    if [ "$status" = 124 ]; then printf 'took longer than %s s\n' "$limit" >>"$out/tap"; fi
    count "$name" "$status" "$out/tap" $((SECONDS - began))
}

wanted() { [ -z "$filter" ] || [[ $1 == *"$filter"* ]]; }

c_wrap=() lua_wrap=()
case $mode in
asan)
    export UBSAN_OPTIONS=print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
    c_wrap=(env "ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}")
    # Lua itself is not instrumented and ends with live objects: no leak check there.
    lua_wrap=(env "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
        "LD_PRELOAD=$(gcc -print-file-name=libasan.so)")
    ;;
valgrind)
    c_wrap=(valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite)
    lua_wrap=("${c_wrap[@]}")
    # What a test measures on our side takes so many times longer.
    export MOONSAND_TEST_SLOWDOWN=${MOONSAND_TEST_SLOWDOWN:-10}
    ;;
esac

# Engines and their image come first: C tests and specs alike run on them.
tools/engines.sh status >/dev/null 2>&1 || ours=1
tools/engines.sh up
endpoints=$(tools/engines.sh env)
# Only the tests see the endpoints: where these are set, tools/engines.sh takes an engine for somebody else's and
# will not end it.
# shellcheck disable=SC2016
with_engines=(bash -c 'eval "$1"; shift; exec "$@"' - "$endpoints")
if [ -z "${MOONSAND_TEST_IMAGE:-}" ]; then
    MOONSAND_TEST_IMAGE=$("${with_engines[@]}" "${lua_wrap[@]}" lua5.4 tools/base.lua)
fi
export MOONSAND_TEST_IMAGE

if [ "$want" != lua ]; then
    for program in "$build"/tests/test_* "$build"/tests/fault_*; do
        name=${program##*/}
        # A program whose source is gone is a leftover of an older build.
        if [ -x "$program" ] && [ -e "core/tests/$name.c" ] && wanted "$name"; then
            run "core/tests/$name" "${with_engines[@]}" "${c_wrap[@]}" "$program"
        fi
    done
    for source in core/tests/test_*.c core/tests/fault_*.c; do
        name=$(basename "$source" .c)
        if [ -e "$source" ] && wanted "$name" && [ ! -x "$build/tests/$name" ]; then
            printf 'not built\n' >"$out/tap"
            count "core/tests/$name" 127 "$out/tap"
        fi
    done
    # A fuzzer's main here (core/fuzz/standalone.c) prints TAP: one test a corpus, failed when that is empty.
    for source in core/fuzz/fuzz_*.c lua/fuzz/*.lua; do
        name=$(basename "${source%.*}")
        subject=${name#fuzz_} program=$name
        if [ "${source%%/*}" = lua ]; then program=fuzz_lua_$name; fi
        if wanted "$program"; then
            run "${source%.*}" "${c_wrap[@]}" "$build/fuzz/$program" "$(dirname "$source")/corpus/$subject"
        fi
    done
fi

if [ "$want" != c ] && [ -n "$(find spec -name '*_spec.lua' 2>/dev/null | head -n 1)" ]; then
    # One process a file: a crash in C costs one file's results, not all. Without --ignore-lua busted executes its own
    # choice of Lua, out of valgrind's sight.
    while read -r spec; do
        wanted "$spec" || continue
        # Minutes of pip and mmdebstrap say nothing about our C that other specs do not say as well.
        why=$(sed -n 's/^-- Plain build only: //p' "$spec")
        if [ "$mode" != plain ] && [ -n "$why" ]; then
            printf '1..0 # SKIP %s\n' "$why" >"$out/tap"
            count "$spec" 0 "$out/tap"
        else
            run "$spec" "${with_engines[@]}" "${lua_wrap[@]}" lua5.4 /usr/bin/busted --ignore-lua -o TAP \
                --cpath="$build/lua/?.so" "$spec"
        fi
    done < <(find spec -name '*_spec.lua' | LC_ALL=C sort)
fi

if [ $((passed + failed + skipped)) -eq 0 ]; then
    echo "test: nothing was run" >&2
    failed=1
fi
if [ "$ours" = 1 ]; then ours=0; tools/engines.sh down || true; fi
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]

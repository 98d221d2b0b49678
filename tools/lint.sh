#!/usr/bin/env bash
# Format, luacheck, and the rules that a grep can keep. Prints findings, fails when there are any.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bad=0

finding() { printf 'lint: %s\n' "$1"; bad=1; }
# Prints the lines whose code (not comment) matches; a line may excuse itself with "lint: " and a reason.
rule() { # WHY PATTERN EXCEPT FILES...
    local why=$1 pattern=$2 except=$3 file hits
    shift 3
    hits=$(for file; do
        sed -E '/lint: /s/.*//; s,/\*([^*]|\*[^/])*(\*/|$),,g; s,//.*,,; s,^ \*.*,,' "$file" |
            grep -nE -- "$pattern" | grep -vE -- "$except" | sed "s,^,$file:,"
    done)
    if [ -n "$hits" ]; then
        printf '%s\n' "$hits"
        finding "$why"
    fi
}

mapfile -t c < <(find core lua -name '*.[ch]' -not -path '*/corpus/*' | LC_ALL=C sort)
mapfile -t shipped < <(find core/src core/agent core/include lua/binding -name '*.[ch]' 2>/dev/null | LC_ALL=C sort)
mapfile -t core < <(find core -name '*.[ch]' | LC_ALL=C sort)
mapfile -t nothttp < <(printf '%s\n' "${c[@]}" | grep -vE '^core/src/http(_[a-z]+)?\.[ch]$')
mapfile -t lua < <(find lua spec examples bench plugins -name '*.lua' -not -name '*.d.lua' 2>/dev/null | LC_ALL=C sort)

if [ "${#c[@]}" -gt 0 ] && ! clang-format --dry-run -Werror "${c[@]}" 2>&1 | awk '/error: code should be/' |
    cut -d: -f1 | sort | uniq -c | awk '{ print "  " $2 ": " $1 " places"; n++ } END { exit n > 0 }'; then
    finding "clang-format (make format mends it)"
fi
if [ "${#lua[@]}" -gt 0 ] && ! luacheck -q --no-color "${lua[@]}" bin/moonsand; then
    finding "luacheck"
fi
# Any other descriptor would leak into the ssh, the engine and the program that we start. A macro of ours that holds
# the flag will do.
macros=$(grep -hoE '^#define +[A-Z_]+ .*CLOEXEC' "${shipped[@]}" | awk '{ printf "|\\<%s\\>", $2 }')
rule "descriptor without CLOEXEC" \
    '\b(open|openat|openat2|socket|accept|accept4|pipe|pipe2|epoll_create1?|eventfd|timerfd_create|signalfd|memfd_create|dup|inotify_init1?|socketpair|fopen) ?\(' \
    'CLOEXEC|fopen\([^)]*"[^"]*e[^"]*"|(->|\.)(open|socket|accept|pipe|dup) ?\('"$macros" "${shipped[@]}"
rule "banned function" '\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|atof|system|popen|strtok|tmpnam|mktemp|alloca) ?\(' \
    '^$' "${shipped[@]}"
rule "only core/src/http*.[ch] may know curl" '#include *[<"]curl/' '^$' "${nothttp[@]}"
rule "the core must not know Lua" '#include *[<"](lua|lauxlib|lualib)' '^$' "${core[@]}"

while read -r script; do
    bash -n "$script" || finding "$script does not parse"
done < <(find tools .ci lua -type f \( -name '*.sh' -o -path '.ci/*' \))
if command -v shellcheck >/dev/null; then shellcheck -x tools/*.sh .ci/run lua/moonsand/image/*.sh || finding "shellcheck"; fi

if [ "$bad" = 0 ]; then echo "lint: clean"; fi
exit "$bad"

/* The agent binary itself, with programs that mean harm. This test is both: called with --act it is
 * the program inside (agent_acts.h). */
#include "agent_acts.h"
#include "agent_harness.h"

#define ACT(name, ...) .argv = {"./act", "--act", name, __VA_ARGS__}

/* The ordinary end: no protocol error, a FINAL, and the agent's own exit status 0. */
static bool whole(const seen *s)
{
    return !s->hung && s->result == 0 && s->finished && s->status == 0;
}

static const char *reason_of(const seen *s, const char *path)
{
    for (size_t i = 0; i < s->file_count && i < HARNESS_FILES; i++)
        if (strcmp(s->files[i].path, path) == 0)
            return s->files[i].taken && s->files[i].reason[0] == 0 ? "taken" : s->files[i].reason;
    return "absent";
}

static long size_of(const seen *s, const char *path)
{
    for (size_t i = 0; i < s->file_count && i < HARNESS_FILES; i++)
        if (strcmp(s->files[i].path, path) == 0)
            return (long)s->files[i].len;
    return -1;
}

static void test_endings(void)
{
    static const char *const codes[] = {"0", "1", "2", "42", "127", "128", "137", "254", "255"};
    static const char *const signals[] = {"1", "2", "6", "8", "9", "11", "13", "15", "40", "64"};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        plan p = {ACT("exit", codes[i])};
        seen *s = run_plan(&p);
        ok(whole(s) && s->final.exit_code == strtol(codes[i], NULL, 10) && s->final.signal == 0 &&
               s->final.killed == 0 && s->final.stragglers == 0,
           "exit %s", codes[i]);
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        plan p = {ACT("die", signals[i])};
        seen *s = run_plan(&p);
        ok(whole(s) && s->final.signal == strtol(signals[i], NULL, 10) && s->final.exit_code == -1,
           "signal %s", signals[i]);
    }
    plan fsize = {ACT("fsize", ""), .fsize = 1000};
    is_int(run_plan(&fsize)->final.signal, SIGXFSZ, "the file size limit holds");
}

static void test_limits(void)
{
    plan late = {ACT("hang", ""), .wall_ms = 400};
    seen *s = run_plan(&late);
    ok(whole(s) && s->final.killed == MS_KILLED_TIMEOUT && s->final.signal == SIGKILL, "timeout");
    is_str(s->out.data, "partial", "partial output is kept");
    ok(s->final.wall_ns >= 400000000 && s->final.wall_ns < 700000000 && s->took < 0.7,
       "within 0.3 s: %.3f s", s->took);

    plan deaf = {ACT("flood", "40000000"), .wall_ms = 300, .read_after_ms = 1200};
    s = run_plan(&deaf);
    ok(whole(s) && s->final.killed == MS_KILLED_TIMEOUT, "timeout while the host does not read");
    ok(s->final.wall_ns < 600000000, "is on time: %.3f s", (double)s->final.wall_ns / 1e9);
    is_int((long long)s->out.len, (long long)s->final.stdout_bytes, "and no byte is lost");

    plan out = {ACT("flood", "3000001"), .out_max = 3000000};
    s = run_plan(&out);
    ok(whole(s) && s->final.killed == MS_KILLED_STDOUT, "one byte of stdout too many");
    is_int((long long)s->out.len, 3000000, "exactly the limit is handed over");
    plan fits = {ACT("flood", "3000000"), .out_max = 3000000};
    s = run_plan(&fits);
    ok(whole(s) && s->final.killed == 0 && s->final.exit_code == 0 && s->out.len == 3000000,
       "exactly the limit is fine");
    bool same = true;
    for (size_t i = 0; i < s->out.len; i++)
        same = same && s->out.data[i] == (char)('a' + i % 65536 % 23);
    ok(same, "byte by byte");
    plan err = {ACT("flood-err", "99999999"), .err_max = 12345};
    s = run_plan(&err);
    ok(whole(s) && s->final.killed == MS_KILLED_STDERR && s->err.len == 12345, "too much stderr");
    plan both = {ACT("both", "2000000")};
    s = run_plan(&both);
    ok(whole(s) && s->out.len == 2000000 && s->err.len == 2000000, "both streams are whole");
}

static void test_processes(void)
{
    plan daemon = {ACT("daemon", "")};
    seen *s = run_plan(&daemon);
    ok(whole(s) && s->final.exit_code == 3 && s->final.killed == 0, "the parent's end counts");
    is_int(s->final.stragglers, 1, "its daemon is killed");
    ok(s->took < 2, "and its hold of stdout delays nothing");
    is_str(s->out.data, "left", "output of the parent");

    plan bomb = {ACT("bomb", ""), .wall_ms = 700};
    s = run_plan(&bomb);
    ok(whole(s) && s->final.killed == MS_KILLED_TIMEOUT, "a fork bomb ends");
    ok(s->took < 3 && s->final.stragglers > 50, "soon: %.2f s, %u processes", s->took,
       s->final.stragglers);

    plan kill_it = {ACT("hang", ""), .kill_after_ms = 100};
    s = run_plan(&kill_it);
    ok(whole(s) && s->final.killed == MS_KILLED_HOST && s->final.signal == SIGKILL, "KILL");
    plan never = {ACT("hang", ""), .kill_after_ms = -1};
    s = run_plan(&never);
    ok(whole(s) && !s->started && s->final.killed == MS_KILLED_HOST && s->final.exit_code == -1,
       "KILL before GO");
    plan hang_up = {ACT("daemon", ""), .hang_up_ms = 20};
    s = run_plan(&hang_up);
    ok(!s->hung && !s->finished && s->took < 1 && WIFEXITED(s->status) && s->status != 0,
       "when the host is gone all dies");
}

static void test_input(void)
{
    size_t n = 5 << 20;
    unsigned char *bytes = malloc(n);
    unsigned long long sum = 0;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 251);
        sum = sum * 31 + bytes[i];
    }
    char want[64];
    snprintf(want, sizeof want, "%zu %llu", n, sum);
    plan p = {ACT("input", ""), .input = bytes, .input_len = n};
    seen *s = run_plan(&p);
    ok(whole(s), "5 MiB of standard input");
    is_str(s->out.data, want, "arrive as they are");
    ok(s->credits > 0 && s->credited <= n, "by credit");
    plan deaf = {ACT("deaf", ""), .input = bytes, .input_len = n};
    s = run_plan(&deaf);
    ok(whole(s) && s->final.exit_code == 0, "a program that closes stdin");
    plan asleep = {ACT("hang", ""), .input = bytes, .input_len = n, .wall_ms = 300};
    s = run_plan(&asleep);
    ok(whole(s) && s->final.killed == MS_KILLED_TIMEOUT, "a program that never reads stdin");
    ok(s->credited <= 65536, "gets what a pipe holds");
    asleep.input_late = 1 << 20;
    s = run_plan(&asleep);
    ok(whole(s) && s->late_taken, "what is on its way when the program ends is taken");
    ok(s->took < 2, "until the stream is closed");
    plan none = {ACT("input", "")};
    s = run_plan(&none);
    is_str(s->out.data, "0 0", "without standard input there is an end of file");
    plan open_input = {ACT("input", ""), .input_open = true, .wall_ms = 200};
    s = run_plan(&open_input);
    is_int(s->final.killed, MS_KILLED_TIMEOUT, "an open standard input is open");
    free(bytes);
}

static void test_failures(void)
{
    plan missing = {.argv = {"no-such-program"}};
    seen *s = run_plan(&missing);
    ok(s->failed && !s->started && s->result == 0 && s->status == 0, "a program that is not there");
    is_str(s->stage, "exec", "stage");
    is_int(s->errnum, ENOENT, "errno");
    is_str(s->message, "cannot execute: no-such-program", "message");
    plan refused = {.argv = {"/etc/passwd"}};
    is_int(run_plan(&refused)->errnum, EACCES, "a file that is no program");
    plan text = {.argv = {"./text"}, .file = "text"};
    is_int(run_plan(&text)->errnum, EACCES, "a file without the x bit");
    plan path = {.argv = {"true"}};
    is_int(run_plan(&path)->final.exit_code, 0, "PATH is searched");
    plan twice = {ACT("exit", "0"), .file = "act"};
    s = run_plan(&twice);
    ok(s->failed && strcmp(s->stage, "file") == 0 && s->errnum == EEXIST, "a file that exists");
    plan big = {ACT("exit", "0"), .file = "sub/dir/big", .file_len = 70 << 20};
    s = run_plan(&big);
    ok(s->failed && strcmp(s->stage, "file") == 0 && s->errnum == ENOSPC, "a file without room");
    plan dots = {ACT("exit", "0"), .file = "../x"};
    s = run_plan(&dots);
    ok(s->failed && strcmp(s->stage, "file") == 0 && s->errnum == EINVAL, "a path with ..");

    static const unsigned char junk[][12] = {
        {MS_F_GO, 0, 0, 0, 0, 0, 0, 0},      {MS_F_REQUEST, 0, 0, 0, 255, 0, 0, 0},
        {MS_F_REQUEST, 0, 0, 0, 0, 0, 0, 0}, {MS_F_REQUEST, 0, 0, 0, 0, 0, 0, 3, 1, 1, 1},
        {MS_F_REQUEST, 1, 0, 0, 0, 0, 0, 0}, {0x55, 0, 0, 0, 0, 0, 0, 0}};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        plan p = {.raw = junk[i], .raw_len = 12};
        s = run_plan(&p);
        ok(!s->hung && s->failed && strcmp(s->stage, "request") == 0, "broken request %zu", i);
    }
}

static void test_hostile(void)
{
    plan forge = {ACT("forge", "")};
    seen *s = run_plan(&forge);
    ok(whole(s) && s->final.exit_code == 7 && s->out.len == 24, "forged frames are payload");
    plan steal = {ACT("steal", ""), .out_max = (uint64_t)1 << 32};
    s = run_plan(&steal);
    ok(whole(s) && s->final.exit_code == 0, "a program that reads its own stdout");
    for (unsigned int i = 0; i < 2; i++) {
        plan reach = {ACT("reach", ""), .flags = i ? MS_FLAG_LANDLOCK : 0};
        s = run_plan(&reach);
        ok(whole(s) && s->final.exit_code == 0, "process 1 survives%s", i ? ", Landlock" : "");
        ok(s->out.data != NULL && strstr(s->out.data, "OPEN") == NULL &&
               strstr(s->out.data, "/proc/1/mem no") != NULL &&
               strstr(s->out.data, "alive") != NULL,
           "and cannot be reached");
    }
    plan confined = {ACT("confined", ""), .flags = MS_FLAG_LANDLOCK};
    s = run_plan(&confined);
    ok(whole(s) && s->final.landlocked == (s->landlock > 0), "Landlock %d", (int)s->landlock);
    if (s->landlock >= 6)
        is_str(s->out.data, "adj=0 home=1 null=1 rename=0 stdout=1 kill=-1", "what it allows");
    else
        skip("Landlock with scopes");
}

static void test_artefacts(void)
{
    plan p = {ACT("artefacts", "")};
    seen *s = run_plan(&p);
    ok(whole(s), "artefacts of all kinds");
    is_str(s->value.data, "xxxxxxxxxxxx", "the result file");
    static const char *const want[][2] = {
        {"plain.txt", "taken"},   {"empty", "taken"},          {"second-name", "taken"},
        {"link", "symlink"},      {"link-to-dir", "symlink"},  {"fifo", "special"},
        {"bad?name", "name"},     {"bad\\name", "name"},       {"f\xc3\xbcr.txt", "taken"},
        {"secret", "unreadable"}, {"sparse", "size"},          {"sub/inner", "taken"},
        {"deep/here", "taken"},   {"deep/d/d/d/here", "taken"}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        is_str(reason_of(s, want[i][0]), want[i][1], "artefact %s", want[i][0]);
    is_int(size_of(s, "plain.txt"), 5, "size");
    is_int(size_of(s, "sub/inner"), 70000, "size");
    int deep = 0, too_deep = 0;
    for (size_t i = 0; i < s->file_count; i++) {
        deep += strncmp(s->files[i].path, "deep", 4) == 0 && s->files[i].taken;
        too_deep += strncmp(s->files[i].path, "deep", 4) == 0 && !s->files[i].taken;
        if (strcmp(s->files[i].path, "plain.txt") == 0)
            is_int(s->files[i].mode, 0600, "mode");
    }
    is_int(deep, 31, "files down to the depth limit");
    is_int(too_deep, 1, "and one refusal below");

    plan many = {ACT("many", "2000"), .count_max = 50};
    s = run_plan(&many);
    is_int((long long)s->file_count, 51, "the count limit ends the walk");
    ok(whole(s) && s->file_count == 51 && strcmp(s->files[50].reason, "count") == 0, "and says so");
    plan links = {ACT("many-links", "2000")};
    s = run_plan(&links);
    is_int((long long)s->file_count, 257, "refusals are limited too");
    ok(whole(s) && strcmp(s->files[256].reason, "count") == 0, "and end with a count");
    plan few = {ACT("many", "20"), .bytes_max = 10};
    s = run_plan(&few);
    int taken = 0;
    for (size_t i = 0; i < s->file_count; i++)
        taken += s->files[i].taken;
    ok(whole(s) && taken == 10 && s->file_count == 20, "the limit of all bytes");
    plan renew = {ACT("renew", "")};
    s = run_plan(&renew);
    ok(whole(s) && size_of(s, "new") == 4, "an output directory that was made anew");
}

static void test_value(void)
{
    plan link = {ACT("value", "link")};
    is_str(reason_of(run_plan(&link), "result"), "symlink", "a result that is a link");
    plan dir = {ACT("value", "dir")};
    is_str(reason_of(run_plan(&dir), "result"), "special", "a result that is a directory");
    plan big = {ACT("value", "2001"), .value_max = 2000};
    is_str(reason_of(run_plan(&big), "result"), "size", "a result that is too long");
    plan fits = {ACT("value", "2000"), .value_max = 2000};
    is_int((long long)run_plan(&fits)->value.len, 2000, "a result that just fits");
    plan empty = {ACT("value", "0")};
    seen *s = run_plan(&empty);
    ok(s->value_set && s->value.len == 0, "an empty result");
    plan none = {ACT("exit", "0")};
    s = run_plan(&none);
    ok(!s->value_set && s->file_count == 0, "no result");
}

static void test_probe(void)
{
    plan p = {ACT("exit", "0"), .check = true};
    seen *s = run_plan(&p);
    ok(whole(s) && s->probe && s->final.exit_code == 0, "the self-check comes first");
    static const char *const parts[] = {"[status]\nName:",  "[mounts]\n",      "[net]\n",
                                        "[route]\n",        "[ns]\ncgroup ",   "[cgroup]\nversion ",
                                        "[limits]\nLimit",  "[id]\n1000 1000", "\n/proc/kcore ",
                                        "[oom_score_adj]\n"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (s->probes.data == NULL || strstr(s->probes.data, parts[i]) == NULL)
            ok(false, "it has %s", parts[i]);
    if (getenv("MOONSAND_TEST_VERBOSE") != NULL && s->probes.data != NULL)
        fprintf(stderr, "%s\n", s->probes.data);
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "--act") == 0)
        return act(argv[2], argv[3]);
    if (!harness_open())
        return done_testing();
    test_endings();
    test_limits();
    test_processes();
    test_input();
    test_failures();
    test_hostile();
    test_artefacts();
    test_value();
    test_probe();
    harness_close();
    return done_testing();
}

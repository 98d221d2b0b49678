/* Reports through the real agent: a line each, bounded and counted, whatever a program does with
 * the pipe; from programs of its own and from forks of a warm interpreter. */
#include "agent_server.h"

#define R "/dev/fd/15"
#define SHELL(code) .argv = {"sh", "-c", code}, .flags = MS_FLAG_REPORTS

static bool whole(const seen *s)
{
    bool good = !s->hung && s->result == 0 && s->finished;
    if (!good)
        diag("hung %d, result %d, finished %d, failed '%s', stderr '%s'", s->hung, s->result,
             s->finished, s->message, s->err.data != NULL ? s->err.data : "");
    return good;
}

/* The reports are these, and so many were dropped. */
static bool told(const seen *s, const char *reports, uint64_t dropped)
{
    bool good = whole(s) && strcmp(s->reports.data != NULL ? s->reports.data : "", reports) == 0 &&
                s->final.reports_dropped == dropped;
    if (!good)
        diag("%zu: '%.300s', %llu dropped, stderr '%.300s'", s->report_count,
             s->reports.data != NULL ? s->reports.data : "",
             (unsigned long long)s->final.reports_dropped, s->err.data != NULL ? s->err.data : "");
    return good;
}

/* ---- a program of its own ------------------------------------------------------------------- */

static void test_lines(void)
{
    plan one = {SHELL("echo '{\"a\":1}' >" R "; echo out; echo '{\"a\":2}' >>" R)};
    seen *s = run_plan(&one);
    ok(told(s, "{\"a\":1}\n{\"a\":2}\n", 0) && strcmp(s->out.data, "out\n") == 0,
       "lines of a shell script");
    plan blank = {SHELL("printf '\\n\\n1\\n\\n\\n2\\n\\n' >" R)};
    ok(told(run_plan(&blank), "1\n2\n", 0), "blank lines are none");
    plan cut = {SHELL("printf '1\\n2' >" R "; printf 3 >" R)};
    ok(told(run_plan(&cut), "1\n23\n", 0), "the last needs no end");
    plan nobody = {.argv = {"sh", "-c", "(echo 1 >" R ") 2>/dev/null || echo none"}};
    s = run_plan(&nobody);
    ok(told(s, "", 0) && strcmp(s->out.data, "none\n") == 0, "not asked for: no descriptor");
    plan closed = {SHELL("echo 1 >" R "; sleep .1; exec python3 -c '\n"
                         "import os, time\n"
                         "os.close(15); time.sleep(.1); os.write(1, b\"went on\")'")};
    s = run_plan(&closed);
    ok(told(s, "1\n", 0) && s->out.data != NULL && strcmp(s->out.data, "went on") == 0,
       "the program closes the pipe");
    plan zeros = {
        .argv = {"python3", "-c", "import os; os.write(15, b'\\0' * 10 + b'\\n\\xff\\n')"},
        .flags = MS_FLAG_REPORTS};
    s = run_plan(&zeros);
    ok(whole(s) && s->report_count == 2 && s->reports.len == 13 &&
           memcmp(s->reports.data, "\0\0\0\0\0\0\0\0\0\0\n\xff\n", 13) == 0,
       "binary zeros, and bytes that are no text");
}

static void test_bounds(void)
{
    plan long_ones = {.argv = {"python3", "-c",
                               "import os\n"
                               "def put(b):\n"
                               "    while b: b = b[os.write(15, b):]\n"
                               "put(b'a' * 65536 + b'\\n')\n"
                               "put(b'b' * 65537 + b'\\n')\n"
                               "put(b'c' * 200000 + b'\\n1\\n')\n"
                               "put(b'd' * 65537)\n"},
                      .flags = MS_FLAG_REPORTS};
    seen *s = run_plan(&long_ones);
    ok(whole(s) && s->report_count == 2 && s->reports.len == 65537 + 2 &&
           s->reports.data[0] == 'a' && s->reports.data[65535] == 'a' &&
           s->final.reports_dropped == 3,
       "the longest, and three that are too long (%zu, %llu)", s->report_count,
       (unsigned long long)s->final.reports_dropped);
    plan many = {.argv = {"python3", "-c",
                          "import os\n"
                          "b = b''.join(b'%d\\n' % i for i in range(12345))\n"
                          "while b: b = b[os.write(15, b):]\n"
                          "print('done')"},
                 .flags = MS_FLAG_REPORTS};
    s = run_plan(&many);
    ok(whole(s) && s->report_count == MS_REPORTS_MAX && s->final.reports_dropped == 2345 &&
           strncmp(s->reports.data, "0\n1\n2\n", 6) == 0 && strstr(s->reports.data, "\n9999\n") &&
           strcmp(s->out.data, "done\n") == 0,
       "the most, and the first of them");
    plan bytes = {.argv = {"python3", "-c",
                           "import os\n"
                           "line = b'x' * 60000 + b'\\n'\n"
                           "for i in range(400):\n"
                           "    b = line\n"
                           "    while b: b = b[os.write(15, b):]\n"
                           "os.write(15, b'small\\n')\n"},
                  .flags = MS_FLAG_REPORTS};
    s = run_plan(&bytes);
    size_t most = MS_REPORTS_BYTES_MAX / 60000;
    ok(whole(s) && s->report_count == most + 1 && s->final.reports_dropped == 400 - most,
       "the most bytes of all; one that still fits does (%zu)", s->report_count);
    plan giga = {.argv = {"python3", "-c",
                          "import os\n"
                          "b = b'x' * (1 << 20)\n"
                          "for i in range(1024):\n"
                          "    n = 0\n"
                          "    while n < len(b): n += os.write(15, b[n:] if n else b)\n"
                          "os.write(15, b'\\nend\\n')\n"},
                 .flags = MS_FLAG_REPORTS};
    ok(told(run_plan(&giga), "end\n", 1), "a line of a gigabyte");
}

/* The end does not wait for those that would go on. */
static void test_writers_left(void)
{
    plan left = {.argv = {"python3", "-c",
                          "import os, time\n"
                          "if os.fork() == 0:\n"
                          "    os.setsid()\n"
                          "    while True: os.write(15, b'{\"x\":1}\\n' * 100)\n"
                          "time.sleep(.1)\nos._exit(3)"},
                 .flags = MS_FLAG_REPORTS};
    seen *s = run_plan(&left);
    ok(whole(s) && s->final.exit_code == 3 && s->final.stragglers == 1 && s->took < 5 &&
           s->report_count <= MS_REPORTS_MAX,
       "a child that goes on reporting is killed (%.2f s, %zu, %llu dropped)", s->took,
       s->report_count, (unsigned long long)s->final.reports_dropped);
    left.read_after_ms = 500;
    s = run_plan(&left);
    ok(whole(s) && s->final.exit_code == 3 && s->took < 5, "while the host does not read, too");
    plan late = {.argv = {"python3", "-c", "import os\nwhile True: os.write(15, b'x' * 4096)"},
                 .flags = MS_FLAG_REPORTS,
                 .wall_ms = 300};
    s = run_plan(&late);
    ok(whole(s) && s->final.killed == MS_KILLED_TIMEOUT && s->took < 5 && s->report_count == 0 &&
           s->final.reports_dropped == 1,
       "a flood without an end meets the time limit");
    plan both = {.argv = {"python3", "-c",
                          "import os\n"
                          "for i in range(300):\n"
                          "    os.write(15, b'{}\\n' * 30); os.write(1, b'o' * 3000)\n"
                          "    os.write(2, b'e' * 3000)"},
                 .flags = MS_FLAG_REPORTS,
                 .read_size = 4096};
    s = run_plan(&both);
    ok(whole(s) && s->report_count == 9000 && s->out.len == 900000 && s->err.len == 900000,
       "reports among output");
    plan limit = {SHELL("echo 1 >" R "; sleep .2; head -c 100000 /dev/zero"), .out_max = 1000};
    s = run_plan(&limit);
    ok(told(s, "1\n", 0) && s->final.killed == MS_KILLED_STDOUT, "and before the limit of output");
}

/* What looks like frames of the agent stays a report. */
static void test_forged(void)
{
    plan forge = {.argv = {"python3", "-c",
                           "import os, struct\n"
                           "final = struct.pack('>BxxxI', 0x8c, 0)\n"
                           "os.write(15, final + struct.pack('>BxxxI', 0x91, 1 << 30) + b'\\n')\n"
                           "try: print(os.read(15, 1))\n"
                           "except OSError as e: print(e.strerror)\n"
                           "for fd in range(3, 64):\n"
                           "    if fd == 15: continue\n"
                           "    try: os.fstat(fd); print('descriptor', fd)\n"
                           "    except OSError: pass\n"
                           "os._exit(7)"},
                  .flags = MS_FLAG_REPORTS,
                  .env = "PYTHONUNBUFFERED=1"};
    seen *s = run_plan(&forge);
    ok(whole(s) && s->final.exit_code == 7 && s->report_count == 1 && s->reports.len == 17,
       "forged frames are a line");
    is_str(s->out.data, "Bad file descriptor\n", "and no other descriptor is there");
    plan packets = {.argv = {"python3", "-c",
                             "import os, fcntl\n"
                             "fcntl.fcntl(15, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK)\n"
                             "r = os.open('/proc/self/fd/15', os.O_RDONLY | os.O_NONBLOCK)\n"
                             "for i in range(50):\n"
                             "    try: os.write(15, b'{\"i\":%d}\\n' % i)\n"
                             "    except BlockingIOError: pass\n"
                             "    try: os.read(r, 3)\n"
                             "    except BlockingIOError: pass\n"},
                    .flags = MS_FLAG_REPORTS};
    s = run_plan(&packets);
    ok(whole(s) && s->final.exit_code == 0, "a program that reads its own reports back");
}

/* ---- a fork of a warm interpreter ------------------------------------------------------------ */

static seen *forked(host *h, const char *code)
{
    plan p = {.argv = {"python3", "main.py"}, .flags = MS_FLAG_REPORTS};
    return host_run(h, &p, "main.py", code);
}

static void test_fork(int tier)
{
    server_plan p = {.tier_lowest = 0};
    host h;
    if (!host_open(&h, &p) || (int)h.tier != tier) {
        skip("no tier %d here (%s %s)", tier, h.s.stage, h.s.message);
        host_close(&h);
        return;
    }
    seen *s = forked(&h, "import os\n"
                         "os.write(15, b'1\\n')\n"
                         "with open('" R "', 'a') as f: print(2, file=f)\n"
                         "os.system('echo 3 >" R "')\n");
    ok(told(s, "1\n2\n3\n", 0) && host_whole(&h), "tier %d: lines of a fork and its child", tier);
    s = host_python(&h,
                    "import os\ntry: os.write(15, b'x')\nexcept OSError as e: print(e.strerror)");
    ok(whole(s) && s->report_count == 0 && strcmp(s->out.data, "Bad file descriptor\n") == 0,
       "the next, which was not asked, has none");
    s = forked(&h, "import os\n"
                   "print([fd for fd in range(3, 64) if os.path.exists('/proc/self/fd/%d' % fd)])");
    ok(whole(s) && strcmp(s->out.data, "[15]\n") == 0, "no other descriptor: %s", s->out.data);
    plan shell = {.argv = {"sh", "-c", "echo in >" R "; cat"},
                  .flags = MS_FLAG_REPORTS,
                  .input = "text",
                  .input_len = 4};
    s = host_run(&h, &shell, NULL, NULL);
    ok(told(s, "in\n", 0) && host_whole(&h) && strcmp(s->out.data, "text") == 0,
       "another program, with standard input");
    s = forked(&h, "import os, time\n"
                   "if os.fork() == 0:\n"
                   "    os.setsid()\n"
                   "    while True: os.write(15, b'old\\n' * 100)\n"
                   "time.sleep(.05)\n");
    ok(whole(s) && host_whole(&h) && s->final.stragglers == 1 && s->report_count <= MS_REPORTS_MAX,
       "a child that goes on reporting is killed");
    s = forked(&h, "import os; os.write(15, b'new\\n')");
    ok(told(s, "new\n", 0) && host_whole(&h), "and nothing of it is in the next");
    s = forked(&h, "import os\nb = b'{}\\n' * 20000\nwhile b: b = b[os.write(15, b):]");
    ok(whole(s) && s->report_count == MS_REPORTS_MAX && s->final.reports_dropped == 10000,
       "the most");
    s = forked(&h, "import os; os.write(15, b'x' * 65537); os.write(15, b'\\nafter\\n')");
    ok(told(s, "after\n", 1) && host_whole(&h), "and each run has all of it");
    host_close(&h);
}

int main(void)
{
    if (!harness_open())
        return done_testing();
    test_lines();
    test_bounds();
    test_writers_left();
    test_forged();
    test_fork(MS_TIER_NAMESPACES);
    harness_refuses_namespaces = true;
    test_fork(MS_TIER_LANDLOCK);
    harness_close();
    return done_testing();
}

/* Runs of an agent with a fork server: real interpreters, real walls. What the server loads stands
 * in test_agent_interpreter.c, what its walls hold in test_agent_walls.c. */
#include <dirent.h>

#include "agent_server.h"

#define SCRIPT(...) .argv = {"python3", "main.py", __VA_ARGS__}

static const server_plan plain;

static void test_endings(host *h)
{
    static const struct {
        const char *code;
        int exit_code, signal;
    } ends[] = {
        {"pass", 0, 0},
        {"import sys; sys.exit(3)", 3, 0},
        {"import sys; sys.exit('sorry')", 1, 0},
        {"raise SystemExit(256 + 7)", 7, 0},
        {"raise SystemExit(2 ** 64)", 255, 0},
        {"raise SystemExit(-2 ** 63 - 1)", 255, 0},
        {"raise SystemExit(-2 ** 63 + 5)", 5, 0},
        {"import os; os._exit(9)", 9, 0},
        {"1/0", 1, 0},
        {"import os; os.kill(os.getpid(), 15)", -1, SIGTERM},
        {"import os; os.kill(os.getpid(), 9)", -1, SIGKILL},
        {"import os; os.abort()", -1, SIGABRT},
        {"raise KeyboardInterrupt", -1, SIGINT},
        {"import ctypes; ctypes.string_at(0)", -1, SIGSEGV},
    };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        host_python(h, ends[i].code);
        ok(host_whole(h) && h->s.final.exit_code == ends[i].exit_code &&
               h->s.final.signal == ends[i].signal && h->s.final.killed == 0 &&
               h->s.final.stragglers == 0,
           "%s: exit %d, signal %d", ends[i].code, h->s.final.exit_code, h->s.final.signal);
    }
}

/* Output that nobody flushed, when the run's environment says that there is no buffer. */
static void test_unbuffered(host *h)
{
    plan p = {SCRIPT(NULL), .env = "PYTHONUNBUFFERED=1"};
    host_run(h, &p, "main.py",
             "import os, sys\nprint('out', sys.stdout.name, end='')\nprint('err', end='',"
             " file=sys.stderr)\nos._exit(3)\n");
    ok(is(h, 3, "out <stdout>") && has(&h->s.err, "err"), "PYTHONUNBUFFERED");
    host_python(h, "import os\nprint('out', end='')\nos._exit(3)\n");
    ok(host_whole(h) && h->s.out.len == 0, "and without it");
}

/* What a program sees and prints is what it would be of its own interpreter. */
static void test_python(host *h)
{
    host_python(h, "def f():\n    raise ValueError('boom')\nf()\n");
    is_str(h->s.err.data,
           "Traceback (most recent call last):\n"
           "  File \"/tmp/work/main.py\", line 3, in <module>\n    f()\n"
           "  File \"/tmp/work/main.py\", line 2, in f\n    raise ValueError('boom')\n"
           "ValueError: boom\n",
           "a traceback without the server's frames");
    host_python(h, "x =\n");
    ok(has(&h->s.err, "  File \"/tmp/work/main.py\", line 1\n    x =\n") &&
           has(&h->s.err, "SyntaxError: invalid syntax\n") && h->s.err.data[0] == ' ' &&
           h->s.final.exit_code == 1,
       "a syntax error");
    plan args = {SCRIPT("one", "two words", "")};
    host_run(h, &args, "main.py",
             "import sys, os, __main__\n"
             "print(sys.argv, __name__, __file__, __main__.__dict__ is globals(), sys.path[0],"
             " os.getcwd(), os.getenv('PATH'), os.environ.get('HOME'), len(os.environ))\n");
    ok(is(h, 0,
          "['main.py', 'one', 'two words', ''] __main__ /tmp/work/main.py True /tmp/work "
          "/tmp/work /usr/bin:/bin /tmp 2\n"),
       "arguments, environment, directory");
    plan code = {.argv = {"python3", "-c", "import sys; print(sys.argv, repr(sys.path[0]))", "a"}};
    host_run(h, &code, NULL, NULL);
    ok(is(h, 0, "['-c', 'a'] ''\n"), "-c");
    plan module = {.argv = {"python3", "-m", "main", "a"}};
    host_run(h, &module, "main.py", "import sys; print(sys.argv, __name__, sys.path[0])");
    ok(is(h, 0, "['/tmp/work/main.py', 'a'] __main__ /tmp/work\n"), "-m");
    plan directory = {.argv = {"python3", "."}};
    host_run(h, &directory, "__main__.py",
             "print(__name__, [k for k in globals() if k[0] != '_'], __file__)");
    ok(is(h, 0, "__main__ [] /tmp/work/__main__.py\n"), "a directory");
    plan missing = {SCRIPT(NULL)};
    host_run(h, &missing, NULL, NULL);
    ok(host_whole(h) && h->s.final.exit_code == 2 && has(&h->s.err, "can't open file"),
       "a script that is not there");
    host_python(h, "import atexit, threading, time\n"
                   "atexit.register(print, 'last')\n"
                   "threading.Thread(target=lambda: (time.sleep(.05), print('thread'))).start()\n"
                   "f = open('/tmp/out/open.txt', 'w'); f.write('kept'); print('main')\n");
    ok(is(h, 0, "main\nthread\nlast\n") && h->s.file_count == 1 && h->s.files[0].len == 4,
       "threads, exit functions and open files at the end");
    host_python(h, "import os, sys, types\n"
                   "late = sys.modules['late'] = types.ModuleType('late')\n"
                   "late.f = open('/tmp/out/late.txt', 'w'); late.f.write('kept'); del late\n"
                   "sys.modules['os'] = sys.modules.pop('os'); print('os' in sys.modules)\n");
    ok(is(h, 0, "True\n") && h->s.file_count == 1 && h->s.files[0].len == 4,
       "and those that only a module holds");
    host_python(h, "import signal, sys\n"
                   "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
                   " signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,"
                   " signal.pthread_sigmask(signal.SIG_BLOCK, []),"
                   " sys.stdin.read() == '', sys.flags.isolated)\n");
    ok(is(h, 0, "True True set() True 0\n"), "signals and standard input");
    host_python(h, "import sys; sys.stdout.write('no newline'); sys.stderr.write('e')");
    ok(is(h, 0, "no newline") && has(&h->s.err, "e"), "streams are flushed");
}

static void test_fresh(host *h)
{
    host_python(h, "import random, os, builtins, sys\n"
                   "builtins.planted = 1; sys.path.append('/planted'); os.umask(0)\n"
                   "import json; json.dumps = None; os.environ['PLANTED'] = '1'\n"
                   "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
                   "open('/tmp/planted', 'w'); os.chdir('/')\n"
                   "print(random.random(), os.getpid())\n");
    char first[64];
    ok(host_whole(h), "a run that changes all it can");
    snprintf(first, sizeof first, "%s", h->s.out.data != NULL ? h->s.out.data : "");
    host_python(h, "import random, os, builtins, sys, json, resource\n"
                   "print(hasattr(builtins, 'planted'), '/planted' in sys.path, oct(os.umask(18)),"
                   " json.dumps is None, 'PLANTED' in os.environ,"
                   " resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64,"
                   " sorted(os.listdir('/tmp')), sorted(os.listdir('/proc/self/fd')))\n"
                   "print(random.random(), os.getpid(), file=sys.stderr)\n");
    ok(is(h, 0, "False False 0o22 False False False ['out', 'work'] ['0', '1', '2', '3']\n"),
       "nothing of it is there in the next");
    ok(h->s.err.data != NULL && strcmp(first, h->s.err.data) != 0, "and chance is another");
}

static void test_limits(host *h)
{
    plan late = {SCRIPT(NULL), .wall_ms = 300};
    host_run(h, &late, "main.py", "import time\nprint('partial', flush=True)\ntime.sleep(60)\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_TIMEOUT && h->s.final.signal == SIGKILL &&
           h->s.took < 0.8,
       "timeout: %.3f s", h->s.took);
    is_str(h->s.out.data, "partial\n", "partial output is kept");
    plan spin = {SCRIPT(NULL), .wall_ms = 300};
    host_run(h, &spin, "main.py", "while True: pass\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_TIMEOUT && h->s.final.cpu_ns > 20000000,
       "a busy one: %.3f s of CPU", (double)h->s.final.cpu_ns / 1e9);
    plan out = {SCRIPT(NULL), .out_max = 100000};
    host_run(h, &out, "main.py", "while True: print('x' * 1000)\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_STDOUT && h->s.out.len == 100000,
       "too much output");
    plan err = {SCRIPT(NULL), .err_max = 1000};
    host_run(h, &err, "main.py", "import sys\nwhile True: print('x' * 1000, file=sys.stderr)\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_STDERR && h->s.err.len == 1000,
       "too much of the other");
    plan killed = {SCRIPT(NULL), .kill_after_ms = 50};
    host_run(h, &killed, "main.py", "import time\ntime.sleep(60)\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_HOST && h->s.final.signal == SIGKILL,
       "KILL");
    plan never = {SCRIPT(NULL), .kill_after_ms = -1};
    host_run(h, &never, "main.py", "");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_HOST && !h->s.started, "KILL before GO");
    plan fsize = {SCRIPT(NULL), .fsize = 1000};
    host_run(h, &fsize, "main.py",
             "open('/tmp/big', 'wb', 0).write(b'x' * 2000)\n"
             "open('/tmp/big', 'ab', 0).write(b'x' * 2000)\n");
    ok(host_whole(h) && h->s.final.exit_code == 1 && has(&h->s.err, "File too large"),
       "the file size limit");
    host_python(h, "print('well')");
    ok(is(h, 0, "well\n"), "and after all that a good run");
}

static void test_processes(host *h)
{
    host_python(h, "import os, time, signal\n"
                   "for i in range(3):\n"
                   "    if os.fork() == 0:\n"
                   "        signal.signal(15, signal.SIG_IGN); os.setsid()\n"
                   "        if os.fork(): os._exit(0)\n"
                   "        while True: time.sleep(1)\n"
                   "time.sleep(.1); print('left')\n");
    ok(is(h, 0, "left\n") && h->s.final.stragglers == 3 && h->s.took < 2, "daemons: %u of them",
       h->s.final.stragglers);
    /* The next run's processes are made while these are looked for, and are left alone. */
    unsigned int round = 0;
    for (bool good = true; good && round < 300; round += good) {
        host_python(h, "import os, time\nif os.fork() == 0: time.sleep(60)\n");
        good = host_whole(h) && h->s.final.stragglers == 1;
    }
    is_int(round, 300, "runs that leave one behind");
    plan bomb = {SCRIPT(NULL), .wall_ms = 2000};
    host_run(h, &bomb, "main.py",
             "import os, mmap, time\n"
             "n = mmap.mmap(-1, 8)\n"
             "while True:\n"
             "    if int.from_bytes(n[:4], 'little') < 200:\n"
             "        n[:4] = (int.from_bytes(n[:4], 'little') + 1).to_bytes(4, 'little')\n"
             "        os.fork()\n"
             "    else:\n"
             "        time.sleep(.01)\n");
    ok(host_whole(h) && h->s.final.killed == MS_KILLED_TIMEOUT && h->s.took < 6 &&
           h->s.final.stragglers > 20,
       "a fork bomb: %u processes, %.2f s", h->s.final.stragglers, h->s.took);
    host_python(h, "import os\ntry:\n    os.kill(-1, 9)\nexcept OSError: pass\nprint('alive')");
    ok(host_whole(h), "a program that kills all it can");
    plan shell = {.argv = {"sh", "-c", "echo $0 $HOME; cat; exit 5"}};
    host_run(h, &shell, NULL, NULL);
    ok(is(h, 5, "sh /tmp\n"), "another program");
    plan other = {.argv = {"python3", "-S", "-c", "import sys; print(sys.flags.no_site)"}};
    host_run(h, &other, NULL, NULL);
    ok(is(h, 0, "1\n"), "an interpreter with options of its own");
    host_python(h, "import subprocess\n"
                   "print(subprocess.run(['cat', '/proc/self/status'], capture_output=True,"
                   " text=True).stdout)\n");
    ok(has(&h->s.out, "Seccomp:\t2\n") && has(&h->s.out, "CapBnd:\t0000000000000000\n"),
       "the walls hold what it executes");
    host_python(h, "import multiprocessing as m\n"
                   "if __name__ == '__main__':\n"
                   "    with m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))\n");
    ok(is(h, 0, "[1, 2]\n"), "multiprocessing");
}

static void test_streams(host *h)
{
    size_t n = 3 << 20;
    unsigned char *bytes = malloc(n);
    unsigned long sum = 0;
    for (size_t i = 0; i < n; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 251);
        sum += bytes[i];
    }
    char want[64];
    snprintf(want, sizeof want, "%zu %lu\n", n, sum);
    plan in = {SCRIPT(NULL), .input = bytes, .input_len = n};
    host_run(h, &in, "main.py", "import sys\nb = sys.stdin.buffer.read()\nprint(len(b), sum(b))\n");
    ok(is(h, 0, want), "3 MiB of standard input");
    plan deaf = {SCRIPT(NULL), .input = bytes, .input_len = n};
    host_run(h, &deaf, "main.py", "import os, time\nos.close(0)\ntime.sleep(.1)\nprint('x')");
    ok(is(h, 0, "x\n"), "and a program that closes it");
    host_python(h, "print('after')");
    ok(is(h, 0, "after\n"), "what came too late disturbs nobody");
    plan lines = {SCRIPT(NULL), .input = "one\ntwo\n", .input_len = 8};
    host_run(h, &lines, "main.py", "print(input(), input())\n");
    ok(is(h, 0, "one two\n"), "lines");
    host_python(h, "import sys\nfor i in range(200000): print(i % 10, end='')\n");
    ok(host_whole(h) && h->s.out.len == 200000, "much output");
    host_python(h, "import os, json\n"
                   "open('/tmp/out/a.txt', 'w').write('hello')\n"
                   "os.symlink('/etc/passwd', '/tmp/out/link')\n"
                   "os.makedirs('/tmp/out/d/e'); open('/tmp/out/d/e/f', 'w').write('x' * 70000)\n"
                   "json.dump({'a': 1}, open('/tmp/result', 'w'))\n");
    ok(host_whole(h) && h->s.file_count == 3, "artefacts");
    is_str(h->s.value.data, "{\"a\": 1}", "and a value");
    free(bytes);
}

/* The programs of all of these, in this order, on one server. */
static void test_tier(uint64_t tier, const char *namespaces)
{
    host h;
    if (!ok(host_open(&h, &plain), "a server of Python"))
        diag("%s: %s", h.s.stage, h.s.message);
    is_int(h.tier, tier, "its tier");
    is_str(h.namespaces, namespaces, "and namespaces");
    test_endings(&h);
    test_python(&h);
    test_unbuffered(&h);
    test_fresh(&h);
    test_limits(&h);
    test_processes(&h);
    test_streams(&h);
    ms_agent_put(&h.out, MS_F_PING, NULL, 0);
    double end = harness_now() + 2;
    while (h.pongs == 0 && harness_now() < end)
        (void)host_turn(&h, 50);
    ok(h.pongs == 1, "PING between runs");
    ok(!h.retired, "the server is as it was: %s", h.reason);
    ok(WIFEXITED(host_close(&h)), "all ends when the host hangs up");
}

/* ---- from outside -----------------------------------------------------------------------------
 */

static long entries_of(const char *path)
{
    DIR *d = opendir(path);
    long n = 0;
    if (d == NULL)
        return -1;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

struct usage {
    long descriptors, kib; /* of memory of its own; maps likewise */
};

static struct usage usage_of(pid_t pid)
{
    struct usage u = {0, 0};
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    u.descriptors = entries_of(path);
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "VmData:", 7) == 0)
            u.kib = strtol(line + 7, NULL, 10);
    if (f != NULL)
        fclose(f);
    return u;
}

/* Runs in great number leave nothing behind, neither in the agent nor in the server. */
static void test_many(void)
{
    enum { RUNS = 1000, FIRST = 50 };
    static const char *const who[] = {"the agent", "the server"};
    struct usage before[2], after[2];
    host h;
    bool good = host_open(&h, &plain);
    ok(good, "a server for many runs");
    pid_t agent = child_of(h.pid);
    const pid_t pids[] = {agent, child_of(agent)};
    for (unsigned i = 0; i < RUNS && good; i++) {
        char code[160], want[32];
        snprintf(code, sizeof code,
                 "open('/tmp/out/a', 'w').write('x')\nopen('/tmp/result', 'w').write('1')\n"
                 "print(%u)\n",
                 i);
        snprintf(want, sizeof want, "%u\n", i);
        host_python(&h, code);
        good = is(&h, 0, want) && h.s.file_count == 1 && h.s.value.len == 1;
        for (int k = 0; k < 2 && i == FIRST; k++)
            before[k] = usage_of(pids[k]);
    }
    ok(good && h.readies == RUNS + 1, "%u runs, all good", h.readies - 1);
    for (int k = 0; k < 2 && good; k++) {
        after[k] = usage_of(pids[k]);
        ok(before[k].descriptors > 2 && after[k].descriptors == before[k].descriptors &&
               after[k].kib == before[k].kib,
           "%s: %ld entries in fd, before %ld; %ld KiB, before %ld", who[k], after[k].descriptors,
           before[k].descriptors, after[k].kib, before[k].kib);
    }
    host_close(&h);
}

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

/* From GO to FINAL, and from there to READY: `test_agent_fork --measure RUNS [MODULE]`. */
static void measure(size_t runs, const char *module)
{
    server_plan p = {.preload = {module}};
    double *took = calloc(runs, sizeof *took), began = 0;
    host h;
    if (!host_open(&h, &p)) {
        diag("%s: %s", h.s.stage, h.s.message);
        return;
    }
    for (size_t i = 0; i < runs + 20; i++) {
        if (i == 20)
            began = harness_now();
        host_python(&h, "print(2+2)\n");
        if (!is(&h, 0, "4\n"))
            break;
        if (i >= 20)
            took[i - 20] = h.s.took;
    }
    double all = harness_now() - began;
    qsort(took, runs, sizeof *took, by_size);
    diag("to FINAL: p50 %.2f ms, p99 %.2f ms; %.0f runs/s; wall of the last %.2f ms",
         took[runs / 2] * 1e3, took[runs * 99 / 100] * 1e3, (double)runs / all,
         (double)h.s.final.wall_ns / 1e6);
    free(took);
    host_close(&h);
}

int main(int argc, char **argv)
{
    if (!harness_open())
        return done_testing();
    if (argc > 2 && strcmp(argv[1], "--measure") == 0)
        measure(strtoul(argv[2], NULL, 10), argc > 3 ? argv[3] : NULL);
    else {
        test_tier(MS_TIER_NAMESPACES, "user,mnt,pid,ipc,uts,net,cgroup");
        test_many();
        harness_refuses_namespaces = true;
        test_tier(MS_TIER_LANDLOCK, "");
    }
    harness_close();
    return done_testing();
}

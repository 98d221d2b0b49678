/* The agent with a fork server: real interpreters, real walls. */
#include <dirent.h>
#include <elf.h>

#include "agent_server.h"

#ifndef MS_AGENT_PATH
#define MS_AGENT_PATH "moonsand-agent"
#endif

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
    host_python(h, "import signal, sys\n"
                   "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler,"
                   " signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,"
                   " signal.pthread_sigmask(signal.SIG_BLOCK, []),"
                   " sys.stdin.read() == '', sys.flags.isolated)\n");
    ok(is(h, 0, "True True set() True 0\n"), "signals and standard input");
    host_python(h, "import sys; sys.stdout.write('no newline'); sys.stderr.write('e')");
    ok(is(h, 0, "no newline") && has(&h->s.err, "e"), "streams are flushed");
}

/* What a run names is what it gets, and what it tells an interpreter for its start is heard. */
static void test_chosen(void)
{
#define PRINT(what) "import sys; print(" what ", '__preload__' in sys.modules)"
    static const struct {
        plan p;
        const char *out;
    } runs[] = {
        {{.argv = {"python3", "-c", PRINT("sys.prefix")}}, "/usr True\n"},
        {{.argv = {"/usr/bin/python3", "-c", PRINT("sys.prefix")}}, "/usr True\n"},
        {{.argv = {"/opt/venv/bin/python3", "-c", PRINT("sys.prefix")}}, "/opt/venv False\n"},
        {{.argv = {"python3", "-c", PRINT("sys.flags.optimize")}, .env = "PYTHONOPTIMIZE=2"},
         "2 False\n"},
        {{.argv = {"python3", "-c", PRINT("sys.flags.utf8_mode")}, .env = "PYTHONUTF8=1"},
         "1 False\n"},
        {{.argv = {"python3", "-c", PRINT("sys.stdout.encoding")}, .env = "LC_ALL=C"},
         "utf-8 False\n"},
        {{.argv = {"python3", "-c", PRINT("sys.path[1]")}, .env = "PYTHONPATH=/tmp/mine"},
         "/tmp/mine True\n"},
        {{.argv = {"python3", "-c", PRINT("1")}, .env = "OTHER=PYTHONOPTIMIZE"}, "1 True\n"},
    };
    host h;
    server_plan p = {.script = "pass"};
    ok(host_open(&h, &p), "a server for what is chosen");
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        host_run(&h, &runs[i].p, NULL, NULL);
        ok(is(&h, 0, runs[i].out), "%s %s", runs[i].p.env != NULL ? runs[i].p.env : "",
           runs[i].p.argv[0]);
    }
    plan fork = {.argv = {"python3", "-c", "print(hash('a'))"}, .env = "PYTHONHASHSEED=0"};
    plan exec = {.argv = {"python3", "-S", "-c", "print(hash('a'))"}, .env = "PYTHONHASHSEED=0"};
    host_run(&h, &exec, NULL, NULL);
    char want[64];
    snprintf(want, sizeof want, "%s", h.s.out.data != NULL ? h.s.out.data : "");
    host_run(&h, &fork, NULL, NULL);
    ok(is(&h, 0, want), "PYTHONHASHSEED");
    host_close(&h);
    server_plan with = {.script = "pass", .env = "LC_ALL=C.UTF-8"};
    ok(host_open(&h, &with), "a server with a locale");
    host_run(&h, &runs[0].p, NULL, NULL);
    ok(is(&h, 0, "/usr False\n"), "and a run without");
    host_close(&h);
}

/* Libraries that were loaded with one thread use as many as the run says. */
static void test_thread_numbers(void)
{
    static const char code[] = "from __preload__ import lib\n"
                               "print(lib.omp_get_max_threads())\n";
    host h;
    server_plan p = {.script = "import ctypes\nlib = ctypes.CDLL('libgomp.so.1')\n",
                     .env = "OMP_NUM_THREADS=1"};
    if (!host_open(&h, &p)) {
        skip("no OpenMP here");
        host_close(&h);
        return;
    }
    static const char *const numbers[][2] = {{"OMP_NUM_THREADS=3", "3"},
                                             {"OMP_NUM_THREADS=2,4", "2"},
                                             {"OMP_NUM_THREADS=1", "1"},
                                             {"OMP_NUM_THREADS=many", "1"},
                                             {NULL, "1"}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        plan run = {SCRIPT(NULL), .env = numbers[i][0]};
        host_run(&h, &run, "main.py", code);
        ok(host_whole(&h) && h.s.out.len > 1 && h.s.out.data[0] == numbers[i][1][0],
           "%s: %s threads", numbers[i][0] != NULL ? numbers[i][0] : "nothing", numbers[i][1]);
    }
    host_close(&h);
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

static void test_preload(void)
{
    host h;
    server_plan json = {.preload = {"json", "fractions"},
                        .script = "import json\njson.warm = [1]\nTABLE = {1: 2}\n"};
    ok(host_open(&h, &json), "modules and a script");
    host_python(&h, "import sys\nfrom __preload__ import TABLE\n"
                    "print('fractions' in sys.modules, sys.modules['json'].warm, TABLE)\n");
    ok(is(&h, 0, "True [1] {1: 2}\n"), "are there before the program");
    host_close(&h);

    server_plan missing = {.preload = {"no_such_module"}};
    ok(!host_open(&h, &missing), "a module that is not there");
    is_str(h.s.stage, "preload", "stage");
    is_str(h.s.message, "ModuleNotFoundError: No module named 'no_such_module'", "message");
    host_close(&h);
    server_plan broken = {.script = "print('words')\n1/0\n"};
    ok(!host_open(&h, &broken), "a script that fails");
    is_str(h.s.message, "ZeroDivisionError: division by zero", "message");
    host_close(&h);
    server_plan ends = {.script = "import os; os._exit(3)\n"};
    ok(!host_open(&h, &ends), "a script that ends it");
    is_str(h.s.stage, "preload", "stage");
    host_close(&h);
    server_plan nobody = {.interpreter = "no-such-python"};
    ok(!host_open(&h, &nobody), "an interpreter that is not there");
    is_str(h.s.message, "cannot execute no-such-python: No such file or directory", "message");
    host_close(&h);
    server_plan threads = {.script = "import threading, time\n"
                                     "threading.Thread(target=time.sleep, args=(60,),"
                                     " daemon=True).start()\n"};
    ok(!host_open(&h, &threads), "a script that leaves threads");
    is_str(h.s.stage, "preload", "stage");
    is_str(h.s.message, "RuntimeError: the preload script left threads running", "message");
    host_close(&h);
}

/* Memory that a run could leave words in for the next. */
static void test_shared(void)
{
    static const char *const shared[] = {
        "m = mmap.mmap(-1, 4096)", "m = multiprocessing.Value('i', 0)",
        "m = mmap.mmap(-1, 4096, prot=mmap.PROT_READ)",
        "f = open('/tmp/f', 'w+b'); f.truncate(4096); "
        "m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close()",
        "m = multiprocessing.Lock()"};
    static const char own[] =
        "import mmap\nm = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "f = open('/etc/passwd', 'rb'); r = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)\n";
    char script[256];
    host h;
    for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
        snprintf(script, sizeof script, "import mmap, multiprocessing\n%s\n", shared[i]);
        server_plan p = {.script = script, .tier_lowest = MS_TIER_LANDLOCK};
        ok(!host_open(&h, &p) && strcmp(h.s.stage, "preload") == 0 &&
               strstr(h.s.message, "shares memory with all runs (/") != NULL,
           "%s: %s", shared[i], h.s.message);
        host_close(&h);
        p.tier_lowest = MS_TIER_NONE;
        ok(host_open(&h, &p), "in a container for one run it harms nobody");
        host_close(&h);
    }
    server_plan p = {.script = own, .tier_lowest = MS_TIER_LANDLOCK};
    ok(host_open(&h, &p), "memory of its own, and a file that is only read");
    host_python(&h, "from __preload__ import m, r\nm[0] = 7; print(m[0], len(r) > 0)\n");
    ok(is(&h, 0, "7 True\n"), "can be used");
    host_python(&h, "from __preload__ import m\nprint(m[0])\n");
    ok(is(&h, 0, "0\n"), "and is new for the next");
    host_close(&h);
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

/* Any image's interpreter must be able to load it: it asks for no library, and for no symbol that
 * may not be missing. */
static void test_library(void)
{
    static unsigned char bytes[1 << 20];
    static const char name[] = MS_AGENT_PATH;
    char path[1024];
    snprintf(path, sizeof path, "%.*s/moonsand-fork.so", (int)(strrchr(name, '/') - name), name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
    if (fd >= 0)
        close(fd);
    if (!ok(n > (ssize_t)sizeof(Elf64_Ehdr) && n < (ssize_t)sizeof bytes, "%s", path))
        return;
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)(const void *)bytes;
    const Elf64_Shdr *sections = (const Elf64_Shdr *)(const void *)(bytes + head->e_shoff);
    size_t needed = 0, unknown = 0, known = 0;
    for (size_t i = 0; i < head->e_shnum; i++) {
        const unsigned char *at = bytes + sections[i].sh_offset, *end = at + sections[i].sh_size;
        for (; sections[i].sh_type == SHT_DYNAMIC && at < end; at += sizeof(Elf64_Dyn))
            needed += ((const Elf64_Dyn *)(const void *)at)->d_tag == DT_NEEDED;
        for (; sections[i].sh_type == SHT_DYNSYM && at < end; at += sizeof(Elf64_Sym)) {
            const Elf64_Sym *symbol = (const Elf64_Sym *)(const void *)at;
            bool weak = ELF64_ST_BIND(symbol->st_info) == STB_WEAK;
            unknown += symbol->st_name != 0 && symbol->st_shndx == SHN_UNDEF && !weak;
            known += symbol->st_shndx != SHN_UNDEF;
        }
    }
    is_int(needed, 0, "it needs no library");
    is_int(unknown, 0, "and no symbol");
    ok(known >= 5, "and has its own");
}

static void test_lua(void)
{
    host h;
    server_plan lua = {.language = "lua",
                       .interpreter = "lua5.4",
                       .script = "function greet(who) return 'hello ' .. who end"};
    if (access("/usr/bin/lua5.4", X_OK) != 0) {
        skip("no lua5.4 here");
        return;
    }
    if (!ok(host_open(&h, &lua), "a server of Lua"))
        diag("%s: %s", h.s.stage, h.s.message);
    is_int(h.tier, MS_TIER_NAMESPACES, "its tier");
    plan p = {.argv = {"lua5.4", "main.lua", "a", "b c"}};
    host_run(&h, &p, "main.lua",
             "print(greet('you'), arg[0], arg[1], ..., #arg, os.getenv('HOME'))");
    ok(is(&h, 0, "hello you\tmain.lua\ta\ta\t2\t/tmp\n"), "a run");
    host_run(&h, &p, "main.lua", "greet = nil; local function f() error('boom') end\nf()");
    is_str(h.s.err.data,
           "lua5.4: main.lua:1: boom\nstack traceback:\n\t[C]: in function 'error'\n"
           "\tmain.lua:1: in local 'f'\n\tmain.lua:2: in main chunk\n\t[C]: in ?\n",
           "an error");
    is_int(h.s.final.exit_code, 1, "and its exit code");
    host_run(&h, &p, "main.lua", "x = = 1");
    ok(host_whole(&h) && h.s.final.exit_code == 1 &&
           has(&h.s.err, "lua5.4: main.lua:1: unexpected"),
       "a syntax error");
    host_run(&h, &p, "main.lua",
             "print(greet ~= nil); io.open('/tmp/out/f', 'w'):write('kept'); os.exit(7, true)");
    ok(is(&h, 7, "true\n") && h.s.file_count == 1 && h.s.files[0].len == 4,
       "the next is fresh; open files are written");
    plan code = {.argv = {"lua5.4", "-e", "print(2 + 2)"}};
    host_run(&h, &code, NULL, NULL);
    ok(is(&h, 0, "4\n"), "-e");
    host_run(&h, &p, "main.lua", "io.write(tostring(math.random()))");
    char first[64];
    snprintf(first, sizeof first, "%s", h.s.out.data != NULL ? h.s.out.data : "");
    host_run(&h, &p, "main.lua", "io.write(tostring(math.random()))");
    ok(host_whole(&h) && strcmp(first, h.s.out.data) != 0, "chance is another each time");
    host_close(&h);
    server_plan missing = {.language = "lua", .interpreter = "lua5.4", .preload = {"nosuch"}};
    ok(!host_open(&h, &missing) && strcmp(h.s.stage, "preload") == 0, "a module that is not there");
    host_close(&h);
}

static bool opens(host *h)
{
    return ok(host_open(h, &plain), "a server");
}

static void test_hostile(uint64_t tier)
{
    host h;
    if (!opens(&h))
        return;
    host_python(
        &h, "import ctypes, os, signal\n"
            "c = ctypes.CDLL(None, use_errno=True)\n"
            "def bad(what, r):\n"
            "    if r >= 0: print(what)\n"
            "def call(f, *a):\n"
            "    try:\n"
            "        f(*a); return 0\n"
            "    except OSError: return -1\n"
            "def read(path):\n"
            "    with open(path, 'rb') as f: f.read(1)\n"
            "pids = [int(p) for p in os.listdir('/proc') if p.isdigit()]\n"
            "assert len(pids) >= 4\n"
            "keepers = sorted(pids)[:3]\n" /* agent, server, init */
            "for p in keepers:\n"
            "    for f in ('mem', 'environ', 'fd/3', 'maps', 'auxv', 'io', 'exe', 'root/tmp'):\n"
            "        bad(f'read {p} {f}', call(read, f'/proc/{p}/{f}'))\n"
            "    for f in ('oom_score_adj', 'comm', 'clear_refs', 'uid_map', 'attr/current'):\n"
            "        bad(f'write {p} {f}', call(open, f'/proc/{p}/{f}', 'wb'))\n"
            "    if p == keepers[2] and os.getppid() == 1: continue\n" /* no signal ends it */
            "    if os.getppid() != 1: bad(f'kill {p}', call(os.kill, p, 0))\n"
            "    d = os.open(f'/proc/{p}', os.O_RDONLY)\n"
            "    bad(f'pidfd {p}', c.syscall(424, d, 0, None, 0))\n"
            "    bad(f'prlimit {p}', c.prlimit(p, 7, None, (ctypes.c_long * 2)()))\n"
            "    bad(f'vm {p}', c.process_vm_readv(p, None, 0, None, 0, 0))\n"
            "    bad(f'ptrace {p}', c.ptrace(16, p, None, None))\n"
            "bad('unshare', c.unshare(0x10000000)); bad('unshare', c.unshare(0x20000))\n"
            "bad('clone3', c.syscall(435, None, 0)); bad('setns', c.setns(0, 0))\n"
            "bad('mount', c.mount(b'x', b'/tmp', b'tmpfs', 0, None))\n"
            "bad('umount', c.umount2(b'/tmp', 2)); bad('chroot', c.chroot(b'/tmp'))\n"
            "bad('keyctl', c.syscall(250, 0, -3, 1)); bad('shmget', c.shmget(0, 4096, 0o1600))\n"
            "bad('mq_open', c.syscall(240, b'q', 0o101, 0o600, None))\n"
            "bad('bpf', c.syscall(321, 0, None, 0)); bad('uring', c.syscall(425, 1, None))\n"
            "for path in ('/x', '/usr/x', '/run/x', '/dev/x', '/var/tmp/x', '/proc/self/comm',\n"
            "             '/proc/self/oom_score_adj', '/proc/sys/kernel/hostname'):\n"
            "    bad('write ' + path, call(open, path, 'w'))\n"
            "print(open('/proc/self/oom_score_adj').read().strip())\n");
    ok(is(&h, 0, "1000\n"), "no way out of the walls");
    if (tier == MS_TIER_LANDLOCK) {
        host_python(&h, "import os\n"
                        "for p in os.listdir('/proc'):\n"
                        "    try: os.setpriority(os.PRIO_PROCESS, int(p), 10)\n"
                        "    except (OSError, ValueError): pass\n");
        ok(h.s.finished && h.retired && strcmp(h.reason, "processes") == 0,
           "who slows its keepers down ends the server: %s", h.reason);
        host_close(&h);
        if (!opens(&h))
            return;
    }
    host_python(&h, "import os, sys\n"
                    "os.chdir('/tmp'); os.makedirs('/tmp/a/b')\n"
                    "for i in range(900):\n"
                    "    os.mkdir('d'); os.chdir('d')\n"
                    "open('f', 'w').close()\n"
                    "os.chmod('/tmp/a/b', 0); os.chmod('/tmp/a', 0)\n"
                    "for i in range(1000): open('/tmp/f%d' % i, 'w').close()\n"
                    "open('/dev/shm/x', 'w').write('x' * 1000)\n"
                    "os.symlink('/', '/tmp/root')\n"
                    "try: os.chmod('/tmp', 0)\n"
                    "except OSError: pass\n"
                    "try: os.chmod('/dev/shm', 0)\n"
                    "except OSError: pass\n"
                    "print('made')\n");
    ok(is(&h, 0, "made\n"), "a deep, wide and forbidden tree");
    host_python(&h, "import os; print(os.listdir('/dev/shm'), sorted(os.listdir('/tmp')))\n");
    ok(is(&h, 0, "[] ['out', 'work']\n"), "is gone before the next run");
    host_python(&h, "import os\n"
                    "for p in (1, os.getppid()):\n"
                    "    for s in range(1, 65):\n"
                    "        try: os.kill(p, s)\n"
                    "        except OSError: pass\n"
                    "print('tried')\n");
    ok(is(&h, 0, "tried\n"), "signals to process 1 and the parent");
    host_python(&h, "import socket\n"
                    "s = socket.socket(socket.AF_UNIX); s.bind('\\0planted'); s.listen()\n"
                    "import os\nif os.fork() == 0:\n    import time; time.sleep(60)\n");
    ok(host_whole(&h) && h.s.final.stragglers == 1, "an abstract socket, and who holds it");
    host_python(&h, "import socket\n"
                    "try: socket.socket(socket.AF_UNIX).connect('\\0planted')\n"
                    "except OSError as e: print(e.strerror)\n");
    ok(is(&h, 0, "Connection refused\n"), "are gone");
    host_close(&h);
}

/* Where the kernel has no Landlock, namespaces and mounts alone keep it from all but /tmp. */
static void test_queues(void)
{
    host h;
    server_plan p = {.tier_lowest = MS_TIER_NAMESPACES};
    harness_refuses_landlock = true;
    if (!ok(host_open(&h, &p), "a server without Landlock"))
        diag("%s: %s", h.s.stage, h.s.message);
    is_int(h.s.landlock, 0, "there is none");
    is_int(h.tier, MS_TIER_NAMESPACES, "its tier");
    host_python(&h, "for d in ('/', '/dev', '/dev/mqueue', '/dev/shm', '/tmp'):\n"
                    "    try: open(d + '/x', 'w').close(); print(d)\n"
                    "    except OSError as e: print(e.strerror)\n");
    ok(is(&h, 0,
          "Read-only file system\nRead-only file system\nRead-only file system\n/dev/shm\n/tmp\n"),
       "what it may write");
    host_close(&h);
    harness_refuses_landlock = false;
}

/* A container for one run needs no walls of its own within: its modules are loaded all the same. */
static void test_no_tier(void)
{
    host h;
    server_plan p = {.preload = {"json"}, .tier_lowest = MS_TIER_NONE};
    harness_refuses_namespaces = harness_refuses_landlock = true;
    if (!ok(host_open(&h, &p), "a server with neither namespaces nor Landlock"))
        diag("%s: %s", h.s.stage, h.s.message);
    is_int(h.tier, MS_TIER_NONE, "its tier");
    is_str(h.namespaces, "", "and namespaces");
    host_python(&h,
                "import os, sys\n"
                "print('json' in sys.modules, [l.split()[1] for l in open('/proc/self/status')\n"
                "    if l[:7] in ('CapBnd:', 'NoNewPr', 'Seccomp')][:3])\n"
                "if os.fork() == 0:\n    import time; time.sleep(60)\n");
    ok(is(&h, 0, "True ['0000000000000000', '1', '2']\n"), "a run");
    is_int(h.s.final.stragglers, 1, "what it leaves is ended");
    is_int(h.s.final.landlocked, 0, "there was no Landlock");
    host_close(&h);
    p.tier_lowest = MS_TIER_LANDLOCK;
    ok(!host_open(&h, &p) && strcmp(h.s.stage, "isolation") == 0,
       "but not where runs are to be kept apart: %s", h.s.message);
    host_close(&h);
    harness_refuses_namespaces = harness_refuses_landlock = false;
}

/* What is used up for a moment makes no run's walls weaker, and is no reason to give them up. */
static void test_used_up(void)
{
    static const char refuse[] = /* clone3, in the server: EAGAIN, or whatever %d is */
        "import ctypes, struct\n"
        "code = b''.join(struct.pack('HBBI', *i) for i in ((0x20, 0, 0, 0), (0x15, 0, 1, 435),\n"
        "    (6, 0, 0, 0x50000 + %d), (6, 0, 0, 0x7fff0000)))\n"
        "c = ctypes.create_string_buffer(code)\n"
        "p = ctypes.create_string_buffer(struct.pack('HP', 4, ctypes.addressof(c)))\n"
        "assert ctypes.CDLL(None).prctl(22, 2, p, 0, 0) == 0\n";
    static const int passing[] = {EAGAIN, ENOMEM, ENFILE, EMFILE};
    char script[512];
    host h;
    server_plan p = {.script = script};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        snprintf(script, sizeof script, refuse, passing[i]);
        ok(!host_open(&h, &p) && strcmp(h.s.stage, "limit") == 0, "%s: %s", h.s.stage, h.s.message);
        is_int(h.s.errnum, passing[i], "why");
        host_close(&h);
    }
    snprintf(script, sizeof script, refuse, ENOSPC);
    ok(host_open(&h, &p), "a limit that stays");
    is_int(h.tier, MS_TIER_LANDLOCK, "leaves the tier below");
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
    const char *agent = getenv("MOONSAND_AGENT");
    if (!harness_open(agent != NULL ? agent : MS_AGENT_PATH)) {
        skip("no unprivileged namespaces here");
        return done_testing();
    }
    if (argc > 2 && strcmp(argv[1], "--measure") == 0)
        measure(strtoul(argv[2], NULL, 10), argc > 3 ? argv[3] : NULL);
    else {
        test_tier(MS_TIER_NAMESPACES, "user,mnt,pid,ipc,uts,net,cgroup");
        test_library();
        test_preload();
        test_shared();
        test_chosen();
        test_thread_numbers();
        test_many();
        test_lua();
        test_hostile(MS_TIER_NAMESPACES);
        test_queues();
        test_no_tier();
        test_used_up();
        harness_refuses_namespaces = true;
        test_tier(MS_TIER_LANDLOCK, "");
        test_hostile(MS_TIER_LANDLOCK);
    }
    harness_close();
    return done_testing();
}

/* The interpreter of a fork server: which it is, what is loaded into it ahead of the runs, what may
 * not be, and that each run gets the one that it names. */
#include <dlfcn.h>
#include <elf.h>

#include "agent_server.h"

#define SCRIPT(...) .argv = {"python3", "main.py", __VA_ARGS__}

static void library_path(char *out, size_t size)
{
    static const char agent[] = MS_AGENT_PATH;
    snprintf(out, size, "%.*s/moonsand-fork.so", (int)(strrchr(agent, '/') - agent), agent);
}

/* Any image's interpreter must be able to load it: it asks for no library, and for no symbol that
 * may not be missing. */
static void test_library(void)
{
    static unsigned char bytes[1 << 20];
    char path[1024];
    library_path(path, sizeof path);
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

/* What the interpreter's small objects lie in. */
static void test_arenas(void)
{
    char path[1024];
    library_path(path, sizeof path);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!ok(library != NULL, "it can be loaded"))
        return;
    void *(*take)(void *, size_t);
    void (*give)(void *, void *, size_t);
    *(void **)&take = dlsym(library, "moonsand_arena");
    *(void **)&give = dlsym(library, "moonsand_arena_free");
    const size_t size = 1 << 20, many = (size_t)2 << 30;
    char *a = take(NULL, size), *b = take(NULL, size), *c = take(NULL, size);
    ok(a != NULL && (uintptr_t)a % (2 << 20) == 0 && b == a + size && c == b + size,
       "arenas lie side by side");
    memset(a, 1, 3 * size);
    give(NULL, b, size);
    char *d = take(NULL, size);
    ok(d == c + size && a[size - 1] == 1 && *c == 1, "what is given back is not taken again");
    *d = 1;
    char *more = take(NULL, many);
    ok(more != NULL && (more + many <= a || more >= a + many),
       "more than is reserved is elsewhere");
    more[many - 1] = 1;
    give(NULL, more, many);
    ok(take(NULL, (size_t)1 << 62) == NULL, "more than there is is not given");
    ok(take(NULL, size) == d + size, "and all goes on");
    dlclose(library);

    host h;
    server_plan p = {.script = "kept = [str(i) * 2 for i in range(100000)]\n"};
    ok(host_open(&h, &p), "a server with some memory");
    host_python(&h, "from __preload__ import kept\n"
                    "for line in open('/proc/self/maps'):\n"
                    "    begin, end = [int(x, 16) for x in line.split()[0].split('-')]\n"
                    "    if begin <= id(kept[-1]) < end:\n"
                    "        print(begin % (2 << 20), end - begin >= 6 << 20,\n"
                    "              sum(begin <= id(k) < end for k in kept) > 90000)\n");
    ok(is(&h, 0, "0 True True\n"), "has it in one place");
    host_python(&h, "import resource\n"
                    "size = int(open('/proc/self/statm').read().split()[0]) * 4096\n"
                    "resource.setrlimit(resource.RLIMIT_AS, (size + (32 << 20),) * 2)\n"
                    "more = [str(i) * 2 for i in range(100000)]\n"
                    "print(size < 512 << 20, len(more))\n");
    ok(is(&h, 0, "True 100000\n"), "and reserves no more of it than it uses");
    host_close(&h);
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

int main(void)
{
    if (!harness_open())
        return done_testing();
    test_library();
    test_arenas();
    test_preload();
    test_shared();
    test_chosen();
    test_thread_numbers();
    test_lua();
    harness_close();
    return done_testing();
}

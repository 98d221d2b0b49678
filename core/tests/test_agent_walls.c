/* The walls of a fork server's runs: hostile programs, in each tier, and when there is less than
 * that. */
#include "agent_server.h"

static const server_plan plain;

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

int main(void)
{
    if (!harness_open())
        return done_testing();
    test_hostile(MS_TIER_NAMESPACES);
    test_queues();
    test_no_tier();
    test_used_up();
    harness_refuses_namespaces = true;
    test_hostile(MS_TIER_LANDLOCK);
    harness_close();
    return done_testing();
}

--- Programs that try the walls round a run: one probe that tells all it sees, and attacks on processes.
local M = {}

--- Prints JSON of what the program has, may do and may write.
M.probe = [[
import ctypes, json, os, socket
r = {}
st = dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    r[k] = int(st[k].strip(), 16)
r["nnp"], r["seccomp"] = st["NoNewPrivs"].strip(), st["Seccomp"].strip()
r["uid"], r["groups"] = os.getuid(), os.getgroups()
r["ifaces"] = sorted(l.split(":")[0].strip() for l in open("/proc/net/dev").readlines()[2:])
def can(path):
    try:
        with open(path, "w"): return True
    except OSError: return False
r["writable"] = [p for p in ("/x", "/usr/x", "/etc/x", "/run/x", "/var/tmp/x", "/var/x", "/proc/sys/kernel/hostname",
    "/sys/fs/cgroup/x", "/.moonsand/agent", "/home/x", "/mnt/x", "/sys/kernel/x") if can(p)]
r["tmp"] = can("/tmp/x")
libc = ctypes.CDLL(None, use_errno=True)
def call(n, *a):
    return -ctypes.get_errno() if libc.syscall(n, *a) < 0 else 0
import platform
x86 = platform.machine() == "x86_64"
nr = dict(ptrace=101, unshare=272, mount=165, keyctl=250, bpf=321, io_uring_setup=425, userfaultfd=323,
          perf_event_open=298, shmget=29, mknod=133, setns=308, add_key=248, process_vm_readv=310,
          clone3=435) if x86 else dict(ptrace=117, unshare=97, mount=40, keyctl=219, bpf=280,
          io_uring_setup=425, userfaultfd=282, perf_event_open=241, shmget=194, mknod=33, setns=268,
          add_key=217, process_vm_readv=270, clone3=435)
r["calls"] = {}
for name, n in nr.items():
    ctypes.set_errno(0)
    rc = call(n, 0x10000000 if name == "unshare" else 0, 0, 0, 0, 0, 0)
    r["calls"][name] = rc
r["sockets"] = []
for family in (1, 2, 10, 16, 17, 38, 40, 31, 29):
    try:
        socket.socket(family, socket.SOCK_STREAM if family in (1, 2, 10, 38, 40) else socket.SOCK_RAW).close()
        r["sockets"].append(family)
    except OSError: pass
r["secrets"] = [p for p in ("/proc/cmdline", "/proc/config.gz", "/proc/kallsyms", "/proc/locks", "/proc/keys",
    "/proc/timer_list", "/proc/kcore") if os.path.exists(p) and os.access(p, os.R_OK) and open(p, "rb").read(1)]
r["env"] = sorted(os.environ)
r["hostname"] = socket.gethostname()
open("/tmp/exec-me", "w").write("#!/bin/sh\necho ran\n")
os.chmod("/tmp/exec-me", 0o755)
try:
    import subprocess; subprocess.run(["/tmp/exec-me"], check=True); r["tmp_exec"] = True
except OSError: r["tmp_exec"] = False
v = os.statvfs("/tmp"); r["tmp_bytes"], r["tmp_inodes"] = v.f_blocks * v.f_frsize, v.f_files
print(json.dumps(r))
]]

-- What attacks share: a child of the program's own to try each attack on, and the numbers of all others. Where a run
-- has a pid namespace of its own, /proc still is the container's: numbers there are not those that calls take.
local prelude = [[
import array, ctypes, errno, fcntl, os, platform, resource, signal, stat, time
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.write(w, os.readlink("/proc/self").encode())
    while True: time.sleep(60)
child_in_proc = int(os.read(r, 20))
mine = (os.getpid(), child)
seen = [int(p) for p in os.listdir("/proc") if p.isdigit()]
mine_in_proc = (int(os.readlink("/proc/self")), child_in_proc)
# Process 1 of a namespace of the run's own cannot be hurt from inside; it may be spoken to.
init = [os.getppid()] if os.getpid() == mine_in_proc[0] else [int(l.split()[1]) for l in open("/proc/self/status")
    if l.startswith("PPid:")]
others_in_proc = [p for p in seen if p not in mine_in_proc]
others = [p for p in range(2, max(seen) + 10) if p not in mine]
assert len(others_in_proc) > 0
def tried(name, f):
    try: f(); return [name]
    except OSError: return []
def raw(nr, *args):
    if libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args]) < 0:
        raise OSError(ctypes.get_errno(), "")
]]

---@param attack { body: string, by_proc: boolean? } body defines attack(pid), which returns what it could do
---@return string program prints what it could do to its own child, and to all others
function M.program(attack)
  return prelude .. attack.body .. (attack.by_proc and [[

print("own", *attack(child_in_proc))
print("others", [(p, x) for p in others_in_proc for x in attack(p)])
]] or [[

print("own", *attack(child))
print("others", [(p, x) for p in others for x in attack(p)])
]])
end

---@type { name: string, own: string?, body: string, by_proc: boolean? }[]
M.attacks = {
  {
    name = "other processes by signals",
    own = "^0 tgkill queue pidfd$",
    body = [[
def attack(pid):
    def pidfd():
        fd = os.pidfd_open(pid)
        signal.pidfd_send_signal(fd, 0)
    info = ctypes.create_string_buffer(128)
    array_of = (ctypes.c_int * 3)(0, 0, -1)
    ctypes.memmove(info, array_of, 12)
    out = (tried("0", lambda: os.kill(pid, 0)) + tried("tgkill", lambda: raw(234 if x86 else 131, pid, pid, 0)) +
        tried("queue", lambda: raw(129 if x86 else 138, pid, 0, info)) + tried("pidfd", pidfd))
    if pid != child:
        for s in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL): tried("", lambda: os.kill(pid, s))
    return out
]],
  },
  {
    name = "other processes by signals to their directory in /proc",
    own = "^pidfd$",
    by_proc = true,
    body = [[
def attack(pid):
    def directory():
        fd = os.open("/proc/%d" % pid, os.O_RDONLY | os.O_DIRECTORY)
        try: signal.pidfd_send_signal(fd, signal.SIGCONT if pid == child_in_proc else signal.SIGKILL)
        finally: os.close(fd)
    out = tried("pidfd", directory)
    return [] if pid in init and pid != os.getppid() else out
]],
  },
  {
    name = "other processes by signals that the kernel sends for it",
    own = "^killed$",
    body = [[
def attack(pid):
    a, b = os.pipe()
    def owner():
        fcntl.fcntl(a, fcntl.F_SETOWN, pid)
        fcntl.fcntl(a, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(a, fcntl.F_SETFL, fcntl.fcntl(a, fcntl.F_GETFL) | os.O_ASYNC)
        os.write(b, b"x")
    tried("", owner) # to name an owner is free; whether the signal comes is asked when it is sent
    os.close(a); os.close(b)
    time.sleep(0.1 if pid == child else 0)
    return ["killed"] if pid == child and os.waitpid(child, os.WNOHANG)[0] == child else []
]],
  },
  {
    name = "all processes at once",
    body = [[
def attack(pid):
    if pid == child: return []
    for s in (signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        signal.signal(s, signal.SIG_IGN) if s not in (signal.SIGSTOP, signal.SIGKILL) else None
        for target in (-1, -pid): tried("", lambda: os.kill(target, s))
    return []
]],
  },
  {
    name = "process 1 of its own namespace",
    body = [[
def attack(pid):
    for s in range(1, 65): tried("", lambda: os.kill(1, s))
    for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK, resource.RLIMIT_SIGPENDING):
        try: resource.prlimit(1, n, (0, 0))
        except (OSError, ValueError): pass
    tried("", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
    return []
]],
  },
  {
    name = "what /proc has of other processes",
    own = "^mem environ maps auxv fd task/fd cwd root exe ns/user ns/pid$",
    by_proc = true,
    body = [[
def attack(pid):
    d = "/proc/%d/" % pid
    out = []
    for n in ("mem", "environ", "maps", "auxv"): out += tried(n, lambda: os.close(os.open(d + n, os.O_RDONLY)))
    out += tried("fd", lambda: os.listdir(d + "fd"))
    out += tried("task/fd", lambda: os.listdir(d + "task/%d/fd" % pid))
    for n in ("cwd", "root", "exe", "ns/user", "ns/pid"): out += tried(n, lambda: os.readlink(d + n))
    return out
]],
  },
  {
    name = "what can be written below /proc",
    own = "^$",
    by_proc = true,
    body = [[
def attack(pid):
    out = []
    for d, dirs, files in os.walk("/proc/%d" % pid):
        for n in files:
            out += tried(n, lambda: os.close(os.open(os.path.join(d, n), os.O_WRONLY)))
        dirs[:] = [x for x in dirs if x not in ("cwd", "root", "fd", "fdinfo", "net", "map_files")]
    return out
]],
  },
  {
    name = "memory and descriptors of other processes by calls",
    own = "^$", -- not even its own child's: the filter has none of these
    body = [[
def attack(pid):
    buffer = ctypes.create_string_buffer(8)
    one = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    def pidfd_getfd():
        fd = os.pidfd_open(pid)
        try: raw(438, fd, 0, 0)
        finally: os.close(fd)
    out = []
    for request in (16, 0x4206): # attach, seize
        out += tried("ptrace", lambda: raw(101 if x86 else 117, request, pid, 0, 0))
    return (out + tried("readv", lambda: raw(310 if x86 else 270, pid, one, 1, one, 1, 0)) +
        tried("writev", lambda: raw(311 if x86 else 271, pid, one, 1, one, 1, 0)) +
        tried("kcmp", lambda: raw(312 if x86 else 272, pid, os.getpid(), 0, 0, 0)) + tried("getfd", pidfd_getfd) +
        tried("migrate", lambda: raw(256 if x86 else 238, pid, 8, one, one)))
]],
  },
  {
    name = "limits and scheduling of other processes",
    own = "^affinity policy nice group$",
    body = [[
def attack(pid):
    before = os.sched_getaffinity(0)
    return (tried("prlimit", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))) +
        tried("read", lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)) +
        tried("affinity", lambda: os.sched_setaffinity(pid, before)) +
        tried("policy", lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))) +
        tried("nice", lambda: os.setpriority(os.PRIO_PROCESS, pid, 9)) +
        tried("group", lambda: os.setpgid(pid, pid)))
]],
  },
}

return M

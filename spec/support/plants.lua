--- Ways in which a program could reach the one that runs after it in the same worker: a catalogue.
---
--- Each entry has a Python program that plants something and one that looks for it. `look` defines look(), whose
--- value is the same as often as it is asked in a clean place, and another one where the plant is: the spec asks
--- before planting, after it in the same run, and in the next run. `refused` says that the kernel or the filter lets
--- nobody plant: then the program has to print "refused", and the spec fails when it could plant after all.
local M = {}

--- Begins every program of the catalogue.
M.prelude = [[
import ctypes, errno, mmap, os, platform, random, signal, socket, stat, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"

def call(nr, *args):
    """A raw system call; raises OSError."""
    r = libc.syscall(ctypes.c_long(nr), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r

def daemon(work):
    """Leaves a process behind that has nothing to do with this one any more; work(ready) runs in it."""
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.close(r)
            for fd in (0, 1, 2):
                os.dup2(os.open("/dev/null", os.O_RDWR), fd)
            kept = work()
            os.write(w, b"1")
            os.close(w)
            while True:
                time.sleep(60)
        os._exit(0)
    os.close(w)
    assert os.read(r, 1) == b"1"
    os.wait()

def status(name):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(name + ":"):
                return line.split()[1]

def tree(path):
    out = []
    for d, dirs, files in os.walk(path):
        out += [os.path.join(d, n) for n in dirs + files]
    return sorted(n for n in out if "planted" in n)
]]

--- Ends them: PLAN is one word, "look" or "plant".
M.finish = [[
try:
    if PLAN == "plant":
        plant()
    print(repr(look()))
except OSError as e:
    if e.errno not in (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS): raise
    print("refused")
]]

---@param entry table
---@param plan "look"|"plant"
---@return string program
function M.program(entry, plan)
  return ("PLAN = %q\n%s\ndef look():\n%s\ndef plant():\n%s\n%s"):format(plan, M.prelude,
    entry.look:gsub("[^\n]+", "    %0"), entry.plant:gsub("[^\n]+", "    %0"), M.finish)
end

---@class moonsand.spec.Plant
---@field name string
---@field plant string body of a Python function
---@field look string body of a Python function that returns what it sees
---@field refused boolean? nobody may plant this

---@type moonsand.spec.Plant[]
M.list = {
  -- ---- files ------------------------------------------------------------------------------------------------------
  {
    name = "files in every directory that can be written",
    plant = [[
for d in (".", "/tmp", "/dev/shm", os.environ["MOONSAND_OUTPUT"]):
    os.makedirs(d + "/planted/planted")
    with open(d + "/planted/planted/planted", "w") as f: f.write("x")
    os.symlink("/etc/passwd", d + "/planted-link")
    socket.socket(socket.AF_UNIX).bind(d + "/planted-socket") ]],
    look = [[return tree(".") + tree("/tmp") + tree("/dev/shm") + tree("/dev/mqueue")]],
  },
  {
    name = "a file anywhere else",
    refused = true,
    plant = [[
done = []
for d in ("/", "/var/tmp", "/run", "/etc", "/home", "/dev", "/dev/mqueue", "/.moonsand", sys.prefix + "/lib"):
    try:
        with open(d + "/planted", "w") as f: f.write("x")
        done.append(d)
    except OSError: pass
if not done: raise PermissionError(errno.EACCES, "nowhere") ]],
    look = [[return [os.path.exists(d + "/planted") for d in ("", "/var/tmp", "/run", "/etc", "/dev")] ]],
  },
  {
    name = "a full /tmp and /dev/shm",
    plant = [[
for path in ("/tmp/planted", "/dev/shm/planted"):
    try:
        with open(path, "wb") as f:
            while True: f.write(b"x" * 65536); f.flush()
    except OSError: pass ]],
    look = [[
def room(path):
    v = os.statvfs(path)
    return v.f_bfree > v.f_blocks * 0.9
return room("/tmp"), room("/dev/shm") ]],
  },
  {
    name = "a /tmp without a free inode",
    plant = [[
os.mkdir("/tmp/planted")
for i in range(7000):
    try: open("/tmp/planted/%d" % i, "w").close()
    except OSError: break ]],
    look = [[return len(os.listdir("/tmp/planted")) if os.path.exists("/tmp/planted") else 0]],
  },
  {
    name = "directories deeper than a path can be long",
    plant = [[
os.chdir("/tmp")
for i in range(3000): os.mkdir("d"); os.chdir("d")
open("planted", "w").close()
os.chdir("/") ]],
    look = [[return os.path.exists("/tmp/d")]],
  },
  {
    name = "closed directories with closed files in them",
    plant = [[
os.makedirs("/tmp/planted/planted")
open("/tmp/planted/planted/x", "w").close()
os.chmod("/tmp/planted/planted/x", 0); os.chmod("/tmp/planted/planted", 0); os.chmod("/tmp/planted", 0) ]],
    look = [[return os.path.exists("/tmp/planted")]],
  },
  {
    name = "other modes of /tmp and /dev/shm",
    plant = [[
for path in (os.environ["MOONSAND_OUTPUT"], "/dev/shm", "/tmp"): # the mounts are the run's own, or the machine's
    try: os.chmod(path, 0)
    except PermissionError: pass ]],
    look = [[
return [oct(os.stat(p).st_mode) for p in ("/tmp", "/dev/shm")], os.access(os.environ["MOONSAND_OUTPUT"], os.W_OK) ]],
  },
  {
    name = "a result that the next one would be said to have",
    plant = [[
with open(os.environ["MOONSAND_RESULT"] + ".planted", "w") as f: f.write("1")
with open(os.environ["MOONSAND_OUTPUT"] + "/planted", "w") as f: f.write("1") ]],
    look = [[return tree(os.path.dirname(os.environ["MOONSAND_RESULT"])) + tree(os.environ["MOONSAND_OUTPUT"])]],
  },
  -- ---- processes --------------------------------------------------------------------------------------------------
  {
    name = "a process that goes on",
    plant = [[daemon(lambda: None)]],
    look = [[return len([p for p in os.listdir("/proc") if p.isdigit()])]],
  },
  {
    name = "a process that ignores every signal and forks when it is looked for",
    plant = [[
def stubborn():
    for s in range(1, 65):
        try: signal.signal(s, signal.SIG_IGN)
        except (OSError, ValueError): pass
    if os.fork() == 0:
        while True:
            if os.fork(): os._exit(0)
            time.sleep(0.001)
daemon(stubborn) ]],
    look = [[return len([p for p in os.listdir("/proc") if p.isdigit()])]],
  },
  {
    name = "a process that is stopped",
    plant = [[
def stopped():
    if os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(0.05)
daemon(stopped) ]],
    look = [[return len([p for p in os.listdir("/proc") if p.isdigit()])]],
  },
  {
    name = "a process that holds a deleted file full of memory",
    plant = [[
def hold():
    global f
    f = open("/tmp/planted", "wb"); os.unlink("/tmp/planted"); f.write(b"x" * (8 << 20)); f.flush()
daemon(hold) ]],
    look = [[
v = os.statvfs("/tmp")
return (v.f_blocks - v.f_bfree) * v.f_frsize > 4 << 20 ]],
  },
  -- ---- shared memory, semaphores, message queues --------------------------------------------------------------------
  {
    name = "POSIX shared memory",
    plant = [[
libc.shm_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
fd = libc.shm_open(b"/planted", os.O_CREAT | os.O_RDWR, 0o666)
assert fd >= 0
os.ftruncate(fd, 4096) ]],
    look = [[
libc.shm_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_uint]
return libc.shm_open(b"/planted", os.O_RDWR, 0) >= 0 ]],
  },
  {
    name = "a POSIX semaphore",
    plant = [[
libc.sem_open.restype = ctypes.c_void_p
assert libc.sem_open(b"/planted", os.O_CREAT, 0o666, 1) ]],
    look = [[
libc.sem_open.restype = ctypes.c_void_p
return libc.sem_open(b"/planted", 0) is not None ]],
  },
  {
    name = "a POSIX message queue",
    refused = true,
    plant = [[call(240 if x86 else 180, b"planted", os.O_CREAT | os.O_RDWR, 0o666, None)]],
    look = [[return call(240 if x86 else 180, b"planted", os.O_RDWR, 0, None) >= 0]],
  },
  {
    name = "System V shared memory",
    refused = true,
    plant = [[call(29 if x86 else 194, 0x6d6f6f6e, 4096, 0o1666)]],
    look = [[return call(29 if x86 else 194, 0x6d6f6f6e, 4096, 0) >= 0]],
  },
  {
    name = "a System V semaphore",
    refused = true,
    plant = [[call(64 if x86 else 190, 0x6d6f6f6e, 1, 0o1666)]],
    look = [[return call(64 if x86 else 190, 0x6d6f6f6e, 1, 0) >= 0]],
  },
  {
    name = "a System V message queue",
    refused = true,
    plant = [[call(68 if x86 else 186, 0x6d6f6f6e, 0o1666)]],
    look = [[return call(68 if x86 else 186, 0x6d6f6f6e, 0) >= 0]],
  },
  {
    name = "a key in the user's keyring",
    refused = true,
    plant = [[call(248 if x86 else 217, b"user", b"planted", b"x", 1, -4)]],
    look = [[return call(249 if x86 else 218, b"user", b"planted", None, -4) >= 0]],
  },
  -- ---- sockets ----------------------------------------------------------------------------------------------------
  {
    name = "an abstract socket that somebody listens on",
    plant = [[
def listen():
    global s
    s = socket.socket(socket.AF_UNIX); s.bind("\0planted"); s.listen()
daemon(listen) ]],
    look = [[
s = socket.socket(socket.AF_UNIX)
try: s.connect("\0planted"); return True
except OSError as e: return e.errno ]],
  },
  {
    name = "a socket with a path that somebody listens on",
    plant = [[
def listen():
    global s
    s = socket.socket(socket.AF_UNIX); s.bind("/tmp/planted"); s.listen()
daemon(listen) ]],
    look = [[
s = socket.socket(socket.AF_UNIX)
try: s.connect("/tmp/planted"); return True
except OSError as e: return e.errno ]],
  },
  {
    name = "a TCP port that somebody listens on",
    plant = [[
def listen():
    global s
    s = socket.socket(); s.bind(("127.0.0.1", 4321)); s.listen()
daemon(listen) ]],
    look = [[
s = socket.socket()
try: s.connect(("127.0.0.1", 4321)); return True
except OSError as e: return e.errno ]],
  },
  {
    name = "a TCP connection that lingers on its port",
    plant = [[
s = socket.socket(); s.bind(("127.0.0.1", 4322)); s.listen()
c = socket.create_connection(("127.0.0.1", 4322)); a, _ = s.accept()
a.close(); c.close(); s.close() ]],
    look = [[
s = socket.socket()
try: s.bind(("127.0.0.1", 4322)); return 0
except OSError as e: return e.errno ]],
  },
  -- ---- what a process hands to its children -------------------------------------------------------------------------
  {
    name = "environment",
    plant = [[os.environ["PLANTED"] = "1"; os.environ["PATH"] = "/tmp"; libc.setenv(b"PLANTED_TOO", b"1", 1)]],
    look = [[
libc.getenv.restype = ctypes.c_char_p
return sorted(os.environ.items()), libc.getenv(b"PLANTED_TOO"), libc.getenv(b"PATH") ]],
  },
  {
    name = "working directory",
    plant = [[os.chdir("/usr")]],
    look = [[return os.getcwd() == "/usr", os.path.dirname(os.getcwd()), os.listdir(".") == [] ]],
  },
  { name = "umask", plant = [[os.umask(0o777)]], look = [[m = os.umask(0); os.umask(m); return oct(m)]] },
  {
    name = "resource limits",
    plant = [[
import resource
for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK, resource.RLIMIT_CPU,
    resource.RLIMIT_NPROC, resource.RLIMIT_DATA): resource.setrlimit(n, (100 << 20, 100 << 20) if n in
    (resource.RLIMIT_STACK, resource.RLIMIT_DATA) else (99, 99)) ]],
    look = [[
with open("/proc/self/limits") as f: return f.read() ]],
  },
  {
    name = "niceness of all processes that one may name",
    plant = [[os.setpriority(os.PRIO_USER, 0, 7)]],
    look = [[return os.getpriority(os.PRIO_PROCESS, 0)]],
  },
  {
    name = "CPUs",
    plant = [[
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)) ]],
    look = [[return os.sched_getaffinity(0), os.sched_getscheduler(0)]],
  },
  {
    name = "signal handlers, ignored and blocked signals",
    plant = [[
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGUSR1, lambda *a: None)
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGCHLD]) ]],
    look = [[return [status(n) for n in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd")] ]],
  },
  {
    name = "a timer that goes off later",
    plant = [[signal.signal(signal.SIGALRM, lambda *a: None); signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)]],
    look = [[return signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)]],
  },
  {
    name = "a name and other marks of the process",
    plant = [[
for option, value in ((15, b"planted"), (29, 12345678), (36, 1), (4, 0)): # name, timer slack, subreaper, dumpable
    assert libc.prctl(option, value, 0, 0, 0) == 0 ]],
    look = [[
n = ctypes.create_string_buffer(16); c = ctypes.c_int()
libc.prctl(16, n, 0, 0, 0); libc.prctl(37, ctypes.byref(c), 0, 0, 0)
return n.value == b"planted", libc.prctl(30, 0, 0, 0, 0), c.value, libc.prctl(3, 0, 0, 0, 0) ]],
  },
  {
    name = "flags, owner and signal of its empty input",
    plant = [[
import fcntl
fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid()); fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGUSR2)
fcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_APPEND) ]],
    look = [[
import fcntl
return fcntl.fcntl(0, fcntl.F_GETFL), fcntl.fcntl(0, fcntl.F_GETSIG), fcntl.fcntl(0, fcntl.F_GETOWN) ]],
  },
  {
    -- The file behind it may be all runs' own; the lock then is as old as its run.
    name = "a lock on its empty input",
    plant = [[
import fcntl
fcntl.flock(0, fcntl.LOCK_SH) ]],
    look = [[
import fcntl
with open("/dev/null", "rb") as f:
    try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB); return "free"
    except BlockingIOError: return "locked" ]],
  },
  {
    name = "descriptors",
    plant = [[
global kept
kept = [os.open("/tmp", os.O_RDONLY), os.pipe(), socket.socketpair(), os.memfd_create("planted", 0)]
for s in kept[2]: os.set_inheritable(s.fileno(), True) ]],
    look = [[return sorted(os.listdir("/proc/self/fd"), key=int)]],
  },
  {
    name = "memory that is shared with whoever has it mapped",
    plant = [[
global m
m = mmap.mmap(-1, 4096); m.write(b"planted") ]],
    look = [[
with open("/proc/self/maps") as f: return [l for l in f if " rw-s " in l or " rwxs " in l or "planted" in l] ]],
  },
  -- ---- the interpreter --------------------------------------------------------------------------------------------
  {
    name = "modules with other functions",
    plant = [[
import json
json.dumps = lambda *a, **k: "planted"
os.path.join = lambda *a: "planted"
import builtins
builtins.planted = 1; builtins.len = lambda x: 42 ]],
    look = [[
import json, builtins
return json.dumps(1), os.path.join("a", "b"), hasattr(builtins, "planted"), len([]) ]],
  },
  {
    name = "modules that are there, and where they are looked for",
    plant = [[
import types
sys.modules["planted"] = types.ModuleType("planted"); sys.path.insert(0, "/tmp/planted")
sys.meta_path.insert(0, type("F", (), {"find_spec": lambda *a: None})())
sys.path_hooks.append(lambda p: None); sys.argv.append("planted") ]],
    look = [[return "planted" in sys.modules, sys.path, len(sys.meta_path), len(sys.path_hooks), sys.argv[1:] ]],
  },
  {
    name = "hooks that cannot be taken out again",
    plant = [[
import atexit, codecs
def hook(*a): pass
sys.excepthook = hook; sys.unraisablehook = hook; sys.displayhook = hook; threading.excepthook = hook
sys.setprofile(hook); sys.settrace(None); codecs.register(lambda n: None)
sys.addaudithook(lambda event, args: heard.append(event)); atexit.register(hook)
os.register_at_fork(before=hook) ]],
    look = [[
import atexit
global heard
heard = []
open("/dev/null").close()
return (len(heard) > 0, sys.excepthook is sys.__excepthook__, sys.unraisablehook is sys.__unraisablehook__,
    sys.displayhook is sys.__displayhook__, sys.getprofile(), atexit._ncallbacks()) ]],
  },
  {
    name = "settings of the interpreter",
    plant = [[
import decimal, gc, locale, warnings
sys.setrecursionlimit(123); sys.setswitchinterval(1); gc.disable(); gc.set_threshold(1, 2, 3)
decimal.getcontext().prec = 3; warnings.simplefilter("ignore"); os.environ["TZ"] = "Asia/Tokyo"; time.tzset()
sys.set_int_max_str_digits(700); threading.stack_size(1 << 20); socket.setdefaulttimeout(1)
random.seed = lambda *a: None ]],
    look = [[
import decimal, gc, warnings
return (sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold(),
    decimal.getcontext().prec, len(warnings.filters), time.tzname, sys.get_int_max_str_digits(), threading.stack_size(),
    socket.getdefaulttimeout()) ]],
  },
  {
    name = "another value of an interned number, written over the interpreter's memory",
    plant = [[ctypes.c_long.from_address(id(200) + 24).value = 201]],
    look = [[return int("200") + 0 == 100 + 101]],
  },
  {
    name = "code of libc, written over",
    plant = [[
p = ctypes.cast(libc.getppid, ctypes.c_void_p).value
if libc.mprotect(ctypes.c_void_p(p & ~4095), 8192, 7): raise OSError(ctypes.get_errno(), "mprotect")
ctypes.memmove(p, b"\xb8\x2a\x00\x00\x00\xc3" if x86 else b"\x40\x05\x80\x52\xc0\x03\x5f\xd6", 6 if x86 else 8) ]],
    look = [[return libc.getppid() == 42]],
  },
  {
    name = "a thread",
    plant = [[threading.Thread(target=time.sleep, args=(60,), daemon=True).start()]],
    look = [[return status("Threads"), threading.active_count()]],
  },
  {
    name = "compiled modules in the place of others",
    refused = true,
    plant = [[
import importlib.util, json.encoder
path = importlib.util.cache_from_source(json.encoder.__file__)
with open(path, "ab") as f: f.write(b"planted") ]],
    look = [[return 0]],
  },
  -- ---- the machine's own --------------------------------------------------------------------------------------------
  {
    name = "hostname",
    refused = true,
    plant = [[socket.sethostname("planted")]],
    look = [[return socket.gethostname()]],
  },
  {
    name = "a mount",
    refused = true,
    plant = [[call(165 if x86 else 40, b"none", b"/tmp", b"tmpfs", 0, None)]],
    look = [[
with open("/proc/self/mountinfo") as f: return len(f.readlines()) ]],
  },
  {
    name = "settings below /proc",
    refused = true,
    plant = [[
done = []
for d, dirs, files in os.walk("/proc/sys"):
    for n in files:
        try: os.close(os.open(os.path.join(d, n), os.O_WRONLY)); done.append(n)
        except OSError: pass
if not done: raise PermissionError(errno.EACCES, "none") ]],
    look = [[return 0]],
  },
  {
    name = "another score for the oom killer",
    refused = true,
    plant = [[
for v in ("0", "-1000", "500"):
    with open("/proc/self/oom_score_adj", "w") as f: f.write(v) ]],
    look = [[return 0]],
  },
  {
    name = "more capabilities, another user",
    refused = true,
    plant = [[
try: os.setuid(0)
except OSError as e: raise PermissionError(errno.EPERM, "") if e.errno == errno.EINVAL else e # no such user inside ]],
    look = [[return os.getuid() == 0, [status(n) for n in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] ]],
  },
}

return M

--- Programs whose results have to be the same whether they get an interpreter of their own or a fork of a warm one.
--- Each entry: a name, what box:run takes, and patterns of what it prints, so that two wrong results are no "same".
return {
  { "print", { code = "print(2+2)" }, out = "^4\n$" },
  { "nothing", { code = "" }, out = "^$" },
  { "both outputs", { code = "import sys; print('o'); print('e', file=sys.stderr)" }, out = "^o\n$", err = "^e\n$" },
  { "no newline at the end", { code = "import sys; sys.stdout.write('tail')" }, out = "^tail$" },
  { "text beyond ASCII", { code = "print('\u{e9}\u{1f319}')" }, out = "^\u{e9}\u{1f319}\n$" },
  { "a megabyte", { code = "import sys; sys.stdout.write('x' * (1 << 20)); print()" }, out = "^x+\n$" },
  { "bytes that are no text", { code = "import os; os.write(1, bytes(range(256)))" }, out = "\255$" },
  -- ---- ends -------------------------------------------------------------------------------------------------------
  { "exit 0", { code = "import sys; sys.exit(0)" }, status = "ok" },
  { "exit 3", { code = "raise SystemExit(3)" }, status = "exit", code = 3 },
  { "exit 256 + 4", { code = "raise SystemExit(260)" }, status = "exit", code = 4 },
  { "exit 2^64", { code = "raise SystemExit(2 ** 64)" }, status = "exit", code = 255 },
  { "exit -2^63 - 1", { code = "raise SystemExit(-2 ** 63 - 1)" }, status = "exit", code = 255 },
  { "exit -2^63", { code = "raise SystemExit(-2 ** 63)" }, status = "ok" },
  { "exit -1", { code = "raise SystemExit(-1)" }, status = "exit", code = 255 },
  { "exit None", { code = "raise SystemExit(None)" }, status = "ok" },
  { "exit with a text", { code = "import sys; sys.exit('why')" }, status = "exit", code = 1, err = "^why\n$" },
  { "_exit, output unwritten", { code = "import os; print('lost', end=''); os._exit(7)" }, status = "exit", code = 7 },
  { "137 is an exit", { code = "import os; os._exit(137)" }, status = "exit", code = 137 },
  { "an exception", { code = "def f():\n    raise ValueError('x')\nf()" }, status = "exit", code = 1,
    err = "^Traceback %(most recent call last%):\n.*ValueError: x\n$" },
  { "an exception out of another", { code = "try:\n    1/0\nexcept Exception as e:\n    raise KeyError('k') from e" },
    status = "exit", code = 1, err = "ZeroDivisionError.*direct cause.*KeyError" },
  { "a program that is none", { code = "print('x'\nprint(" }, status = "exit", code = 1, err = "SyntaxError" },
  { "an endless recursion", { code = "def f(): f()\nf()" }, status = "exit", code = 1, err = "RecursionError",
    but = "stderr" }, -- how often the line stood there: some frames of the stack are ours
  { "KeyboardInterrupt", { code = "raise KeyboardInterrupt" }, status = "signal", err = "KeyboardInterrupt" },
  { "SIGINT to itself", { code = "import os, time; os.kill(os.getpid(), 2); time.sleep(5)" }, status = "signal" },
  { "SIGTERM to itself", { code = "import os; os.kill(os.getpid(), 15)" }, status = "signal" },
  { "SIGKILL to itself", { code = "import os; os.kill(os.getpid(), 9)" }, status = "signal" },
  { "abort", { code = "import os; print('before', flush=True); os.abort()" }, status = "signal", out = "^before\n$" },
  { "a null pointer", { code = "import ctypes; ctypes.string_at(0)" }, status = "signal" },
  { "a closed pipe", { code = "import os; r, w = os.pipe(); os.close(r); os.write(w, b'x')" }, status = "exit",
    err = "BrokenPipeError" },
  { "a closed stdout", { code = "import os; print('x'); os.close(1)" } },
  { "an exit in a thread", { code = "import sys, threading\nt = threading.Thread(target=sys.exit, args=(3,)); t.start()"
    .. "\nt.join(); print('on')" }, out = "^on\n$" },
  { "an exception in a thread", { code = "import threading\n"
    .. "t = threading.Thread(target=lambda: 1/0, name='t'); t.start(); t.join()" }, status = "ok",
    err = "Exception in thread t:.*ZeroDivisionError" },
  { "a thread that is waited for", { code = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), "
    .. "print('last'))).start(); print('first')" }, out = "^first\nlast\n$" },
  { "what is to be done at the end", { code = "import atexit; atexit.register(print, 'bye'); print('hi')" },
    out = "^hi\nbye\n$" },
  { "an end after an exception", { code = "import atexit; atexit.register(print, 'bye'); 1/0" }, status = "exit",
    out = "^bye\n$" },
  { "a warning", { code = "import warnings; warnings.warn('careful')" }, err = "UserWarning: careful" },
  { "stopped by its time", { code = "import time; print('up', flush=True); time.sleep(60)", timeout = 0.4 },
    status = "timeout", out = "^up\n$" },
  -- ---- what goes in -------------------------------------------------------------------------------------------------
  { "its input", { code = "print(sum(int(x) for x in open(0)))", stdin = "1\n2\n39\n" }, out = "^42\n$" },
  { "no input", { code = "import sys; print(repr(sys.stdin.read()))" }, out = "^''\n$" },
  { "input()", { code = "print(input().upper()); input()", stdin = "once" }, status = "exit", out = "^ONCE\n$",
    err = "EOFError" },
  { "input that is not read", { code = "print(1)", stdin = ("x"):rep(1 << 20) }, out = "^1\n$" },
  { "arguments", { code = "import sys; print(sys.argv)", args = { "-a", "b c", "", "\u{e9}" } },
    out = "^%['main.py', '%-a', 'b c', '', '\u{e9}'%]\n$" },
  { "the environment", { code = "import os; print(sorted(os.environ.items()))", env = { A = "1", TZ = "Asia/Tokyo" } },
    out = "'A', '1'" },
  { "a hash seed", { code = "print(hash('a'))", env = { PYTHONHASHSEED = "0" } } },
  { "a time zone", { code = "import time; print(time.localtime(0).tm_hour, time.tzname)", env = { TZ = "JST-9" } },
    out = "^9 %('JST'" },
  { "parameters", { code = "import json, os; print(json.load(open(os.environ['MOONSAND_PARAMS'])))",
    params = { fast = 3 } }, out = "^{'fast': 3}\n$" },
  { "files, and where they are", { code = "import os; print(open('d/x.csv').read(), os.getcwd(), sorted(os.listdir()))",
    files = { ["d/x.csv"] = { data = "1,2" } } }, out = "^1,2 /tmp/work %['d', 'main.py'%]\n$" },
  { "a module beside the program", { code = "import beside; print(beside.x, beside.__file__)",
    files = { ["beside.py"] = { data = "x = 5" } } }, out = "^5 .*beside.py\n$" },
  -- ---- what the interpreter says of itself --------------------------------------------------------------------------
  { "a script, and what it knows of itself", { "self.py", [[
import inspect, os, pickle, sys
class C: pass
def f(): return 1
if __name__ == "__main__":
    print(__file__, sys.argv, sys.path[0], __doc__, __spec__, __package__, type(__loader__).__name__)
    print(pickle.loads(pickle.dumps(C())).__class__ is C, inspect.getsource(f))
    print(sorted(n for n in vars(sys.modules["__main__"])))
    print(sys.flags, sys.executable, sys.orig_argv[1:], sys.stdout.encoding, sys.stdout.line_buffering)
]] }, out = "^%S*self.py %[.*True def f" },
  { "an exception in a script", { "fails.py", "def f():\n    return 1 / 0\nf()\n" }, status = "exit", code = 1,
    err = '^Traceback %(most recent call last%):\n  File ".*fails.py", line 3.*return 1 / 0.*ZeroDivisionError' },
  { "a mistake in a script", { "mistake.py", "x = (\n" }, status = "exit", code = 1,
    err = 'File ".*mistake.py", line 1.*SyntaxError' },
  { "names of the program", { code = "print(__name__, sorted(n for n in dir() if n != '__annotations__'))" },
    out = "__main__" },
  { "a module as the program", { argv = { "python3", "-m", "json.tool", "--compact" }, stdin = "[1, 2]" },
    out = "^%[1,2%]\n$" },
  { "a module that is not there", { argv = { "python3", "-m", "not_there" } }, status = "exit", code = 1,
    err = "No module named not_there" },
  { "a script that is not there", { argv = { "python3", "not_there.py" } }, status = "exit", code = 2,
    err = "can't open file" },
  -- ---- processes ----------------------------------------------------------------------------------------------------
  { "another program", { argv = { "sh", "-c", "echo $0 $1; exit 5", "a", "b" } }, status = "exit", code = 5,
    out = "^a b\n$" },
  { "a shell script", { code = "read x; echo got $x", language = "sh", stdin = "it\n" }, out = "^got it\n$" },
  { "an interpreter with options", { argv = { "python3", "-I", "-S", "-c", "import sys; print(sys.flags.isolated)" } },
    out = "^1\n$" },
  { "its own path", { argv = { "/usr/bin/python3", "-c", "print('by path')" } }, out = "^by path\n$" },
  { "a program that is not there", { argv = { "not-there" } } },
  { "a directory as a program", { argv = { "/tmp" } } },
  { "exec", { code = "import os; os.execvp('echo', ['echo', 'replaced'])" }, out = "^replaced\n$" },
  { "children", { code = "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(6*7)'], "
    .. "capture_output=True, text=True).stdout, end='')\nprint(subprocess.call(['sh', '-c', 'exit 9']))" },
    out = "^42\n9\n$" },
  { "a pool of processes", { code = "import multiprocessing as m\ndef f(x): return x * x\n"
    .. "if __name__ == '__main__':\n    with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))" }, out = "^%[1, 4, 9%]\n$" },
  { "forks", { code = "import os\nprint('once')\nfor i in range(3):\n    if os.fork() == 0: os._exit(i)\n"
    .. "print(sorted(os.waitstatus_to_exitcode(os.wait()[1]) for i in range(3)))" }, out = "^once\n%[0, 1, 2%]\n$" },
  { "processes that are left", { code = "import os, time\nfor i in range(3):\n    if os.fork() == 0: time.sleep(60)" },
    status = "ok", stragglers = 3 },
  { "an orphan that writes late", { code = "import os, time\nif os.fork() == 0:\n    time.sleep(0.2); print(1)\n" },
    status = "ok", stragglers = 1, out = "^$" },
  { "whether a child is waited for by somebody", { code = "import os, time\nif os.fork() == 0:\n    if os.fork() == 0:"
    .. " time.sleep(0.05)\n    os._exit(0)\nos.wait(); time.sleep(0.2)\ntry: os.wait()\nexcept ChildProcessError: "
    .. "print('none')" }, out = "^none\n$" },
  { "a session of its own", { code = "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), "
    .. "os.getpid() != 1, oct(os.umask(0)), os.getpriority(os.PRIO_PROCESS, 0))" }, out = "^True True True 0o22 0\n$" },
  { "signals as a program begins with them", { code = "print([l for l in open('/proc/self/status') if l[:3] == 'Sig'"
    .. " and l[:4] != 'SigQ'])\nimport signal; print([signal.getsignal(n) for n in (2, 13, 15)])" },
    out = "default_int_handler" },
  { "limits", { code = "print(open('/proc/self/limits').read())" }, out = "Max open files" },
  { "descriptors", { code = "import os; print(sorted(os.listdir('/proc/self/fd')))" },
    out = "^%['0', '1', '2', '3'%]\n$" },
  -- ---- what comes out -----------------------------------------------------------------------------------------------
  { "a result and artefacts", { code = [[
import json, os
out = os.environ["MOONSAND_OUTPUT"]
os.makedirs(out + "/deep/er")
open(out + "/deep/er/a.bin", "wb").write(bytes(range(256)) * 300)
open(out + "/b.txt", "w").write("b")
os.symlink("/etc/passwd", out + "/link")
json.dump({"sharpe": 1.5, "n": [1, 2]}, open(os.environ["MOONSAND_RESULT"], "w"))
]] }, status = "ok", artefacts = 2, rejected = 1 },
  { "artefacts of a program that fails", { code = "import os\nopen(os.environ['MOONSAND_OUTPUT'] + '/x', 'w').close()\n"
    .. "os.abort()" }, status = "signal", artefacts = 1 },
  { "too much output", { code = "while True: print('x' * 1000)" }, status = "output_limit", but = "stdout" },
}

"""Peers of fork mode without any isolation, inside the interpreter that they fork.

fork MODULE...   imports, then for each line on stdin, a number, that many times: forks, and the child answers over a
                 pipe with what PROGRAM prints. Prints the seconds of all together.
pool STRATEGY    multiprocessing.Pool(2) over the pairs on stdin, with backtest() of that file. Prints seconds and sum.
"""
import json
import multiprocessing
import os
import sys
import time


def fork_once(program):
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(w, 1)
        exec(compile(program, "main.py", "exec"), {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.close(w)
    out = b""
    while piece := os.read(r, 65536):
        out += piece
    os.close(r)
    assert os.waitpid(pid, 0)[1] == 0 and out == b"4\n", out


def serve(modules):
    for name in modules:
        __import__(name)
    program = "".join("import %s\n" % name for name in modules) + "print(2+2)"
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        began = time.monotonic()
        for _ in range(count):
            fork_once(program)
        print(time.monotonic() - began, flush=True)


def pool(path):
    with open(path, encoding="utf-8") as f:
        exec(compile(f.read(), path, "exec"), globals())
    print("ready", flush=True)
    for line in sys.stdin:
        pairs = json.loads(line)
        began = time.monotonic()
        with multiprocessing.Pool(2) as workers:
            total = sum(workers.map(globals()["backtest"], pairs))
        print(time.monotonic() - began, "%.6f" % total, flush=True)


if sys.argv[1] == "fork":
    serve(sys.argv[2:])
else:
    pool(sys.argv[2])

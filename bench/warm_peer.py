"""Peers of fork mode without any isolation, inside the interpreter that they fork.

fork MODULE...   imports, then for each line on stdin, a number, that many times: forks, and the child answers over a
                 pipe with what PROGRAM prints. Prints the seconds of all together.
pool STRATEGY    multiprocessing.Pool(2) over the pairs on stdin, with backtest() of that file. Prints seconds and sum.
forks STRATEGY   the same, each pair in a fork of its own, two at a time, after one backtest that warms up.
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


def pool(backtest, pairs):
    with multiprocessing.Pool(2) as workers:
        return sum(workers.map(backtest, pairs))


def forks(backtest, pairs):
    running, total = {}, 0
    for pair in pairs + [None, None]:
        if len(running) == 2 or (pair is None and running):
            pid, status = os.wait()
            assert status == 0, status
            with os.fdopen(running.pop(pid)) as f:
                total += float(f.read())
        if pair is None:
            continue
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(w, repr(backtest(pair)).encode())
            os._exit(0)
        os.close(w)
        running[pid] = r
    return total


def backtests(how, path, first):
    with open(path, encoding="utf-8") as f:
        exec(compile(f.read(), path, "exec"), globals())
    backtest = globals()["backtest"]
    if first:
        backtest(first)
    print("ready", flush=True)
    for line in sys.stdin:
        pairs = json.loads(line)
        began = time.monotonic()
        total = how(backtest, pairs)
        print(time.monotonic() - began, "%.6f" % total, flush=True)


if sys.argv[1] == "fork":
    serve(sys.argv[2:])
elif sys.argv[1] == "pool":
    backtests(pool, sys.argv[2], None)
else:
    backtests(forks, sys.argv[2], [4, 35])

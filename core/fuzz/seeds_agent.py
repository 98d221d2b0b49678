#!/usr/bin/env python3
"""Writes the seeds of fuzz_agent into core/fuzz/corpus/agent."""
import os
import struct


def frame(kind, payload=b""):
    return struct.pack(">BxxxI", kind, len(payload)) + payload


def field(tag, value):
    if isinstance(value, int):
        value = struct.pack(">Q", value)
    return struct.pack(">BI", tag, len(value)) + value


def final(*more, killed=0, out=100):
    numbers = {40: 1000, 41: 900, 44: killed, 45: 0, 46: 1 << 20, 47: 0, 48: 0, 49: out, 50: 100, 51: 1}
    return frame(0x8C, b"".join(more) + b"".join(field(t, v) for t, v in numbers.items()))


HELLO = frame(0x81, field(20, 3) + field(21, 7))
PROBE = frame(0x82, field(26, b"id\x001000 1000") + field(26, b"cgroup\0version 2\npids.max 64\n"))
STARTED = frame(0x83)
ARTEFACT = (frame(0x88, field(22, b"a/b.txt") + field(23, 0o644)) + frame(0x89, b"12345") +
            frame(0x8A, field(24, 5)))
READY = frame(0x8E, field(30, 2) + field(31, b"user,mnt,pid,ipc,uts,net,cgroup") + field(32, 50 << 20))
SEEDS = {
    "hello": HELLO,
    "exit": HELLO + STARTED + frame(0x84, b"out") + frame(0x85, b"err") + final(field(42, 0)),
    "signal": HELLO + PROBE + STARTED + final(field(43, 9), killed=1),
    "credit": HELLO + STARTED + frame(0x86, field(24, 65536)) + final(field(42, 1)),
    "value": HELLO + STARTED + frame(0x87, b'{"a":1}') + final(field(42, 0)),
    "empty-value": HELLO + STARTED + frame(0x87) + final(field(42, 0)),
    "artefacts": HELLO + STARTED + ARTEFACT + frame(0x8B, field(22, b"link") + field(25, b"symlink")) +
                 ARTEFACT + final(field(42, 0)),
    "changed": HELLO + STARTED + frame(0x88, field(22, b"x") + field(23, 0o600)) +
               frame(0x8A, field(24, 0) + field(25, b"changed")) + final(field(42, 0)),
    "failed": HELLO + frame(0x8D, field(27, b"exec") + field(28, 2) + field(29, b"cannot execute: x")),
    "cancelled": HELLO + final(killed=4, out=0),
    "too-long": HELLO + STARTED + struct.pack(">BxxxI", 0x84, (1 << 20) + 1),
    "traversal": HELLO + STARTED + frame(0x88, field(22, b"../x") + field(23, 0o644)),
    "after-final": HELLO + STARTED + final(field(42, 0)) + b"\0",
    "reports": HELLO + STARTED + frame(0x91, b'{"step":1}') + frame(0x84, b"out") + frame(0x91, b"\0\xff\n") +
               final(field(42, 0), field(52, 3)),
    "report-too-long": HELLO + STARTED + struct.pack(">BxxxI", 0x91, 65537),
    "report-empty": HELLO + STARTED + frame(0x91) + final(field(42, 0)),
    "report-early": HELLO + frame(0x91, b"{}"),
    "report-late": HELLO + STARTED + frame(0x87, b"1") + frame(0x91, b"{}") + final(field(42, 0)),
    "pong": HELLO + frame(0x90) + STARTED + final(field(42, 0)),
    "forged": HELLO + STARTED + frame(0x84, final(field(42, 0))) + final(field(42, 3), out=1000),
}

SERVER_SEEDS = {
    "server-runs": HELLO + PROBE + READY + frame(0x90) + STARTED + frame(0x87, b"1") + final(field(42, 0)) + READY +
                   STARTED + frame(0x87, b"2") + ARTEFACT + final(field(43, 15)) + READY,
    "server-reports": HELLO + READY + STARTED + frame(0x91, b"{}") + final(field(42, 0), field(52, 1)) + READY +
                      STARTED + frame(0x91, b"{}") + final(field(42, 0), field(52, 0)) + READY,
    "server-retire": HELLO + READY + STARTED + final(field(42, 0)) +
                     frame(0x8F, field(25, b"tmp") + field(29, b"a file in /tmp")),
    "server-died": HELLO + READY + frame(0x8F, field(25, b"server") + field(29, b"")),
    "server-failed": HELLO + frame(0x8D, field(27, b"preload") + field(28, 0) + field(29, b"No module named 'x'")),
    "server-doubled": HELLO + frame(0x8E, field(30, 1) + field(31, b"user,user") + field(32, 0)),
}

directory = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "agent")
os.makedirs(directory, exist_ok=True)
for seeds, server in ((SEEDS, 0), (SERVER_SEEDS, 0x80)):
    for name, data in seeds.items():
        for step in (0, 6):
            with open(os.path.join(directory, "%s-%d" % (name, step + 1)), "wb") as f:
                f.write(bytes([server + step]) + data)

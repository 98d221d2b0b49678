"""What the parts of the packages stage's program share: directories, failures, words."""
import hashlib
import os
import re

IN = "/moonsand/in"
CACHE = "/moonsand/cache"
ROOT = "/moonsand/root"
DELTA = "/moonsand/delta"
WORK = "/moonsand/work"
SHARE = "/usr/local/share/moonsand"
FILES, TREES, SETS, STATE = CACHE + "/files", CACHE + "/trees", CACHE + "/sets", CACHE + "/root.json"
# Every file gets this date (the oldest that zip knows), so that equal input is an equal tree; bytecode
# holds the date of its source.
DATE = 315532800
JOBS = max(1, min(8, len(os.sched_getaffinity(0))))


class Failure(Exception):
    """Ends the program; code is one of the words that the controller knows."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def say(text):
    print(text, flush=True)


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()

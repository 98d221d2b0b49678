"""One wheel as a tree: laid out as pip does it, byte-compiled, with its RECORD; several at once."""
import base64
import csv
import email.parser
import hashlib
import importlib.util
import io
import json
import os
import py_compile
import re
import shutil
import sys
import sysconfig
import zipfile

from wheels_common import DATE, JOBS, TREES, Failure, say


def scheme():
    """Where pip would install, with links of the image resolved: a tree must not replace a link by a directory."""
    paths = sysconfig.get_paths()
    out = {key: os.path.realpath(paths[key]) for key in ("purelib", "platlib", "scripts", "data")}
    out["headers"] = os.path.realpath(paths.get("include", paths["data"] + "/include"))
    return out


def split_wheel(archive):
    """The name of the *.dist-info directory, and whether the wheel is pure."""
    infos = {n.split("/", 1)[0] for n in archive.namelist() if re.match(r"[^/]+\.dist-info/WHEEL$", n)}
    if len(infos) != 1:
        raise Failure("wheel", "%s is not a wheel" % os.path.basename(archive.filename))
    info = infos.pop()
    head = email.parser.Parser().parsestr(archive.read(info + "/WHEEL").decode("utf-8", "replace"))
    return info, str(head.get("Root-Is-Purelib", "")).strip().lower() == "true"


def target_of(name, info, lib, places, project):
    """Where a member of the wheel goes, as an absolute path, and which part of the scheme it is of."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise Failure("wheel", "a wheel with the name %r in it is refused" % name)
    data = info[: -len(".dist-info")] + ".data"
    if parts[0] == data and len(parts) > 2:
        if parts[1] not in places:
            raise Failure("wheel", "a wheel with the unknown part %r" % parts[1])
        base = places[parts[1]]
        if parts[1] == "headers":
            base = os.path.join(base, project)
        return os.path.join(base, *parts[2:]), parts[1]
    return os.path.join(lib, *parts), "lib"


SCRIPT = """#!%s
# -*- coding: utf-8 -*-
import re
import sys
from %s import %s
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(%s())
"""


def entry_points(text):
    """The programs that a wheel asks for: name, module, attribute."""
    section = None
    for line in text.splitlines():
        line = line.strip()
        head = re.match(r"\[(.*)\]$", line)
        if head:
            section = head[1].strip()
        elif section in ("console_scripts", "gui_scripts") and line and line[0] not in "#;":
            hit = re.match(r"([\w.-]+)\s*=\s*([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?$", line)
            if hit:
                yield hit[1], hit[2], hit[3]


def put(tree, target, data, mode, dates):
    path = tree + target
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    os.chmod(path, mode)
    os.utime(path, (DATE, DATE))
    dates.append(target)


def unpack(wheel, tree, places):
    """Lays a wheel out below tree. Returns its facts; RECORD is still to be written."""
    with zipfile.ZipFile(wheel) as archive:
        info, pure = split_wheel(archive)
        meta = email.parser.Parser().parsestr(archive.read(info + "/METADATA").decode("utf-8", "replace"))
        name, version = str(meta["Name"]), str(meta["Version"])
        lib = places["purelib" if pure else "platlib"]
        files = []
        for member in archive.infolist():
            if member.filename.endswith("/") or member.filename in (info + "/RECORD", info + "/RECORD.jws"):
                continue
            target, part = target_of(member.filename, info, lib, places, name)
            if os.path.realpath(os.path.dirname(target)) != os.path.dirname(target):
                target = os.path.join(os.path.realpath(os.path.dirname(target)), os.path.basename(target))
            data = archive.read(member)
            mode = 0o755 if (member.external_attr >> 16) & 0o111 else 0o644
            if part == "scripts":
                mode = 0o755
                if data.startswith(b"#!python"):
                    line, _, rest = data.partition(b"\n")
                    data = b"#!" + os.fsencode(sys.executable) + b"\n" + rest
            put(tree, target, data, mode, files)
        if info + "/entry_points.txt" in archive.namelist():
            for program, module, attribute in entry_points(archive.read(info + "/entry_points.txt").decode("utf-8", "replace")):
                text = SCRIPT % (sys.executable, module, attribute.split(".")[0], attribute)
                put(tree, os.path.join(places["scripts"], program), text.encode(), 0o755, files)
    put(tree, os.path.join(lib, info, "INSTALLER"), b"moonsand\n", 0o644, files)
    return {"name": name, "version": version, "lib": lib, "info": info, "files": files}


def compile_file(tree, target):
    """Bytecode beside the source, as pip makes it. A file that is no valid Python is left alone, as pip does."""
    source = tree + target
    cached = importlib.util.cache_from_source(source)
    try:
        py_compile.compile(source, cfile=cached, dfile=target, doraise=True, quiet=2,
                           invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    except (py_compile.PyCompileError, SyntaxError, ValueError, UnicodeError, RecursionError):
        return None
    os.chmod(cached, 0o644)
    os.utime(cached, (DATE, DATE))
    return importlib.util.cache_from_source(target)


def record(tree, facts):
    """RECORD, by which pip uninstalls and importlib.metadata lists."""
    lib, rows = facts["lib"], []
    for target in facts["files"]:
        with open(tree + target, "rb") as f:
            data = f.read()
        if target.endswith(".pyc"):
            rows.append((os.path.relpath(target, lib), "", ""))
            continue
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append((os.path.relpath(target, lib), "sha256=" + digest, str(len(data))))
    path = os.path.join(lib, facts["info"], "RECORD")
    rows.append((os.path.relpath(path, lib), "", ""))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    put(tree, path, text.getvalue().encode("utf-8"), 0o644, facts["files"])


def parallel(jobs):
    """Runs functions in children, a list of them in each; returns what they return (JSON). Fork and pipes
    only: a build container may have no /dev/shm, without which multiprocessing has no locks."""
    children = []
    for work in jobs:
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.close(r)
                answer = json.dumps([f(*args) for f, args in work]).encode()
                with os.fdopen(w, "wb") as out:
                    out.write(answer)
                status = 0
            except Failure as e:
                print("moonsand-failure: %s: %s" % (e.code, e), flush=True)
                status = 3
            except OSError as e:
                print("moonsand-failure: %s: %s" % ("space" if e.errno == 28 else "io", e), flush=True)
                status = 3
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(w)
        children.append((pid, r))
    out, failed = [], 0
    for pid, r in children:
        with os.fdopen(r, "rb") as f:
            data = f.read()
        status = os.waitpid(pid, 0)[1]
        if status:
            failed = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1
        out.append(json.loads(data) if data else [])
    if failed == 3:
        sys.exit(1)  # said already
    if failed:
        raise Failure("io", "a process of the packages stage died")
    return out


def balanced(items, size):
    """The items in JOBS lists of about the same sum of sizes."""
    lists, sums = [[] for _ in range(JOBS)], [0] * JOBS
    for item in sorted(items, key=size, reverse=True):
        least = sums.index(min(sums))
        lists[least].append(item)
        sums[least] += size(item)
    return [part for part in lists if part]


def install_new(packages, places):
    """Trees for those packages that have none yet. Half-made ones never get the good name."""
    os.makedirs(TREES, exist_ok=True)
    new = []
    for p in packages:
        if not os.path.exists("%s/%s.json" % (TREES, p["sha256"])):
            p["tree"] = "%s/%s" % (TREES, p["sha256"])
            shutil.rmtree(p["tree"], ignore_errors=True)
            new.append(p)
    if not new:
        return 0, 0

    def one(p):
        return [p["sha256"], unpack(p["wheel"], p["tree"], places)]

    jobs = balanced(new, lambda p: os.path.getsize(p["wheel"]))
    facts = {}
    for part in parallel([[(one, (p,)) for p in job] for job in jobs]):
        for key, value in part:
            facts[key] = value
    sources = [(p, f) for p in new for f in facts[p["sha256"]]["files"] if f.endswith(".py")]
    say("compiling %d files of %d packages" % (len(sources), len(new)))

    def compile_one(p, target):
        return [p["sha256"], compile_file(p["tree"], target)]

    jobs = balanced(sources, lambda s: 2000 + os.path.getsize(s[0]["tree"] + s[1]))
    for part in parallel([[(compile_one, s) for s in job] for job in jobs]):
        for key, value in part:
            if value:
                facts[key]["files"].append(value)
    for p in new:
        f = facts[p["sha256"]]
        record(p["tree"], f)
        f["files"] = sorted(set(f["files"]))
        with open("%s/%s.json" % (TREES, p["sha256"]), "w") as out:
            json.dump(f, out)
    return len(new), len(sources)

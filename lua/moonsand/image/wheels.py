"""The program of the packages stage: what pip would install, as a tree that the final image copies.

It runs with the base image's own Python, in an image that starts from the base or from this program's
last result, and needs nothing but pip (22.2 or newer) beside the standard library.

    /moonsand/in      what the build sends: this file, options.json, requirements files, ca.pem
    /moonsand/cache   kept between builds: downloaded files, and for each of them its installed and
                      byte-compiled tree
    /moonsand/root    the tree for the final image; what changed since the last build is changed in
                      it, for a file of a lower layer that is left alone costs nothing
    /moonsand/delta   what an image with an earlier set of packages (in/tree.json) lacks of it

What is printed is for people, but for two lines. "moonsand-set: HASH extends" (or "anew") names the set of
packages and says whether delta is enough; a failure ends with "moonsand-failure: CODE: MESSAGE".
"""
import csv
import email.parser
import hashlib
import io
import json
import os
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
import zipfile

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


# --- pip -------------------------------------------------------------------------------------------------


def check_pip():
    done = subprocess.run([sys.executable, "-m", "pip", "--version"], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    found = re.match(r"pip (\d+)\.(\d+)", done.stdout)
    if done.returncode or not found:
        raise Failure("pip", "the base image's Python has no pip (%s)" % sys.executable)
    if (int(found[1]), int(found[2])) < (22, 2):
        raise Failure("pip", "the base image's pip is too old: %s, 22.2 is needed" % done.stdout.split(" from")[0])


def environment():
    """The environment of pip and apt: the base's, and the certificates given for this build."""
    env = dict(os.environ, PIP_BREAK_SYSTEM_PACKAGES="1", PIP_ROOT_USER_ACTION="ignore", PIP_NO_INPUT="1",
               PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_CACHE_DIR="1", PIP_RETRIES="3", PIP_PROGRESS_BAR="off",
               PYTHONUNBUFFERED="1", PIP_NO_COLOR="1", RES_OPTIONS="timeout:2 attempts:1")
    if os.path.exists(IN + "/ca.pem"):
        # pip's --cert takes the place of its own list, and the index may be behind either.
        bundle = WORK + "/ca.pem"
        with open(bundle, "wb") as out:
            for path in (IN + "/ca.pem", "/etc/ssl/certs/ca-certificates.crt"):
                if os.path.exists(path):
                    with open(path, "rb") as f:
                        out.write(f.read() + b"\n")
            try:
                from pip._vendor import certifi
                with open(certifi.where(), "rb") as f:
                    out.write(f.read())
            except (ImportError, OSError):
                pass
        env.update(PIP_CERT=bundle, REQUESTS_CA_BUNDLE=bundle, SSL_CERT_FILE=bundle, CURL_CA_BUNDLE=bundle)
    return env


def run(argv, env, keep=200):
    """Runs a program, passes its lines on, returns its exit status and its last lines."""
    lines = []
    child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in child.stdout:
        line = re.sub(r"<pip\._vendor\S* object at 0x[0-9a-f]+>: ", "", line.rstrip())
        if line and not re.match(r"\s*(Saved |File was already downloaded|\[notice\]|Successfully downloaded)", line):
            say(line)
        lines.append(line)
        # The words by which a failure is told apart come at either end.
        if len(lines) > 4 * keep:
            del lines[keep:-2 * keep]
    return child.wait(), lines


def explain(lines):
    """pip's failure in one line, with the code for the controller."""
    text = "\n".join(lines)
    errors = [re.sub(r"^ERROR: ", "", line) for line in lines if line.startswith("ERROR: ")]
    last = errors[-1] if errors else (lines[-1] if lines else "pip said nothing")
    if re.search(r"No space left on device", text):
        return "space", "no space left on the engine's disk"
    if re.search(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", text):
        return "unreachable", "the package index's certificate is not trusted (a CA bundle can be given for the build)"
    offline = re.search(r"connection broken by|Read timed out|Max retries exceeded|ReadTimeoutError", text)
    why = re.findall(r"Temporary failure in name resolution|Name or service not known|Connection refused|No route to host"
                     r"|Network is unreachable|Cannot connect to proxy|timed out|Connection reset|too many \d+ error", text)
    offline = offline and "the package index cannot be reached: " + (why[-1] if why else offline[0]).lower()
    if re.search(r"DO NOT MATCH THE HASHES", text):
        wanted = re.search(r"Expected (?:or )?sha256 (\w+)", text)
        package = re.search(r"^\s{4}(\S.*?) from ", text, re.M)
        return "hash", "a hash does not match%s%s" % (
            ": " + package[1] if package else "", " (expected sha256 %s)" % wanted[1] if wanted else "")
    if re.search(r"require-hashes mode", text):
        return "hash", next((e for e in errors if "require-hashes" in e), last)
    if re.search(r"ResolutionImpossible|conflicting dependencies", text):
        start = next((i for i, line in enumerate(lines) if "conflict is caused by" in line), None)
        reasons = []
        for line in lines[start + 1:] if start is not None else []:
            if not line.startswith("    "):
                break
            reasons.append(line.strip())
        return "conflict", "versions that exclude each other" + (": " + "; ".join(reasons) if reasons else "")
    if re.search(r"Invalid requirement|invalid requirement", text):
        return "requirement", next((e for e in errors if "nvalid requirement" in e), last)
    if re.search(r"No matching distribution found", text):
        none = "from versions: none" in text
        if none and offline:
            return "unreachable", offline
        name = re.search(r"No matching distribution found for (.*)", text)[1]
        known = re.search(r"\(from versions: (.*)\)", text)
        versions = [] if none or not known else known[1].split(", ")
        return "not_found", "there is no package %s%s" % (
            name, " (the last versions are %s)" % ", ".join(versions[-5:]) if versions else "")
    if offline:
        return "unreachable", offline
    return "pip", last


def needs_compiler(lines):
    return any(re.search(r"metadata-generation-failed|Failed building|failed to build|subprocess-exited-with-error"
                         r"|build-wheel|Getting requirements to build wheel did not run", line) for line in lines)


def install_compiler(env, extra, why):
    """Debian's compilers, in this stage only. False when they are there or cannot be had."""
    if shutil.which("apt-get") is None:
        return False
    wanted = list(extra)
    if why and shutil.which("cc") is None:
        wanted += ["build-essential"]
    if why and not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        wanted += ["python3-dev"]
    if not wanted:
        return False
    say("installing for this stage: %s" % " ".join(wanted))
    env = dict(env, DEBIAN_FRONTEND="noninteractive")
    apt = ["apt-get", "-q", "-o", "Acquire::Retries=2"]
    if "SSL_CERT_FILE" in env:
        apt += ["-o", "Acquire::https::CAInfo=" + env["SSL_CERT_FILE"]]
    for argv in (apt + ["update"], apt + ["install", "-y", "--no-install-recommends", "--"] + wanted):
        status, lines = run(argv, env)
        if status:
            errors = [line for line in lines if line.startswith("E: ")]
            text = "; ".join(errors[:3]) or "apt-get ended with status %d" % status
            offline = re.search(r"Could not resolve|Could not connect|Unable to connect|Temporary failure", "\n".join(lines))
            raise Failure("unreachable" if offline else "apt", text)
    shutil.rmtree("/var/lib/apt/lists", ignore_errors=True)
    return True


def download(options, env):
    """Resolves and fetches. Returns the files of the set, each with its hash."""
    dest = WORK + "/set"
    os.makedirs(dest)
    os.makedirs(FILES, exist_ok=True)
    # pip takes a file that is there already, when its hash is the index's, and downloads it otherwise.
    for name in os.listdir(FILES):
        os.symlink(os.path.join(FILES, name), os.path.join(dest, name))
    argv = [sys.executable, "-m", "pip", "download", "-d", dest]
    if options.get("locked"):
        argv += ["--require-hashes", "--no-deps"]
    for name in options["requirements"]:
        argv += ["-r", os.path.join(IN, name)]
    status, lines = run(argv, env, 2000)
    if status and needs_compiler(lines) and install_compiler(env, [], True):
        status, lines = run(argv, env, 2000)
    if status:
        raise Failure(*explain(lines))
    found = {}
    for line in lines:
        hit = re.match(r"\s*(?:Saved|File was already downloaded) (.*)$", line)
        if hit:
            found[os.path.basename(hit[1])] = True
    count = next((len(line.split()) - 2 for line in reversed(lines) if line.startswith("Successfully downloaded ")), 0)
    if count != len(found):
        raise Failure("pip", "pip names %d packages and %d files" % (count, len(found)))
    out = []
    for name in sorted(found):
        path, kept = os.path.join(dest, name), os.path.join(FILES, name)
        if not os.path.islink(path):
            os.replace(path, kept)
        out.append({"path": kept, "sha256": sha256(kept)})
    return out


def build_wheel(source, env, options):
    """A wheel of a source distribution."""
    out = os.path.join(WORK, "built", os.path.basename(source))
    argv = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", out, source]
    install_compiler(env, [], True)
    status, lines = run(argv, env, 2000)
    if status:
        code, message = explain(lines)
        if code != "unreachable" and code != "space":
            code, message = "compile", "%s cannot be built: %s" % (os.path.basename(source), message)
        raise Failure(code, message)
    return os.path.join(out, os.listdir(out)[0])


# --- one wheel as a tree ----------------------------------------------------------------------------------


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
    import importlib.util
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
        import base64
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


# --- the tree of all ---------------------------------------------------------------------------------------


def installed(places):
    """What pip installed in the base, where we install: canonical name -> (version, absolute files)."""
    import importlib.metadata
    out = {}
    for lib in {places["purelib"], places["platlib"]}:
        if not os.path.isdir(lib):
            continue
        for dist in importlib.metadata.distributions(path=[lib]):
            name = dist.metadata["Name"]
            if name:
                files = [os.path.normpath(str(f.locate())) for f in dist.files or []]
                out[canonical(name)] = (dist.version, files)
    return out


def directory(root, target):
    """A directory of the root tree, with the mode that the image's own has."""
    path = root + target
    if target in ("", "/") or os.path.isdir(path):
        return
    directory(root, os.path.dirname(target))
    os.mkdir(path)
    try:
        mode = stat.S_IMODE(os.stat(target).st_mode)
    except OSError:
        mode = 0o755
    os.chmod(path, mode)


def place(root, target, key):
    """One file of a package's tree, by a link where it can be one."""
    directory(root, os.path.dirname(target))
    source = "%s/%s%s" % (TREES, key, target)
    try:
        os.link(source, root + target)
    except OSError:
        shutil.copy2(source, root + target)


def owners(keys):
    """path -> key of the tree that it comes from; of two that have the same file, the later name's, as with pip."""
    out = {}
    for key in keys:
        with open("%s/%s.json" % (TREES, key)) as f:
            for target in json.load(f)["files"]:
                out[target] = key
    return out


def update_root(keys):
    """Makes the root tree hold these trees and nothing else, changing only what differs."""
    os.makedirs(ROOT, exist_ok=True)
    before = []
    if os.path.exists(STATE):
        with open(STATE) as f:
            before = [k for k in json.load(f) if os.path.exists("%s/%s.json" % (TREES, k))]
    have, want = owners(before), owners(keys)
    gone = [t for t, key in have.items() if want.get(t) != key]
    emptied = set()
    for target in gone:
        try:
            os.unlink(ROOT + target)
        except FileNotFoundError:
            pass
        emptied.add(os.path.dirname(target))
    for target, key in want.items():
        if have.get(target) != key:
            place(ROOT, target, key)
    for target in sorted(emptied, key=len, reverse=True):
        while target not in ("", "/"):
            try:
                os.rmdir(ROOT + target)
            except OSError:
                break
            target = os.path.dirname(target)
    with open(STATE, "w") as f:
        json.dump(keys, f)
    return want


def tree_hash(want):
    """A hash of what was installed, but for bytecode, whose bytes depend on the order of compilation."""
    digest = hashlib.sha256()
    for target in sorted(want):
        if not target.endswith((".pyc", "/RECORD")):
            mode = os.stat(ROOT + target).st_mode
            digest.update(("%s\0%o\0%s\n" % (target, mode & 0o777, sha256(ROOT + target))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def name_set(keys, replaced):
    """Writes down which packages make up a set. Returns its name."""
    name = hashlib.sha256("\n".join(keys + ["replaces"] + replaced).encode("utf-8", "surrogateescape")).hexdigest()
    os.makedirs(SETS, exist_ok=True)
    with open("%s/%s.json" % (SETS, name), "w") as f:
        json.dump({"keys": keys, "replaced": replaced}, f)
    return name


def make_delta(want, replaced):
    """Files that the image with an earlier set lacks; False when it has some that are not wanted any more."""
    shutil.rmtree(DELTA, ignore_errors=True)
    os.makedirs(DELTA)
    try:
        with open(IN + "/tree.json") as f:
            name = json.load(f)["set"]
        with open("%s/%s.json" % (SETS, os.path.basename(name))) as f:
            earlier = json.load(f)
        have = owners(earlier["keys"])
    except (OSError, ValueError, KeyError):
        return False
    if any(want.get(t) != key for t, key in have.items()) or not set(replaced) <= set(earlier["replaced"]):
        return False
    for target, key in want.items():
        if target not in have:
            place(DELTA, target, key)
    return True


def share(root, name, text):
    directory(root, SHARE)
    path = "%s%s/%s" % (root, SHARE, name)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o644)
    os.utime(path, (DATE, DATE))


def main():
    began = time.monotonic()
    with open(IN + "/options.json") as f:
        options = json.load(f)
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    os.umask(0o022)
    check_pip()
    env = environment()
    if options.get("build_apt"):
        install_compiler(env, options["build_apt"], False)
    say("resolving packages")
    packages = download(options, env)
    resolved = time.monotonic()
    for p in packages:
        key = "%s/%s.json" % (TREES, p["sha256"])
        p["wheel"] = p["path"]
        if not os.path.exists(key) and not p["path"].endswith(".whl"):
            p["wheel"] = build_wheel(p["path"], env, options)
    places = scheme()
    new, compiled = install_new(packages, places)
    for p in packages:
        with open("%s/%s.json" % (TREES, p["sha256"])) as f:
            facts = json.load(f)
        p["name"], p["version"] = facts["name"], facts["version"]
    packages.sort(key=lambda p: canonical(p["name"]))
    there, replaced, keep = installed(places), [], []
    for p in packages:
        old = there.get(canonical(p["name"]))
        if old and old[0] == p["version"]:
            continue  # the base has just this one
        keep.append(p["sha256"])
        replaced += old[1] if old else []
    want = update_root(keep)
    lock = {
        "python": "%d.%d.%d" % sys.version_info[:3],
        "tree": tree_hash(want),
        "pip": [{"name": p["name"], "version": p["version"], "hashes": ["sha256:" + p["sha256"]]} for p in packages],
    }
    replaced = sorted(f for f in set(replaced) - set(want) if "\n" not in f)
    extends = make_delta(want, replaced)
    for root in (ROOT, DELTA):
        share(root, "lock.json", json.dumps(lock, indent=1, sort_keys=True) + "\n")
    share(ROOT, "replaced", "".join(f + "\n" for f in replaced))
    say("moonsand-set: %s %s" % (name_set(keep, replaced), "extends" if extends else "anew"))
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.rmtree(IN, ignore_errors=True)
    say("%d packages, %d of them new, %d files compiled; %.1f s, %.1f s of them for pip"
        % (len(packages), new, compiled, time.monotonic() - began, resolved - began))


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        say("moonsand-failure: %s: %s" % (failure.code, failure))
        sys.exit(1)
    except OSError as failure:
        say("moonsand-failure: %s: %s" % ("space" if failure.errno == 28 else "io", failure))
        sys.exit(1)

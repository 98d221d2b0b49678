"""What pip would install, as files: resolved and downloaded by pip, wheels built where there are none."""
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.parse
import urllib.request

from wheels_common import FILES, IN, WORK, Failure, say, sha256

# Seconds for a package index to take a connection, of all its addresses and of one; a lost packet is sent again after 1.
PATIENCE, ONE_TRY = 4, 1.5

def check_pip(env):
    """Is there a pip that will do? Returns what it is configured with: "global.index-url" -> value."""
    pip = [sys.executable, "-m", "pip"]
    asked = [subprocess.Popen(pip + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
             for words in (["--version"], ["config", "list"])]
    version, settings = [child.communicate()[0] for child in asked]
    found = re.match(r"pip (\d+)\.(\d+)", version)
    if asked[0].returncode or not found:
        raise Failure("pip", "the base image's Python has no pip (%s)" % sys.executable)
    if (int(found[1]), int(found[2])) < (22, 2):
        raise Failure("pip", "the base image's pip is too old: %s, 22.2 is needed" % version.split(" from")[0])
    return dict(re.findall(r"^([\w:.-]+)='(.*)'$", settings, re.M))


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


INDEX_OPTION = r"\s*(-i|--index-url|--extra-index-url)[ =]+(\S+)"
ELSEWHERE = r"\s*(-f|--find-links|--no-index|-r|--requirement|-c|--constraint)\b|.*://|\s*[./]"


def default_index():
    """The index that this pip asks when nothing else is said; None when it keeps that to itself."""
    try:
        from pip._internal.models.index import PyPI
        return PyPI.simple_url
    except (ImportError, AttributeError):
        return None


def indexes(options, settings):
    """The addresses of the package indexes that pip would ask; none when it may find all elsewhere."""
    main, extra = None, []
    for name in options["requirements"]:
        with open(os.path.join(IN, name), encoding="utf-8", errors="replace") as f:
            for line in f:
                option = re.match(INDEX_OPTION, line)
                if option and option[1] == "--extra-index-url":
                    extra.append(option[2])
                elif option:
                    main = option[2]
                elif re.match(ELSEWHERE, line):
                    return []
    # pip's files, then its environment: the later take the place of the earlier.
    known = {}
    for section in ("global", "download", ":env:"):
        for key in ("index-url", "extra-index-url", "find-links", "no-index"):
            known[key] = settings.get("%s.%s" % (section, key), known.get(key))
    if known["find-links"] or known["no-index"]:
        return []
    first = main or known["index-url"] or default_index()
    # An index that is not known may answer: then pip itself finds out.
    return [first] + extra + (known["extra-index-url"] or "").split() if first else []


def connect(url):
    """Connects to who answers for the address, or to the proxy before it."""
    there = urllib.parse.urlsplit(url)
    if there.scheme not in ("http", "https") or not there.hostname:
        raise ValueError(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(there.scheme) or proxies.get("all")
    if proxy and not urllib.request.proxy_bypass(there.hostname):
        there = urllib.parse.urlsplit(proxy if "://" in proxy else "http://" + proxy)
    port = there.port or (80 if there.scheme == "http" else 443)
    socket.create_connection((there.hostname, port), ONE_TRY).close()


def check_index(urls):
    """Fails when none of the addresses can be reached. pip itself would try for a minute where packets are lost."""
    if not urls:
        return
    answers = queue.Queue()

    def ask(url):
        for pause in (0, 0.5):
            time.sleep(pause)
            try:
                connect(url)
                return answers.put(None)
            except Exception as e:  # an address that makes no sense is for pip to explain
                why = e
        return answers.put(why)

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    due, why = time.monotonic() + PATIENCE, None
    for _ in urls:
        try:
            why = answers.get(timeout=max(0.0, due - time.monotonic()))
        except queue.Empty:
            why = TimeoutError()
        if not isinstance(why, OSError):
            return
    host = urllib.parse.urlsplit(urls[0]).hostname
    what = "timed out" if isinstance(why, TimeoutError) else (why.strerror or str(why)).lower()
    raise Failure("unreachable", "the package index cannot be reached: %s: %s" % (host, what))


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
    apt = ["apt-get", "-q", "-o", "Acquire::Retries=2", "-o", "Dpkg::Use-Pty=0"]
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

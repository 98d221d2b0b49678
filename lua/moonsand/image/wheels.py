"""The program of the packages stage: what pip would install, as a tree that the final image copies.

It runs with the base image's own Python, in an image that starts from the base or from this program's
last result, and needs nothing but pip (22.2 or newer) beside the standard library.

    /moonsand/in      what the build sends: this file and its parts, options.json, requirements files, ca.pem
    /moonsand/cache   kept between builds: downloaded files, and for each of them its installed and
                      byte-compiled tree
    /moonsand/root    the tree for the final image; what changed since the last build is changed in
                      it, for a file of a lower layer that is left alone costs nothing
    /moonsand/delta   what an image with an earlier set of packages (in/tree.json) lacks of it

What is printed is for people, but for two lines. "moonsand-set: HASH extends" (or "anew") names the set of
packages and says whether delta is enough; a failure ends with "moonsand-failure: CODE: MESSAGE".
"""
import json
import os
import shutil
import sys
import time

from wheels_common import DELTA, IN, ROOT, TREES, WORK, Failure, canonical, say
from wheels_fetch import build_wheel, check_index, check_pip, download, environment, indexes, install_compiler
from wheels_root import installed, make_delta, name_set, share, tree_hash, update_root
from wheels_unpack import install_new, scheme


def main():
    began = time.monotonic()
    with open(IN + "/options.json") as f:
        options = json.load(f)
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    os.umask(0o022)
    env = environment()
    settings = check_pip(env)
    if options.get("build_apt"):
        install_compiler(env, options["build_apt"], False)
    check_index(indexes(options, settings))
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

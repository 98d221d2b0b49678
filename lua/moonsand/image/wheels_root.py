"""The trees of all packages as one, for the final image, and what an image with an earlier set lacks of it."""
import hashlib
import importlib.metadata
import json
import os
import shutil
import stat

from wheels_common import DATE, DELTA, IN, ROOT, SETS, SHARE, STATE, TREES, canonical, sha256


def installed(places):
    """What pip installed in the base, where we install: canonical name -> (version, absolute files)."""
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

# The fork server's Python: imports what is to be there, and becomes the program of each run in a copy
# of itself. Runs by `python3 -c`; descriptors and calls: control.h.
def _moonsand():
    import ctypes
    import gc
    import os
    import sys
    import types

    api = ctypes.pythonapi
    library = ctypes.PyDLL("/proc/self/fd/4")
    os.close(4)

    class Arenas(ctypes.Structure):
        _fields_ = [(name, ctypes.c_void_p) for name in ("context", "take", "free")]

    # Before anything is loaded: all of it is to lie side by side.
    api.PyObject_SetArenaAllocator(ctypes.byref(Arenas(
        None, ctypes.cast(library.moonsand_arena, ctypes.c_void_p),
        ctypes.cast(library.moonsand_arena_free, ctypes.c_void_p))))

    with open(5, "rb") as f:
        *names, script = f.read().split(b"\0")[:-1]
    if sys.path and sys.path[0] == "":
        del sys.path[0]

    def check(what):
        # A thread would be missing in every copy, with whatever it holds.
        if len(os.listdir("/proc/self/task")) != 1:
            raise RuntimeError(what + " left threads running")

    try:
        for name in names:
            if name:
                __import__(name.decode())
                check("module " + name.decode())
        if script:
            module = types.ModuleType("__preload__")
            sys.modules["__preload__"] = module
            exec(compile(script, "preload_script", "exec", dont_inherit=True), module.__dict__)
            check("the preload script")
    except BaseException:
        sys.stdout.flush()  # the last words are to be why it failed
        raise
    import atexit
    import builtins
    import importlib.machinery
    import io
    import runpy
    import signal
    import threading
    import time

    library.moonsand_text.restype = ctypes.c_void_p
    library.moonsand_text_len.restype = ctypes.c_uint64

    for loaded in (library.moonsand_serve, library.moonsand_take):
        loaded.restype = None

    def environment(pairs):
        # The C library's was set; this is Python's view of it.
        zone = os.environ.get("TZ")
        new = dict(p.split(b"=", 1) for p in pairs if b"=" in p)
        try:
            data = os.environ._data
            data.clear()
            data.update(new)
        except AttributeError:
            os.environ.clear()
            os.environ.update({os.fsdecode(k): os.fsdecode(v) for k, v in new.items()})
        if os.environ.get("TZ") != zone:
            time.tzset()
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))

    def thread_setters():
        # Of the libraries that were loaded with one thread, so that they could be forked: the
        # variable that each has read, and what tells it another number now.
        known = (
            ("OMP_NUM_THREADS", ("libgomp", "libomp", "libiomp"), ctypes.c_int,
             ("omp_set_num_threads",)),
            ("OPENBLAS_NUM_THREADS", ("openblas",), ctypes.c_int,
             ("openblas_set_num_threads", "openblas_set_num_threads64_",
              "scipy_openblas_set_num_threads", "scipy_openblas_set_num_threads64_")),
            ("MKL_NUM_THREADS", ("libmkl_rt",), ctypes.c_int, ("MKL_Set_Num_Threads",)),
            ("BLIS_NUM_THREADS", ("libblis",), ctypes.c_int64, ("bli_thread_set_num_threads",)),
        )
        with open("/proc/self/maps") as maps:
            paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line}
        found = []
        for path in sorted(paths):
            for variable, names, number, symbols in known:
                if not any(name in path for name in names):  # Debian tells by a directory
                    continue
                try:
                    loaded = ctypes.CDLL(path)
                except OSError:
                    continue
                for symbol in symbols:
                    if hasattr(loaded, symbol):
                        function = getattr(loaded, symbol)
                        function.argtypes, function.restype = [number], None
                        found.append((variable, function))
        return found

    def threads(env):
        for variable, function in setters:
            n = env.get(variable, "").split(",")[0].strip()
            if n.isdigit() and int(n) > 1:
                function(int(n))

    def stream(fd, old, unbuffered):
        # As the interpreter makes its own at its start: without a buffer, no byte is lost with a
        # program that is killed.
        raw = io.FileIO(fd, "wb" if fd > 0 else "rb", closefd=False)
        raw.name = old.name
        if fd == 0:
            buffer = io.BufferedReader(raw)
        else:
            buffer = raw if unbuffered else io.BufferedWriter(raw)
        new = io.TextIOWrapper(buffer, old.encoding, old.errors, None if fd == 0 else "\n",
                               line_buffering=fd == 2 and not unbuffered,
                               write_through=fd > 0 and unbuffered)
        new.mode = old.mode
        return new

    def streams(unbuffered):
        # What the server's own stand for has changed below them: what they found out of it, and
        # how they write, may be wrong. One that a module has put in their place stays.
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            old = getattr(sys, "__%s__" % name)
            if old is None or (fd > 0 and unbuffered == was_unbuffered):
                continue
            new = stream(fd, old, unbuffered)
            if getattr(sys, name) is old:
                setattr(sys, name, new)
            setattr(sys, "__%s__" % name, new)

    def main_module():
        sys.modules.pop("__main__", None)  # so that it is the last: see newer()
        module = types.ModuleType("__main__")
        module.__builtins__ = builtins
        if sys.version_info < (3, 14):
            module.__annotations__ = {}
        sys.modules["__main__"] = module
        return module.__dict__

    def source_of(path):
        with io.open_code(path) as f:
            data = f.read()
        if path.endswith(".pyc"):
            import marshal
            return marshal.loads(data[16:])
        return compile(data, path, "exec", dont_inherit=True)

    def run_file(path):
        try:
            with open(path, "rb"):
                pass
        except IsADirectoryError:
            pass
        except OSError as e:
            sys.stderr.write("%s: can't open file %r: [Errno %d] %s\n"
                             % (sys.orig_argv[0], os.path.abspath(path), e.errno, e.strerror))
            raise SystemExit(2)
        if not path.endswith((".py", ".pyc")):
            import pkgutil
            if pkgutil.get_importer(path) is not None:
                sys.path.insert(0, os.path.abspath(path))
                main_module()
                return runpy._run_module_as_main("__main__", alter_argv=False)
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
        scope = main_module()
        kind = "SourcelessFileLoader" if path.endswith(".pyc") else "SourceFileLoader"
        path = os.path.abspath(path)
        scope["__loader__"] = getattr(importlib.machinery, kind)("__main__", path)
        scope["__file__"] = path
        scope["__cached__"] = None
        exec(source_of(path), scope)

    def run_code(text):
        sys.path.insert(0, "")
        scope = main_module()
        scope["__loader__"] = importlib.machinery.BuiltinImporter
        exec(compile(text, "<string>", "exec", dont_inherit=True), scope)

    def run(argv):
        if argv[1] == "-c":
            sys.argv = ["-c"] + argv[3:]
            run_code(argv[2])
        elif argv[1] == "-m":
            sys.argv = ["-m"] + argv[3:]
            sys.path.insert(0, os.getcwd())
            main_module()
            runpy._run_module_as_main(argv[2])
        else:
            sys.argv = argv[1:]
            run_file(argv[1])

    def code_of(e):
        code = e.code
        if code is None:
            return 0
        if isinstance(code, int):
            # One that no C long holds is -1 to Python.
            return code & 0xff if -1 << long_bits - 1 <= code < 1 << long_bits - 1 else 0xff
        try:
            sys.stderr.write(str(code) + "\n")
        except BaseException:
            pass
        return 1

    long_bits = 8 * ctypes.sizeof(ctypes.c_long)
    own = {f.__code__ for f in (run, run_file, run_code, source_of)}

    def show(e):
        # Of the frames, only the program's own.
        tb = e.__traceback__
        while tb is not None and (tb.tb_frame.f_code in own or tb.tb_frame.f_code is outer):
            tb = tb.tb_next
        e.__traceback__ = tb
        sys.last_type, sys.last_value, sys.last_traceback = type(e), e, tb
        try:
            sys.excepthook(type(e), e, tb)
        except SystemExit as again:
            return code_of(again)
        except BaseException as again:
            sys.stderr.write("Error in sys.excepthook:\n")
            sys.__excepthook__(type(again), again, again.__traceback__)
            sys.stderr.write("\nOriginal exception was:\n")
            sys.__excepthook__(type(e), e, tb)
        return 1

    def attempt(argv):
        try:
            run(argv)
        except SystemExit as e:
            return code_of(e)
        except KeyboardInterrupt as e:
            show(e)
            return -signal.SIGINT
        except BaseException as e:
            return show(e)
        return 0

    outer = attempt.__code__
    was_unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    present = set(sys.modules)

    def newer():
        # The modules that came after the program began. The others are not so much as looked at: a
        # reference to the name of each would copy the pages that they all lie in.
        names = []
        try:
            for name in reversed(sys.modules):
                if name == "__main__":
                    break
                if name not in present:
                    names.append(name)
        except RuntimeError:  # a daemon thread imports
            pass
        return names

    def settle():
        # What the end of an interpreter does for its programs, without taking it apart: threads are
        # waited for, exit functions run, and objects that nobody holds any more close their files.
        threading._shutdown()
        atexit._run_exitfuncs()
        for name in newer():
            sys.modules.pop(name, None)
        main = sys.modules.pop("__main__", None)
        if main is not None:
            main.__dict__.clear()
        gc.collect()

    def flush(code):
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None and not stream.closed:
                    stream.flush()
            except BaseException:
                if stream is sys.stdout:
                    code = code or 120
        return code

    def ready():
        # All that needs no job, so that it costs no run its time.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        random = sys.modules.get("numpy.random")
        if random is not None:
            random.seed()
        gc.enable()
        # Pages that any program writes to are copied now.
        exec(compile("def f(a):\n return [a, str(a)]\nf(1)\n", "<string>", "exec"), {})

    def become():
        parts = ctypes.string_at(library.moonsand_text(), library.moonsand_text_len()).split(b"\0")
        argc = library.moonsand_argc()
        environment(parts[argc:-1])
        argv = [os.fsdecode(a) for a in parts[:argc]]
        sys.orig_argv = argv
        threads(os.environ)
        streams(bool(os.environ.get("PYTHONUNBUFFERED")))
        for path in reversed(os.environ.get("PYTHONPATH", "").split(":")):
            if path and path not in sys.path:
                sys.path.insert(0, path)
        code = attempt(argv)
        try:
            settle()
        except BaseException as e:
            show(e)
        code = flush(code)
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)

    def rehearse():
        # What Python makes when it is first asked for (compile() alone: all types of syntax trees)
        # is made here and not in each copy.
        exec(compile(b"def f(a):\n    return [a, str(a)]\nf(1)\n", "<string>", "exec"), {})
        os.path.dirname(os.path.realpath("/tmp/main.py"))
        importlib.machinery.SourceFileLoader("__main__", "/tmp/main.py")
        if sys.__stdin__ is not None:
            stream(0, sys.__stdin__, False)
        with io.open_code("/dev/null") as f:
            f.read()

    rehearse()
    setters = thread_setters()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.argv = [""]
    api.PyOS_BeforeFork()
    library.moonsand_serve()
    api.PyOS_AfterFork_Child()
    ready()
    library.moonsand_take()
    become()


_moonsand()

"""What a program in a moonsand sandbox may use: its parameters, reports on the way, and its result.

    import moonsand
    p = moonsand.params()                     # dict; {} when the run was given none
    moonsand.report(step, loss=0.5)           # on the way; the host may end the run for it
    moonsand.result({"Sharpe Ratio": 1.2})    # dict or pandas Series; the last one counts
    open(moonsand.output_dir() + "/log", "w") # files below it come out as artefacts

A script that imports nothing works as well: $MOONSAND_PARAMS, $MOONSAND_REPORTS, $MOONSAND_RESULT and
$MOONSAND_OUTPUT name the files. Nothing beyond Python's own library is needed; numpy and pandas are known
by what their objects can do.
"""
import sys

__all__ = ["params", "report", "result", "output_dir"]

_MOST_POINTS = 4096  # of a series
_STRETCHES = 511  # of a longer one, whose lowest and highest points are kept besides
_LONGEST_REPORT = 65536  # bytes, the agent's bound


def _other():
    """The module of this name that the program or the image brought itself: it goes first."""
    import os
    from importlib.machinery import PathFinder

    own = os.path.dirname(os.path.abspath(__file__))
    path = [p for p in sys.path if os.path.abspath(p or ".") != own]
    spec = PathFinder.find_spec("moonsand", path)
    # A directory without __init__.py is found, too, and is most likely none.
    return spec if spec is not None and spec.loader is not None and spec.origin is not None else None


def params():
    """The run's parameters, a new dict each time."""
    import json
    import os

    path = os.environ.get("MOONSAND_PARAMS")
    if not path:
        return {}
    with open(path, encoding="utf-8") as f:
        return json.load(f)


class _Directory(str):
    def __call__(self):
        return str(self)


def __getattr__(name):
    # Looked up when it is asked for: a module that was preloaded has seen another environment.
    if name == "output_dir":  # moonsand.output_dir and moonsand.output_dir() are the same text
        import os

        return _Directory(os.environ.get("MOONSAND_OUTPUT") or os.getcwd())
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def report(step, **metrics):
    """Tells the host how far it is: report(3, loss=0.25). Does nothing where nobody listens."""
    import json
    import os
    import stat

    path = os.environ.get("MOONSAND_REPORTS")
    line = dict(_plain("report", metrics), step=_value("report", "step", step))
    data = (json.dumps(line) + "\n").encode()
    if len(data) > _LONGEST_REPORT:
        raise ValueError("moonsand.report: %d bytes; at most %d are passed on" % (len(data), _LONGEST_REPORT))
    if not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return  # a process that did not inherit the pipe, or closed it
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return  # the pipe was closed, and a file of the program's own has got its number
        while data:
            data = data[os.write(fd, data):]
    except OSError:
        pass  # nobody listens any more
    finally:
        os.close(fd)


def result(mapping):
    """The run's result, result.value on the host: a dict or a pandas Series with texts as keys.

    NaN and infinities stay what they are. Times and durations become texts, numpy's numbers plain ones, arrays
    lists. Of what begins with "_" only plain values are kept; but of backtesting.py's _equity_curve the column
    Equity becomes "equity", and its index "equity.index", thinned evenly to 4096 points. Of a longer one
    "equity.extremes" has the lows and highs, and "equity.extremes.index" where they were, the curve's end last.
    """
    import json
    import os

    if not hasattr(mapping, "items"):
        raise TypeError("moonsand.result: a dict or a Series is wanted, got %s" % type(mapping).__name__)
    out = _plain("result", mapping)
    _equity(mapping, out)
    text = json.dumps(out)
    path = os.environ.get("MOONSAND_RESULT") or "result.json"
    # By way of another file: a program that is killed meanwhile leaves what was there before.
    part = path + ".part"
    with open(part, "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(part, path)


def _plain(what, mapping):
    out = {}
    for key, value in mapping.items():
        name = str(key)
        if name.startswith("_"):
            try:
                out[name] = _value(what, name, value, plain=True)
            except TypeError:
                continue
        else:
            out[name] = _value(what, name, value)
    return out


def _value(what, name, value, plain=False, depth=0):
    """As JSON can hold it; plain: only what is nearly so already."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if depth > 32:
        raise ValueError("moonsand.%s: %r is nested too deeply" % (what, name))
    if isinstance(value, dict):
        return {str(k): _value(what, name, v, plain, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_value(what, name, v, plain, depth + 1) for v in value]
    if isinstance(value, (int, float, str)):  # of a class made from these, an Enum's or numpy's for one
        return str.__str__(value) if isinstance(value, str) else (float if isinstance(value, float) else int)(value)
    if not plain:
        found = _foreign(what, name, value, depth)
        if found is not _unknown:
            return found
    raise TypeError("moonsand.%s: %r is %s, which JSON cannot hold" % (what, name, _article(kind)))


_unknown = object()


def _article(kind):
    return "%s.%s" % (kind.__module__, kind.__qualname__)


def _foreign(what, name, value, depth):
    import datetime
    import decimal
    import fractions
    import os

    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return str(value)  # pandas' Timestamp and Timedelta are among them
    if isinstance(value, (decimal.Decimal, fractions.Fraction)):
        return float(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if type(value).__name__ == "NAType":  # pandas.NA
        return None
    dtype = getattr(value, "dtype", None)
    if dtype is not None and getattr(dtype, "kind", "") in ("M", "m") and not hasattr(value, "__len__"):
        return str(value)  # numpy's times
    if hasattr(value, "items") and hasattr(value, "index"):  # a Series
        return {str(k): _value(what, name, v, False, depth + 1) for k, v in value.items()}
    if dtype is not None and getattr(dtype, "kind", "") in ("M", "m"):
        return [str(v) for v in value]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        listed = value.tolist()
        if listed is not value:
            return _value(what, name, listed, False, depth + 1)
    elif isinstance(value, (set, frozenset, range)):
        return _value(what, name, list(value), False, depth + 1)
    return _unknown


def _thin(values):
    n = len(values)
    if n <= _MOST_POINTS:
        return values
    return [values[i * (n - 1) // (_MOST_POINTS - 1)] for i in range(_MOST_POINTS)]


def _extremes(values):
    """Places, from 1, of the lowest and highest of each stretch, of the first, and last the number of values."""
    at = [i for i, v in enumerate(values) if type(v) in (int, float) and v - v == 0]
    keep = {0, len(values) - 1}
    for s in range(_STRETCHES):
        stretch = at[s * len(at) // _STRETCHES:(s + 1) * len(at) // _STRETCHES]
        if stretch:
            keep.update((min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)))
    return [i + 1 for i in sorted(keep)]


def _equity(mapping, out):
    try:
        column = mapping["_equity_curve"]["Equity"]
        whole = column.tolist()
        values, index = _thin(whole), _thin(list(column.index))
    except Exception:
        return  # there is none
    if "equity" in out or "equity.index" in out:
        return
    out["equity"] = [_value("result", "equity", v) for v in values]
    if len(whole) > len(values) and "equity.extremes" not in out and "equity.extremes.index" not in out:
        places = _extremes(whole)
        out["equity.extremes"] = [_value("result", "equity.extremes", whole[i - 1]) for i in places]
        out["equity.extremes.index"] = places
    out["equity.index"] = [v if type(v) in (int, float, str) else _label(v) for v in index]


def _label(value):
    try:
        value = _value("result", "equity.index", value)
    except TypeError:
        return str(value)
    return value if type(value) in (int, float, str) else str(value)


def _step_aside():
    spec = _other()
    if spec is None:
        return
    from importlib.util import module_from_spec

    module = module_from_spec(spec)
    sys.modules[__name__] = module
    spec.loader.exec_module(module)


if __name__ == "moonsand":
    _step_aside()

-- The Python module moonsand, which programs find inside whatever their image is.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local modes = { { "container", {} }, { "fork", { mode = "fork" } } }

-- What numpy and pandas would give, for an image that has neither.
local stand_ins = [[
import datetime
class Timestamp(datetime.datetime): pass
class Timedelta(datetime.timedelta): pass
class Kind:
    def __init__(self, kind): self.kind = kind
class Number:
    def __init__(self, value): self.value, self.dtype = value, Kind("f")
    def tolist(self): return self.value
class Array(Number): pass
class Series:
    def __init__(self, pairs): self.pairs = pairs
    @property
    def index(self): return [k for k, _ in self.pairs]
    def items(self): return iter(self.pairs)
    def tolist(self): return [v for _, v in self.pairs]
    def __getitem__(self, key): return dict(self.pairs)[key]
]]

engines.each(describe, "the module moonsand", function(kind)
  for _, mode in ipairs(modes) do
    describe("in mode " .. mode[1], function()
      local box

      setup(function()
        local how = { timeout = 30 }
        for k, v in pairs(mode[2]) do
          how[k] = v
        end
        box = engines.box(kind, how)
      end)

      teardown(function()
        box:close()
        engines.settle(kind)
      end)

      local function run(code, how)
        local given = { code = code }
        for k, v in pairs(how or {}) do
          given[k] = v
        end
        local r = assert(box:run(given))
        assert.equal("ok", r.status, r.stderr)
        assert.is_nil(r.value_error)
        return r.value, r
      end

      it("gives parameters, takes a result, and names the output directory", function()
        local value, r = run([[
import moonsand, os
p = moonsand.params()
assert p == {"fast": 5, "kind": "sma", "x": 0.5}, p
p["fast"] = 6
assert moonsand.params()["fast"] == 5
assert moonsand.output_dir() == moonsand.output_dir == os.environ["MOONSAND_OUTPUT"]
open(os.path.join(moonsand.output_dir, "a"), "w").write("1")
moonsand.result({"first": True})
moonsand.result({"sum": p["fast"] + p["x"], "n": None, "list": [1, (2,)], "t": "x", "d": {"e": 1}, 3: True})
]], { params = { fast = 5, kind = "sma", x = 0.5 } })
        assert.equal(6.5, value.sum)
        assert.equal(moonsand.null, value.n)
        assert.same({ 1, { 2 } }, value.list)
        assert.same({ e = 1 }, value.d)
        assert.is_true(value["3"])
        assert.is_nil(value.first)
        assert.equal("1", r:artefact("a").data)
        assert.same({}, (run "import moonsand\nmoonsand.result(moonsand.params())"))
      end)

      it("keeps NaN and infinities", function()
        local value = run [[
import moonsand
moonsand.result({"a": float("nan"), "b": [float("inf"), -float("inf")]})]]
        assert.is_true(value.a ~= value.a)
        assert.same({ math.huge, -math.huge }, value.b)
      end)

      it("reports, and does nothing where nobody listens", function()
        local seen = {}
        local value, r = run([[
import moonsand
for step in range(3):
    moonsand.report(step, loss=1 / (step + 1), nan=float("nan"))
moonsand.result({})]], { on_report = function(report)
          seen[#seen + 1] = report
        end })
        assert.same({}, value)
        assert.equal(3, r.reports)
        assert.equal(0.5, seen[2].loss)
        assert.equal(2, seen[3].step)
        assert.is_true(seen[1].nan ~= seen[1].nan)
        local _, quiet = run [[
import moonsand
moonsand.report(1, loss=2)
try: moonsand.report(1, text="x" * 70000)
except ValueError as e: print(e)
try: moonsand.report(1, what=object())
except TypeError as e: print(e)]]
        assert.matches("^moonsand.report: %d+ bytes; at most 65536 are passed on\nmoonsand.report: 'what' is "
          .. "builtins.object, which JSON cannot hold\n$", quiet.stdout)
      end)

      it("goes on when the pipe is closed, or a child has none", function()
        local seen = 0
        local _, r = run([[
import moonsand, os, subprocess, sys
moonsand.report(1)
if os.fork() == 0:
    moonsand.report(2); os._exit(0)
os.wait()
subprocess.run([sys.executable, "-c", "import moonsand; moonsand.report(3); print('child')"], check=True)
os.close(15)
moonsand.report(4)
print("alive")]], { on_report = function()
          seen = seen + 1
        end })
        assert.equal("child\nalive\n", r.stdout)
        assert.equal(2, seen)
      end)

      it("writes into no file that has got the pipe's number", function()
        local value, r = run([[
import moonsand, os
open("prices.csv", "w").write("1,2\n")
fd = os.open("prices.csv", os.O_RDONLY)
os.dup2(fd, 15)
moonsand.report(1)
moonsand.result({"text": open("prices.csv").read()})]], { on_report = function() end })
        assert.equal("1,2\n", value.text)
        assert.equal(0, r.reports)
      end)

      it("takes what numpy and pandas would give", function()
        local value = run(stand_ins .. [==[
import moonsand, decimal, enum, fractions, pathlib
class Color(enum.IntEnum): RED = 3
class Strategy: pass
curve = Series([("Equity", Series([(Timestamp(2004, 8, 19), Number(1.5)), (Timestamp(2004, 8, 20), 2.5)]))])
moonsand.result(Series([
    ("Start", Timestamp(2004, 8, 19)), ("Duration", Timedelta(days=3116)), ("Sharpe Ratio", Number(0.5)),
    ("# Trades", Number(7)), ("NaN", Number(float("nan"))), ("array", Array([1, 2, [3]])),
    ("day", datetime.date(2020, 1, 2)), ("money", decimal.Decimal("1.25")), ("half", fractions.Fraction(1, 2)),
    ("path", pathlib.Path("/x")), ("enum", Color.RED), ("set", {1}), ("nested", Series([("a", Number(1))])),
    (("a", 1), 2), ("_strategy", Strategy()), ("_equity_curve", curve), ("_trades", curve), ("_plain", 1),
]))]==])
        assert.equal("2004-08-19 00:00:00", value.Start)
        assert.equal("3116 days, 0:00:00", value.Duration)
        assert.equal(0.5, value["Sharpe Ratio"])
        assert.equal("integer", math.type(value["# Trades"]))
        assert.is_true(value.NaN ~= value.NaN)
        assert.same({ 1, 2, { 3 } }, value.array)
        assert.equal("2020-01-02", value.day)
        assert.equal(1.25, value.money)
        assert.equal(0.5, value.half)
        assert.equal("/x", value.path)
        assert.equal(3, value.enum)
        assert.same({ 1 }, value.set)
        assert.same({ a = 1 }, value.nested)
        assert.equal(2, value["('a', 1)"])
        assert.is_nil(value._strategy)
        assert.is_nil(value._trades)
        assert.is_nil(value._equity_curve)
        assert.equal(1, value._plain)
        assert.same({ 1.5, 2.5 }, value.equity)
        assert.same({ "2004-08-19 00:00:00", "2004-08-20 00:00:00" }, value["equity.index"])
      end)

      it("thins a long series evenly, ends included", function()
        local value = run(stand_ins .. [[
import moonsand
n = 100001
moonsand.result({"_equity_curve": {"Equity": Series([(i, float(i)) for i in range(n)])}})]])
        assert.equal(4096, #value.equity)
        assert.equal(4096, #value["equity.index"])
        assert.equal(0, value.equity[1])
        assert.equal(100000, value.equity[4096])
        for i = 2, 4096 do
          local gap = value.equity[i] - value.equity[i - 1]
          assert.is_true(gap == 24 or gap == 25)
        end
        -- Each bar is higher than the one before: of a stretch the ends are its low and high.
        local values, places = value["equity.extremes"], value["equity.extremes.index"]
        assert.same({ 1, 100001, #values }, { places[1], places[#places], #places })
        assert.is_true(#places <= 1024)
        for i, at in ipairs(places) do
          assert.equal(at - 1, values[i])
        end
      end)

      it("says what cannot be a result", function()
        for code, message in pairs {
          ["3"] = "a dict or a Series is wanted, got int",
          ["[1]"] = "got list",
          ["{'x': object()}"] = "'x' is builtins.object",
          ["{'x': {'y': 1j}}"] = "'x' is builtins.complex",
        } do
          local r = assert(box:run { code = "import moonsand\nmoonsand.result(" .. code .. ")" })
          assert.equal("exit", r.status)
          assert.matches(message, r.stderr, 1, true)
          assert.is_nil(r.value)
        end
        local r = assert(box:run { code = "import moonsand\nx = []\nx.append(x)\nmoonsand.result({'x': x})" })
        assert.matches("'x' is nested too deeply", r.stderr, 1, true)
      end)

      it("gives way to a module of that name that the program brings", function()
        local _, r = run("import moonsand; print(moonsand.mine)", {
          files = { ["moonsand.py"] = { data = "mine = 'beside the script'" } },
        })
        assert.equal("beside the script\n", r.stdout)
        _, r = run("import moonsand; print(moonsand.mine)", {
          files = { ["lib/moonsand/__init__.py"] = { data = "mine = 'in PYTHONPATH'" } },
          env = { PYTHONPATH = "/tmp/work/lib" },
        })
        assert.equal("in PYTHONPATH\n", r.stdout)
        _, r = run([[
import sys
sys.path.append("/tmp/work/last")
import moonsand
print(moonsand.mine, sys.modules["moonsand"] is moonsand, moonsand.__name__)]], {
          files = { ["last/moonsand.py"] = { data = "mine = 'installed'" } },
        })
        assert.equal("installed True moonsand\n", r.stdout)
        _, r = run("import moonsand; print(moonsand.params())", {
          files = { ["moonsand/data.csv"] = { data = "1" } },
        })
        assert.equal("{}\n", r.stdout)
      end)

      it("is found by scripts that are not the program, and hides nothing else", function()
        local _, r = run("exec python3 -c 'import moonsand; moonsand.result({\"a\": 1}); print(moonsand.__file__)'", {
          language = "sh",
        })
        assert.same({ a = 1 }, r.value)
        assert.equal("/.moonsand/python/moonsand.py\n", r.stdout)
        _, r = run "import os; print(os.listdir('/.moonsand/python'), os.environ['PYTHONPATH'])"
        assert.equal("['moonsand.py'] /.moonsand/python\n", r.stdout)
        local bad = assert(box:run { code = "open('/.moonsand/python/moonsand.py', 'w')" })
        assert.equal("exit", bad.status)
      end)
    end)
  end

  it("can be preloaded, and sees each run's own parameters", function()
    local box <close> = engines.box(kind, { mode = "fork", preload = { "moonsand" } })
    for i = 1, 2 do
      local r = assert(box:run { code = "import moonsand\nmoonsand.result(moonsand.params())", params = { i = i } })
      assert.same({ i = i }, r.value, r.stderr)
    end
  end)
end)

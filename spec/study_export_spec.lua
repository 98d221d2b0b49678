-- CSV, JSON lines and SQLite: what becomes of hostile texts, odd numbers and full disks.
local csv = require "moonsand.study.csv"
local json = require "moonsand.json"
local sqlite = require "moonsand.study.sqlite"
local study_module = require "moonsand.study"

local nan = 0 / 0

local dir

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function names_in(path)
  local out = {}
  local pipe <close> = io.popen("ls -A '" .. path .. "'")
  for name in pipe:lines() do
    out[#out + 1] = name
  end
  return out
end

local function study(trials, meta)
  return study_module.new { trials = trials, meta = meta or { objective = "Sharpe", direction = "maximize" } }
end

local function small()
  return study {
    {
      number = 1, state = "complete", params = { fast = 5, kind = "sma" }, value = 1.5, attempts = 1, wall_s = 0.25,
      metrics = { Sharpe = 1.5, ["# Trades"] = 93 }, key = "ab", memory_peak = 1048576, started = 1700000000.5,
    },
    { number = 2, state = "failed", reason = "error", message = "oh, no", params = { fast = 0.1 }, attempts = 2 },
    {
      number = 3, state = "complete", params = { fast = -7, kind = true }, value = 0.1 + 0.2, cached = true,
      metrics = { Sharpe = nan, ["# Trades"] = -math.huge },
    },
  }
end

before_each(function()
  dir = os.tmpname()
  os.remove(dir)
  assert(os.execute("mkdir -m 700 '" .. dir .. "'"))
end)

after_each(function()
  os.execute("rm -rf '" .. dir .. "'")
end)

describe("CSV", function()
  it("is a row for each trial, with CR LF, and numbers that come back", function()
    assert.is_true(small():csv(dir .. "/x.csv"))
    assert.equal(table.concat({
      "number,state,reason,value,fast,kind,# Trades,Sharpe,attempts,cached,started,wall_s,cpu_s,queue_s,memory_peak,"
        .. "key,message",
      "1,complete,,1.5,5,sma,93,1.5,1,,1700000000.5,0.25,,,1048576,ab,",
      '2,failed,error,,0.1,,,,2,,,,,,,,"oh, no"',
      "3,complete,,0.30000000000000004,-7,true,-inf,NaN,,true,,,,,,,",
      "",
    }, "\r\n"), read(dir .. "/x.csv"))
    assert.same({ "x.csv" }, names_in(dir))
  end)

  it("takes the place of an old file, in the study's order, with the metrics asked for", function()
    write(dir .. "/x.csv", ("old"):rep(1000))
    assert(small():filter("complete"):sort("number", "desc"):csv(dir .. "/x.csv", { metrics = { "Sharpe" } }))
    local text = read(dir .. "/x.csv")
    assert.truthy(text:find("^number,state,reason,value,fast,kind,Sharpe,attempts"))
    assert.truthy(text:find("\r\n3,complete,.*\r\n1,complete,"))
    assert.falsy(text:find("Trades", 1, true))
  end)

  it("defuses what a spreadsheet would calculate", function()
    for given, cell in pairs {
      ["=1+1"] = [["'=1+1"]],
      ["=HYPERLINK(\"http://x\",\"y\")"] = [["'=HYPERLINK(""http://x"",""y"")"]],
      ["+cmd|' /C calc'!A0"] = [["'+cmd|' /C calc'!A0"]],
      ["-2+3"] = [["'-2+3"]],
      ["@SUM(A1)"] = [["'@SUM(A1)"]],
      ["\t=1"] = [["'=1"]],
      ["\r=1"] = [["'=1"]],
      ["\n@x"] = [["'@x"]],
      ["\u{200b}=1"] = [["'=1"]],
      ["\0=1"] = [["'=1"]],
      [" \u{200b} =1"] = [["'=1"]],
      ["  =1"] = [["'=1"]],
      ["\u{FF1D}1+1"] = "\"'\u{FF1D}1+1\"",
      ["\u{FF0B}1"] = "\"'\u{FF0B}1\"",
      ["-"] = [["'-"]],
      ["a;=1+1"] = [["a;=1+1"]],
      ["a\t=1+1"] = [["a =1+1"]],
      ["-12.5"] = "-12.5",
      ["+3"] = [["+3"]],
      ["Max. Drawdown [%]"] = "Max. Drawdown [%]",
      ["a,b"] = [["a,b"]],
      ['say "x"'] = [["say ""x"""]],
      ["two\r\nlines"] = "two lines",
      ["\27[2J"] = "[2J",
      [""] = "",
    } do
      assert.equal(cell, csv.text(given), ("%q"):format(given))
    end
    assert.truthy(#csv.text(("x"):rep(1 << 20)) < 32768)
    assert.truthy(utf8.len(csv.text "\xff\xc3("))
  end)

  it("defuses names as well as values", function()
    local s = study {
      {
        number = 1, state = "failed", reason = "=r", message = "=m", params = { ["=p"] = "=v" },
        metrics = { ["@m"] = 1 },
      },
    }
    assert(s:csv(dir .. "/x.csv"))
    local text = read(dir .. "/x.csv")
    for field in text:gmatch '[^,\r\n]+' do
      assert.falsy(field:find '^"?[=+@]', field)
    end
    assert.truthy(text:find("'=p", 1, true) and text:find("'@m", 1, true) and text:find("'=v", 1, true))
  end)

  it("tells columns of one name apart, without regard to case", function()
    local s = study {
      {
        number = 1, state = "complete", params = { a = 1, A = 2, state = "p" }, value = 0,
        metrics = { a = 3, value = 4, key = 5, ["metrics.a"] = 6, STATE = 7 },
      },
    }
    assert(s:csv(dir .. "/x.csv"))
    local head = read(dir .. "/x.csv"):match "^[^\r]*"
    local seen, n = {}, 0
    for name in head:gmatch "[^,]+" do
      assert.is_nil(seen[name:lower()], name)
      seen[name:lower()] = true
      n = n + 1
    end
    assert.equal(4 + 3 + 5 + 9, n)
    assert.truthy(seen["metrics.state"])
    assert.truthy(seen["params.state"] and seen["metrics.value"] and seen["metrics.key"] and seen.key)
  end)

  it("has a column for each of several objectives", function()
    local s = study(
      { { number = 1, state = "complete", params = {}, values = { 2, 3 }, metrics = {} } },
      { objective = { { "a", "maximize" }, { "b", "minimize" } } }
    )
    assert(s:csv(dir .. "/x.csv"))
    assert.truthy(read(dir .. "/x.csv"):find("^number,state,reason,values.1,values.2,attempts.*\r\n1,complete,,2,3,"))
  end)

  it("does not take a thousand metrics that programs made up, and says what to do", function()
    local metrics = {}
    for i = 1, 1001 do
      metrics["m" .. i] = i
    end
    local s = study { { number = 1, state = "complete", params = {}, value = 1, metrics = metrics } }
    local ok, err = s:csv(dir .. "/x.csv")
    assert.is_nil(ok)
    assert.equal("invalid", err.code)
    assert.truthy(err.message:find("1001 different metrics", 1, true))
    assert.truthy(err.message:find("metrics =", 1, true))
    assert.is_true(s:csv(dir .. "/x.csv", { metrics = { "m7" } }))
    assert.is_true(s:jsonl(dir .. "/x.jsonl"))
  end)
end)

describe("JSON lines", function()
  it("are whole trials, with what JSON does not have beside them", function()
    local s = study {
      {
        number = 1, state = "complete", params = { fast = 5 }, value = 1.5,
        metrics = { Sharpe = nan, Calmar = -math.huge, ["=x"] = 1 },
        series = { equity = { 1, nan, 3.5 } }, reports = { { step = 1, metrics = { loss = math.huge } } },
        started = 10.5, ended = 12.5, dropped = 3,
      },
      { number = 2, state = "failed", reason = "error", message = "a\nb\27", params = {}, metrics = {} },
    }
    assert(s:jsonl(dir .. "/x.jsonl"))
    local lines = {}
    for line in io.lines(dir .. "/x.jsonl") do
      lines[#lines + 1] = assert(json.decode(line))
    end
    assert.equal(2, #lines)
    local first = lines[1]
    assert.equal(json.null, first.metrics.Sharpe)
    assert.same({ 1, json.null, 3.5 }, first.series.equity)
    assert.same({
      ["metrics.Sharpe"] = "nan", ["metrics.Calmar"] = "-inf", ["series.equity.2"] = "nan",
      ["reports.1.metrics.loss"] = "inf",
    }, first.nonfinite)
    assert.same({ 10.5, 12.5, 3 }, { first.started, first.ended, first.dropped })
    assert.same({ 1, 5, 1.5 }, { first.metrics["=x"], first.params.fast, first.value })
    assert.equal("a\nb\27", lines[2].message)
    assert.is_nil(lines[2].nonfinite)
    assert.falsy(read(dir .. "/x.jsonl"):gsub("\n", ""):find "%c")
  end)

  it("leave the trials as they were", function()
    local s = small()
    assert(s:jsonl(dir .. "/x.jsonl"))
    assert.truthy(s[3].metrics.Sharpe ~= s[3].metrics.Sharpe)
  end)
end)

describe("a file that cannot be written", function()
  it("is an error with its cause, and nothing is left", function()
    for _, method in ipairs { "csv", "jsonl", "sqlite" } do
      local s = small()
      local ok, err = s[method](s, dir .. "/not/there")
      assert.is_nil(ok)
      assert.equal("io", err.code, tostring(err))
      assert.truthy(err.message:find("not/there", 1, true))
      assert.falsy(err.message:find(".part", 1, true), err.message)
      ok, err = s[method](s, dir)
      assert.is_nil(ok)
      assert.truthy(err.message:find("directory", 1, true))
      for _, path in ipairs { "", "a\0b", 5, false } do
        assert.has_error(function()
          local _ = s[method](s, path)
        end)
      end
      assert.same({}, names_in(dir))
    end
  end)

  -- By way of links, so that nobody's device is lost if the wrong thing is replaced.
  it("on a full device", function()
    assert(os.execute(("cd '%s' && ln -s /dev/full full && ln -s /dev/null null"):format(dir)))
    local ok, err = small():csv(dir .. "/full")
    assert.is_nil(ok)
    assert.equal("io", err.code)
    assert.truthy(err.message:find("No space left", 1, true), err.message)
    assert.is_true(small():csv(dir .. "/null"))
    ok, err = small():sqlite(dir .. "/null")
    assert.is_nil(ok)
    assert.truthy(err.message:find("device", 1, true), err.message)
    assert.is_true(os.execute(("cd '%s' && test -c full && test -c null && test $(ls | wc -l) = 2"):format(dir)))
  end)

  -- A file may not grow beyond 64 KiB there, which to a program is the same as a disk that is full.
  it("for want of room leaves the old one as it was", function()
    local script = dir .. "/run.lua"
    write(script, [[
local study_module = require "moonsand.study"
local trials = {}
for i = 1, 5000 do
  trials[i] = { number = i, state = "complete", params = { x = i }, value = i, metrics = { m = ("x"):rep(50) } }
end
local study = study_module.new { trials = trials }
local ok, err = study[arg[1] ](study, arg[2])
io.stdout:write(tostring(ok), " ", err and err.code or "", " ", err and err.message or "")
]])
    for _, method in ipairs { "csv", "jsonl", "sqlite" } do
      local path = dir .. "/there"
      write(path, "old")
      local pipe <close> = io.popen(
        ("exec 2>&1; trap '' XFSZ; ulimit -f 64; exec lua5.4 '%s' %s '%s'"):format(script, method, path)
      )
      local said = pipe:read "a"
      assert.truthy(said:find("^nil io cannot write"), said)
      assert.truthy(said:find("too large", 1, true) or said:find("full", 1, true) or said:find("disk", 1, true), said)
      assert.equal("old", read(path))
      assert.same({ "run.lua", "there" }, names_in(dir))
    end
  end)

  it("because a program's value cannot be, raises and leaves nothing", function()
    local s = study { { number = 1, state = "complete", params = { x = print }, value = 1 } }
    assert.has_error(function()
      s:jsonl(dir .. "/x.jsonl")
    end)
    assert.same({}, names_in(dir))
  end)
end)

describe("SQLite", function()
  local function rows(path, query)
    local env = require("luasql.sqlite3").sqlite3()
    local connection = assert(env:connect(path))
    local cursor = assert(connection:execute(query))
    local out = {}
    local row = cursor:fetch({}, "n")
    while row do
      out[#out + 1] = row
      row = cursor:fetch({}, "n")
    end
    cursor:close()
    connection:close()
    env:close()
    return out
  end

  it("has the trials as a table with their types", function()
    local path = dir .. "/x.db"
    assert.is_true(small():sqlite(path))
    assert.same({ "x.db" }, names_in(dir))
    assert.same(
      { { 1, "sma", 93, 1.5 }, { 2 }, { 3, 1, -math.huge } },
      rows(path, 'SELECT number, kind, "# Trades", Sharpe FROM trials ORDER BY number')
    )
    assert.same(
      { { "integer", "real", "text" }, { "real", "null", "null" }, { "integer", "real", "integer" } },
      rows(path, "SELECT typeof(fast), typeof(value), typeof(kind) FROM trials ORDER BY number")
    )
    assert.same({ { 0.1 + 0.2 } }, rows(path, "SELECT value FROM trials WHERE number = 3"))
    assert.same({ { "Sharpe" } }, rows(path, "SELECT value FROM study WHERE name = 'objective'"))
  end)

  it("keeps hostile names and texts as what they are", function()
    local evil = [['); DROP TABLE trials; --]]
    local s = study {
      {
        number = 1, state = "complete", params = { [ [["); DROP TABLE trials; --]] ] = evil, Fast = 1, fast = 2 },
        value = 1, metrics = { ["nul\0name"] = "nul\0text" }, message = "it's \"quoted\" \u{1F600}",
      },
    }
    local path = dir .. "/x.db"
    assert(s:sqlite(path))
    assert.same({ { evil, "it's \"quoted\" \u{1F600}", "nultext", 1, 2 } }, rows(path,
      [[SELECT """); DROP TABLE trials; --", message, nulname, Fast, "params.fast" FROM trials]]))
  end)

  it("has reports, and series when asked", function()
    local s = study {
      {
        number = 1, state = "complete", params = {}, value = 1, metrics = {}, series = { equity = { 1, 2.5 } },
        reports = { { step = 1, metrics = { loss = 3 } }, { step = 2, metrics = { loss = nan } } },
      },
    }
    assert(s:sqlite(dir .. "/x.db", { series = true }))
    assert.same({ { 1, 1, "loss", 3 }, { 1, 2, "loss" } }, rows(dir .. "/x.db", "SELECT * FROM reports ORDER BY step"))
    assert.same(
      { { 1, "equity", 1, 1 }, { 1, "equity", 2, 2.5 } }, rows(dir .. "/x.db", "SELECT * FROM series ORDER BY position")
    )
    assert(s:sqlite(dir .. "/x.db"))
    assert.same({ { 0 } }, rows(dir .. "/x.db", "SELECT count(*) FROM sqlite_master WHERE name = 'series'"))
  end)

  it("takes more rows than one statement has", function()
    local trials = {}
    for i = 1, 1234 do
      trials[i] = { number = i, state = "complete", params = { x = i }, value = i }
    end
    assert(study(trials):sqlite(dir .. "/x.db"))
    assert.same({ { 1234, 1234 * 1235 // 2 } }, rows(dir .. "/x.db", "SELECT count(*), sum(x) FROM trials"))
  end)

  it("writes numbers as they are", function()
    for text, value in pairs {
      ["5"] = 5, ["5.0"] = 5.0, ["1e+100"] = 1e100, ["-9e999"] = -math.huge, NULL = nan, ["1"] = true, ["0.1"] = 0.1,
      ["-9223372036854775808"] = math.mininteger, ["'a''b'"] = "a'b",
    } do
      assert.equal(text, sqlite.literal(value))
    end
  end)

  it("names the package when the module is not there", function()
    local loaded, preload, path, cpath = package.loaded["luasql.sqlite3"], package.preload["luasql.sqlite3"],
      package.path, package.cpath
    finally(function()
      package.loaded["luasql.sqlite3"], package.preload["luasql.sqlite3"] = loaded, preload
      package.path, package.cpath = path, cpath
    end)
    package.loaded["luasql.sqlite3"] = nil
    package.preload["luasql.sqlite3"] = function()
      error "module 'luasql.sqlite3' not found"
    end
    local ok, err = small():sqlite(dir .. "/x.db")
    assert.is_nil(ok)
    assert.equal("unsupported", err.code)
    assert.truthy(err.message:find("lua-sql-sqlite3", 1, true))
    assert.same({}, names_in(dir))
  end)
end)

describe("a study from a journal", function()
  local function with_journal(module, f)
    local loaded = require "moonsand.sweep.journal"
    module.ended = loaded.ended
    package.loaded["moonsand.sweep.journal"] = module
    local ok, err = pcall(f)
    package.loaded["moonsand.sweep.journal"] = loaded
    assert(ok, err)
  end

  it("has its header and its trials", function()
    with_journal({
      load = function(path)
        assert.equal("x.jsonl", path)
        return {
          header = { objective = "Sharpe", direction = "minimize", script = "x.py" },
          trials = { { number = 1, state = "complete", params = {}, value = 3 },
            { number = 2, state = "complete", params = {}, value = 2 } },
        }
      end,
    }, function()
      local s = assert(study_module.load "x.jsonl")
      assert.equal(2, s:best().number)
      assert.equal("x.py", s.meta.script)
    end)
  end)

  it("is an error where that is", function()
    local err = { code = "protocol" }
    with_journal({
      load = function(path)
        if path == "bad" then
          return nil, err
        end
        return { header = { direction = "up" }, trials = {} }
      end,
    }, function()
      local s, why = study_module.load "bad"
      assert.is_nil(s)
      assert.equal(err, why)
      s, why = study_module.load "odd"
      assert.is_nil(s)
      assert.equal("protocol", why.code)
      assert.truthy(why.message:find('"up"', 1, true))
      assert.has_error(function()
        study_module.load(nil)
      end)
    end)
  end)
end)

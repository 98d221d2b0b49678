--- Plugins: how they are found and checked, what they can do, and what becomes of one that fails.
local moonsand = require "moonsand"

local noop = moonsand.executors.noop

describe("plugins", function()
  local dir

  before_each(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir)
  end)

  after_each(function()
    os.execute("rm -rf " .. dir)
  end)

  local function write(name, text)
    local path = dir .. "/" .. name
    local f <close> = assert(io.open(path, "w"))
    f:write(text)
    return path
  end

  local function read(path)
    local f <close> = assert(io.open(path))
    return f:read "a"
  end

  local function sweep(plugins, more)
    local o = { space = { n = moonsand.range(1, 5) }, objective = "v", plugins = plugins }
    for k, v in pairs(more or {}) do
      o[k] = v
    end
    return moonsand.sweep(o)
  end

  local function run(plugins, more, f)
    return sweep(plugins, more):run(noop { f = f or function(p)
      return { v = p.n, name = "=x" }
    end })
  end

  local function plugin(setup, more)
    local p = { api = 1, name = "mine", setup = setup }
    for k, v in pairs(more or {}) do
      p[k] = v
    end
    return p
  end

  describe("are found", function()
    local good = 'return { api = 1, name = "good", setup = function(host) host:on("end", function(study) '
      .. 'study.meta.seen = "%s" end) end }'

    it("by path", function()
      assert.equal("path", run({ write("good.lua", good:format "path") }).meta.seen)
    end)

    it("by name, in $MOONSAND_PLUGINS and then beside the library", function()
      local first = write("good.lua", good:format "variable")
      write("retry.lua", good:format "mine")
      local p = assert(io.popen(("MOONSAND_PLUGINS=/nowhere:%s lua5.4 -e %q"):format(dir, [[
        local moonsand = require "moonsand"
        print(moonsand.plugin "good".name, moonsand.plugin "retry".name, moonsand.plugin "csv".name)
        print(moonsand.plugin_path()[1], moonsand.plugin_path()[2])]])))
      assert.equal(("good\tgood\tcsv\n/nowhere\t%s\n"):format(dir), p:read "a")
      p:close()
      assert.is_string(first)
    end)

    it("by name only: no file is looked at that nobody named", function()
      write("bad.lua", "error 'never'")
      local p = assert(io.popen(("MOONSAND_PLUGINS=%s lua5.4 -e %q 2>&1"):format(dir, [[
        local moonsand = require "moonsand"
        moonsand.sweep { space = { n = 1 }, objective = "v", plugins = { "csv", { "retry" } } }]])))
      assert.matches("plugin 'csv' needs the option 'path', a string", p:read "a")
      p:close()
    end)

    it("not when there is none, or the name is none", function()
      local good_, err = pcall(sweep, { "nothing_like_it" })
      assert.is_false(good_)
      assert.matches("there is no plugin 'nothing_like_it': looked for .*plugins/nothing_like_it%.lua", err)
      for name, pattern in pairs { ["./no.lua"] = "there is no plugin ./no.lua", ["a b"] = "is no plugin's name",
        ["../retry"] = "there is no plugin", [".."] = "is no plugin's name" } do
        assert.matches(pattern, select(2, pcall(sweep, { name })))
      end
      assert.matches("a plugin is a name or a path, not 5", select(2, pcall(sweep, { 5 })))
    end)
  end)

  it("have options that are checked", function()
    local seen
    local p = plugin(function(_, opts)
      seen = opts
    end, { options = {
      path = "string", n = { type = "integer", default = 7 }, must = { type = "number", required = true },
    } })
    sweep { { p, path = "x", must = 1.5 } }
    assert.same({ path = "x", n = 7, must = 1.5 }, seen)
    local function bad(pattern, use)
      local good, err = pcall(function()
        return (sweep { use })
      end)
      assert.is_false(good)
      assert.matches(pattern, err)
    end
    bad("plugin 'mine' has no option 'pat'; did you mean 'path'?", { p, must = 1, pat = 2 })
    bad("plugin 'mine': option 'path' is a string, got 5", { p, must = 1, path = 5 })
    bad("plugin 'mine': option 'n' is a integer, got 1.5", { p, must = 1, n = 1.5 })
    bad("plugin 'mine' needs the option 'must', a number", { p })
  end)

  describe("that fail are named, and the sweep goes on:", function()
    local function check(pattern, use)
      local study = assert(run { use })
      assert.equal(5, #study:trials "complete")
      assert.equal(1, #study.warnings)
      assert.matches(pattern, study.warnings[1])
      assert.is_nil(study.warnings[1]:find "%c")
    end

    it("another api, no table, no setup, no Lua, a file that raises", function()
      check("^plugin 'mine': it is written for api 2; this is api 1$", plugin(function() end, { api = 2 }))
      check("a%.lua': .*a%.lua: its file returns a number, not a table", write("a.lua", "return 5"))
      check("b%.lua': .*b%.lua: it has no setup function", write("b.lua", "return { api = 1, name = 'b' }"))
      check("c%.lua': .*c%.lua:1: .*expected", write("c.lua", "return return"))
      check("d%.lua': .*d%.lua:1: dear me", write("d.lua", "error 'dear me\27[31m'"))
      check("e%.lua': ", write("e.lua", "\27Lua binary"))
    end)

    it("a setup that raises", function()
      check("^plugin 'mine': its setup raised: .*no way", plugin(function()
        error "no way"
      end))
    end)

    it("with nothing left of what a setup registered before it raised", function()
      local hosts, called = {}, false
      local function call()
        called = true
        return "ended"
      end
      check("^plugin 'mine': its setup raised: .*half%-way$", plugin(function(host)
        host:policy("halt", call)
        host:policy("retry", call)
        for _, event in ipairs { "run", "trial", "end" } do
          host:on(event, call)
        end
        host:section(call)
        host:sampler("left", call)
        host:pruner("left", call)
        hosts[1] = host
        error "half-way"
      end))
      hosts[1]:on("trial", call)
      assert.is_false(called)
      for _, kind in ipairs { "sampler", "pruner" } do
        local good, err = pcall(sweep, { plugin(function(host)
          host[kind](host, "left", call)
          error "half-way"
        end) }, { [kind] = "left" })
        assert.is_false(good)
        assert.matches(kind .. ': there is no "left"', err)
      end
    end)

    it("a hook that raises, each time", function()
      local n = 0
      local study = assert(run { plugin(function(host)
        host:on("trial", function()
          n = n + 1
          error "no"
        end)
        host:on("run", function()
          error({})
        end)
      end) })
      assert.equal(5, n)
      assert.equal(5, #study:trials "complete")
      local text = table.concat(study.warnings, "\n")
      assert.matches("plugin 'mine': its 'trial' hook raised: [^\n]*no %(5 times%)", text)
      assert.matches("plugin 'mine': its 'run' hook raised: table", text)
    end)

    it("a policy, a section", function()
      local study = assert(run({ plugin(function(host)
        host:policy("retry", function()
          error "retry"
        end)
        host:policy("halt", function()
          error "halt"
        end)
        host:section(function()
          error "section"
        end)
        host:section(function()
          return "text"
        end)
      end) }, nil, function(p)
        return p.n > 1 and { v = p.n } or nil
      end))
      assert.equal(4, #study:trials "complete")
      assert.same({}, study.sections)
      local text = table.concat(study.warnings, "\n")
      for _, pattern in ipairs { "'retry' raised", "'halt' raised", "its section raised", "its section is not {" } do
        assert.matches(pattern, text)
      end
    end)
  end)

  describe("whose samplers, pruners or exporters raise are named:", function()
    local function oops()
      error "oops"
    end

    -- A sampler of five points, or what the plugin has in its place.
    local function sampled(functions, fatal)
      return plugin(function(host)
        host:sampler("count", function()
          local n = 0
          return setmetatable(functions, { __index = { ask = function()
            n = n + 1
            return n <= 5 and { n = n } or nil
          end } })
        end)
      end, { fatal = fatal })
    end

    local function pruned(functions, fatal)
      return plugin(function(host)
        host:pruner("all", function()
          return functions
        end)
      end, { fatal = fatal })
    end

    local function reporting(p, report)
      return { v = p.n, pruned = report(1, { v = p.n }) and true or false }
    end

    it("a sampler's ask ends the sweep with an error, and what there is stays", function()
      local n = 0
      local study, err, so_far = run({ sampled { ask = function()
        n = n + 1
        return n < 3 and { n = n } or oops()
      end } }, { sampler = "count" })
      assert.is_nil(study)
      assert.equal("invalid", err.code)
      assert.matches("^plugin 'mine': its sampler 'count', in ask, raised: .*plugin_spec.lua:%d+: oops$", err.message)
      assert.same({ 1, 2 }, so_far:column "n")
    end)

    it("a sampler's tell is a warning", function()
      local study = assert(run({ sampled { tell = oops } }, { sampler = "count" }))
      assert.equal(5, #study:trials "complete")
      assert.equal(1, #study.warnings)
      assert.matches("^plugin 'mine': its sampler 'count', in tell, raised: .*oops %(5 times%)$", study.warnings[1])
    end)

    it("what makes one, and a sampler's setup", function()
      for kind, options in pairs { sampler = { sampler = "bad" }, pruner = { pruner = "bad" } } do
        local good, err = pcall(sweep, { plugin(function(host)
          host[kind](host, "bad", oops)
        end) }, options)
        assert.is_false(good)
        assert.matches(("plugin 'mine': its %s 'bad' raised: .*oops$"):format(kind), err)
      end
      local good, err = pcall(sweep, { sampled { setup = oops } }, { sampler = "count" })
      assert.is_false(good)
      assert.matches("plugin 'mine': its sampler 'count', in setup, raised: .*oops$", err)
    end)

    it("what makes one only the first time: the second run is no run", function()
      local made = 0
      local again = sweep({ plugin(function(host)
        host:pruner("once", function()
          made = made + 1
          return made == 1 and { report = function() end } or oops()
        end)
      end) }, { pruner = "once" })
      local box = noop { f = function(p)
        return { v = p.n }
      end }
      assert.equal(5, #assert(again:run(box)))
      local study, err = again:run(box)
      assert.is_nil(study)
      assert.matches("^plugin 'mine': its pruner 'once' raised: .*oops$", err.message)
    end)

    it("a pruner's report prunes nothing, and its tell is a warning", function()
      local study = assert(run({ pruned { report = oops, tell = oops } }, { pruner = "all" }, reporting))
      assert.equal(5, #study:trials "complete")
      assert.same({ false, false, false, false, false }, study:column "pruned")
      assert.equal(2, #study.warnings)
      assert.matches("^plugin 'mine': its pruner 'all', in report, raised: .*oops %(5 times%)$", study.warnings[1])
      assert.matches("^plugin 'mine': its pruner 'all', in tell, raised: .*oops %(5 times%)$", study.warnings[2])
    end)

    it("a fatal one ends the sweep", function()
      for what, case in pairs {
        ["sampler 'count', in tell"] = { sampled({ tell = oops }, true), { sampler = "count" } },
        ["pruner 'all', in report"] = { pruned({ report = oops }, true), { pruner = "all" } },
      } do
        local study, err, so_far = run({ case[1] }, case[2], reporting)
        assert.is_nil(study)
        assert.matches(("plugin 'mine': its %s, raised: .*oops; it is fatal"):format(what), err.message)
        assert.equal(1, #so_far)
      end
    end)

    it("an exporter gives nil and an error", function()
      local study = assert(run { plugin(function(host)
        host:exporter("bad", oops)
      end) })
      local ok, err = study:export("bad", "x")
      assert.is_nil(ok)
      assert.equal("invalid", err.code)
      assert.matches("^plugin 'mine': its exporter 'bad' raised: .*oops$", err.message)
    end)

    it("Ctrl-C goes through all of them", function()
      local function stop()
        error("interrupted!", 0)
      end
      for _, case in ipairs {
        { sampled { ask = stop }, { sampler = "count" } }, { sampled { tell = stop }, { sampler = "count" } },
        { pruned { report = stop }, { pruner = "all" } },
      } do
        assert.same({ false, "interrupted!" }, { pcall(run, { case[1] }, case[2], reporting) })
      end
    end)
  end)

  it("that are fatal end the sweep", function()
    local function setup(host)
      host:on("trial", function(trial)
        if trial.number == 2 then
          error "disk full"
        end
      end)
    end
    for _, use in ipairs { plugin(setup, { fatal = true }), { plugin(setup), fatal = true } } do
      local study, err, so_far = run { use }
      assert.is_nil(study)
      assert.matches("plugin 'mine': its 'trial' hook raised: .*disk full; it is fatal", err.message)
      assert.equal(2, #so_far)
    end
    local good, err = pcall(sweep, { plugin(function()
      error "no way"
    end, { fatal = true }) })
    assert.is_false(good)
    assert.matches("plugin 'mine': its setup raised: .*no way", err)
  end)

  it("are heard in a journal, too: what they warned of when the sweep ran last", function()
    local path = dir .. "/j.jsonl"
    local many = false
    local mine = plugin(function(host)
      host:on("trial", function(trial)
        for i = 1, many and 200 or 0 do
          host:warn("warning " .. i)
        end
        host:warn(trial.number == 2 and "two\27[31m" .. ("x"):rep(5000) or "all")
      end)
      host:section(function()
        error "no section"
      end)
      host:on("end", function()
        local so_far = assert(moonsand.study(path))
        assert.equal(so_far.meta.stopped, "max_trials")
        error "no end"
      end)
    end)
    local o = { journal = path, fsync = "never", max_trials = 3 }
    local study = assert(run({ mine }, o))
    assert.equal(4, #study.warnings)
    for i, pattern in ipairs { "^plugin 'mine': all %(2 times%)$", "two %[31mxxx.*xxx", "no section$", "no end$" } do
      assert.matches(pattern, study.warnings[i])
    end
    local kept = assert(moonsand.study(path))
    assert.same(study.warnings, kept.warnings)
    assert.equal("max_trials", kept.meta.stopped)
    assert(kept:report(dir .. "/j.html"))
    assert.matches("plugin 'mine': all %(2 times%)", (read(dir .. "/j.html"):gsub("\\u0027", "'")))
    o.resume, o.max_trials, many = true, 4, true
    assert(run({ mine }, o))
    kept = assert(moonsand.study(path))
    assert.equal(101, #kept.warnings)
    assert.same({ "plugin 'mine': warning 1", "and more" }, { kept.warnings[1], kept.warnings[101] })
    many, o.max_trials = false, 5
    assert(run({}, o))
    assert.same({}, assert(moonsand.study(path)).warnings)
  end)

  it("in a journal that somebody else wrote: harmless and bounded", function()
    local list = { '"a\\u001b[31m' .. ("y"):rep(3000) .. '"', "5", '{"x":1}' }
    for _ = 1, 200 do
      list[#list + 1] = '"b"'
    end
    local path = write("j.jsonl", '{"type":"sweep","version":1,"objective":"v"}\n'
      .. '{"type":"end","at":1,"warnings":[' .. table.concat(list, ",") .. "]}\n")
    local warnings = assert(moonsand.study(path)).warnings
    assert.equal(101, #warnings)
    assert.matches("^a %[31myyy", warnings[1])
    assert.is_true(#warnings[1] <= 600)
    assert.equal("b", warnings[2])
    write("j.jsonl", '{"type":"sweep","version":1,"objective":"v"}\n{"type":"end","at":1,"warnings":"all"}\n')
    assert.same({}, assert(moonsand.study(path)).warnings)
  end)

  it("begin anew when the sweep runs again", function()
    local runs = 0
    local mine = plugin(function(host)
      host:warn "mind this"
      host:on("run", function(event)
        runs = runs + (event.type == "begin" and 1 or 0)
      end)
      host:on("trial", function()
        host:warn "mind this"
        if runs == 1 then
          error "disk full"
        end
      end)
    end, { fatal = true })
    local twice, box = sweep { mine }, noop { f = function(p)
      return { v = p.n }
    end }
    assert.is_nil((twice:run(box)))
    for _ = 1, 2 do
      local study = assert(twice:run(box))
      assert.equal(5, #study:trials "complete")
      assert.same({ "plugin 'mine': mind this (6 times)" }, study.warnings)
    end
  end)

  it("say what their setup did wrong", function()
    for pattern, setup in pairs {
      ["there is no event \"trail\" %(there are end, report, run, start, trial%)"] = function(host)
        host:on("trail", print)
      end,
      ["host:sampler wants a function, got a number"] = function(host)
        host:sampler("x", 5)
      end,
      ["there is no policy \"stop\" %(there are halt, retry%)"] = function(host)
        host:policy("stop", print)
      end,
    } do
      assert.matches(pattern, run({ plugin(setup) }).warnings[1])
    end
  end)

  it("are told of the run, each trial and the end", function()
    local seen = {}
    local study = assert(run({ plugin(function(host)
      for _, event in ipairs { "run", "trial", "end" } do
        host:on(event, function(value)
          seen[#seen + 1] = { event, value.type or value.number or #value }
        end)
      end
      host:warn "mind this"
    end) }, { max_trials = 3, retry = 1 }, function(p, _, trial)
      return { v = p.n }, p.n == 2 and trial.attempts == 1 and { status = "lost" } or nil
    end))
    assert.same({
      { "run", "begin" }, { "trial", 1 }, { "run", "retry" }, { "trial", 2 }, { "trial", 3 }, { "end", 3 },
    }, seen)
    assert.same({ "plugin 'mine': mind this" }, study.warnings)
  end)

  it("are told when a trial begins, and of its reports", function()
    local seen = {}
    local function note(event)
      return function(trial, ...)
        seen[#seen + 1] = { event, trial.number, trial.attempts, trial.state, ... }
      end
    end
    local mine = plugin(function(host)
      for _, event in ipairs { "start", "report", "trial" } do
        host:on(event, note(event))
      end
      host:on("report", function()
        error "no"
      end)
    end)
    local ns = { 1, 1 } -- the second has the first one's result
    local study = assert(run({ mine }, { retry = 1, sampler = { ask = function()
      local n = table.remove(ns)
      return n and { n = n } or nil
    end } }, function(p, report, trial)
      report(7, { v = 1, deep = { x = "\27y" } })
      return { v = p.n }, trial.attempts == 1 and { status = "lost" } or nil
    end))
    local metrics = { v = 1, ["deep.x"] = "y" }
    assert.same({
      { "start", 1, 1, "running" }, { "report", 1, 1, "running", 7, metrics },
      { "start", 1, 2, "running" }, { "report", 1, 2, "running", 7, metrics }, { "trial", 1, 2, "complete" },
      { "trial", 2, 0, "complete" },
    }, seen)
    assert.equal(1, #study.warnings)
    assert.matches("^plugin 'mine': its 'report' hook raised: .*no %(2 times%)$", study.warnings[1])
  end)

  it("bring samplers, pruners, policies, exporters and sections", function()
    local calls = {}
    local p = plugin(function(host)
      host:sampler("backwards", function(given)
        local n = given.from
        return { ask = function()
          n = n - 1
          return n >= 1 and { n = n } or nil
        end }
      end)
      host:pruner("all", function()
        return { report = function()
          return true
        end }
      end)
      host:policy("halt", function(trial, progress)
        return trial.number == 3 and "enough after " .. progress.done or nil
      end)
      host:exporter("list", function(study, path)
        calls[#calls + 1] = { #study, path }
        return true
      end)
      host:section(function(study)
        return { title = "Trials", columns = { "n" }, rows = { { #study } } }
      end)
    end)
    local options = { sampler = { name = "backwards", from = 5 }, pruner = "all" }
    local study = assert(run({ p }, options, function(params, report)
      if params.n == 3 then
        report(1, { v = 1 })
      end
      return { v = params.n }
    end))
    assert.same({ 4, 3, 2 }, study:column "n")
    assert.same({ "complete", "pruned", "complete" }, study:column "state")
    assert.equal("enough after 3", study.meta.stopped)
    assert.is_true(study:export("list", "x"))
    assert.same({ { 3, "x" } }, calls)
    assert.same({ { title = "Trials", columns = { "n" }, rows = { { 3 } } } }, study.sections)
    assert.has_error(function()
      study:export("lists", "x")
    end, 'study:export: no plugin of this sweep has an exporter "lists" (there are: list)')
  end)

  describe("retry", function()
    local function failing(status, times)
      local n = 0
      return function(p)
        if p.n == 2 then
          n = n + 1
          if n <= times then
            return { v = 1 }, { status = status }
          end
        end
        return { v = p.n }
      end
    end

    it("tries for the reasons that it is given, so often", function()
      local use = { "retry", times = 3, on = { "timeout", "error" } }
      assert.equal(4, run({ use }, nil, failing("timeout", 3))[2].attempts)
      local trial = run({ use }, nil, failing("exit", 9))[2]
      assert.same({ "failed", 4 }, { trial.state, trial.attempts })
      assert.equal(1, run({ use }, nil, failing("oom", 1))[2].attempts)
    end)

    it("waits longer and longer", function()
      local delays = {}
      assert(run({ { "retry", times = 3, delay = 0.001, factor = 3, longest = 0.008 }, plugin(function(host)
        host:on("run", function(event)
          delays[#delays + 1] = event.delay_s
        end)
      end) }, nil, failing("lost", 3)))
      assert.same({ "0.001", "0.003", "0.008" }, { tostring(delays[1]), tostring(delays[2]), tostring(delays[3]) })
    end)

    it("says what a reason is", function()
      assert.matches('its setup raised: on: there is no reason "lots" %(there are engine, error, invalid_value, lost',
        run({ { "retry", on = { "lots" } } }).warnings[1])
    end)
  end)

  describe("csv", function()
    it("writes each trial when it has ended, and no formula", function()
      local path = dir .. "/out.csv"
      local at_three
      local study = assert(run({ { "csv", path = path } }, { on_trial = function(trial)
        if trial.number == 3 then
          at_three = read(path)
        end
      end }, function(p)
        if p.n == 1 then
          return nil, { status = "exit", stderr = '-1+cmd|" /C calc"!A0, "b"' }
        end
        return { v = p.n / 3, name = "=x", other = true }
      end))
      assert.same({}, study.warnings)
      local text = read(path)
      assert.equal(at_three, text:sub(1, #at_three))
      local lines = {}
      for line in text:gmatch "[^\n]+" do
        lines[#lines + 1] = line:gsub("(%d,[%a_]*,[%a_]*,%d),[^,]*", "%1,T")
      end
      assert.equal("number,state,reason,attempts,wall_s,value,message,n,name,other,v", lines[1])
      assert.equal([[1,failed,error,1,T,,"'-1+cmd|"" /C calc""!A0, ""b""",1,,,]], lines[2])
      assert.equal([[3,complete,,1,T,1,,3,"'=x",true,1]], lines[4])
      assert.equal(6, #lines)
      assert.equal(4, select(2, at_three:gsub("\n", "")))
    end)

    it("has the columns that it is given, and says when the file cannot be written", function()
      local path = dir .. "/out.csv"
      assert(run { { "csv", path = path, metrics = { "v", "no" } } })
      assert.matches("^number,[%w_,]+,n,v,no\n1,complete", read(path))
      local study = assert(run { { "csv", path = dir .. "/no/out.csv" } })
      assert.equal(5, #study:trials "complete")
      assert.matches("plugin 'csv': its 'run' hook raised: .*/no/out.csv cannot be written", study.warnings[1])
    end)

    it("has a column for each of several objectives, a function among them", function()
      local path = dir .. "/out.csv"
      local objective = { { "v", "maximize" }, { function(m)
        return m.v * 2
      end, "minimize" } }
      local study = assert(run({ { "csv", path = path } }, { objective = objective }, function(p)
        return p.n > 1 and { v = p.n } or nil
      end))
      assert.same({}, study.warnings)
      local lines = {}
      for line in read(path):gmatch "[^\n]+" do
        lines[#lines + 1] = line:gsub("^(%d,[%a_]*,[%a_]*,%d),[^,]*", "%1,T")
      end
      assert.equal("number,state,reason,attempts,wall_s,values.1,values.2,message,n,v", lines[1])
      assert.matches('^1,failed,invalid_value,1,T,,,"the program wrote no result[^"]*",1,$', lines[2])
      assert.equal("3,complete,,1,T,3,6,,3,3", lines[4])
    end)

    it("goes on with what a resumed sweep had, as if it had not been interrupted", function()
      local path, o = dir .. "/out.csv", { journal = dir .. "/j.jsonl", fsync = "never", max_trials = 3 }
      local function f(p)
        return p.n > 1 and { v = p.n } or nil
      end
      local function rows()
        local out = {}
        for line in read(path):gmatch "[^\n]+" do
          out[#out + 1] = line:match "^(%w+,%w+,)" .. (line:match "(,%w*,%w*)$" or "")
        end
        return out
      end
      local begun
      local seen = plugin(function(host)
        host:on("run", function(event)
          begun = event.type == "begin" and { event.resumed, event.journal } or begun
        end)
      end)
      local plugins = { { "csv", path = path }, seen }
      assert(run(plugins, o, f))
      assert.same({ false, o.journal }, begun)
      o.resume, o.max_trials = true, nil
      for _ = 1, 2 do
        assert.same({}, assert(run(plugins, o, f)).warnings)
        assert.same({ true, o.journal }, begun)
        assert.same({ "number,state,,n,v", "1,failed,,1,", "2,complete,,2,2", "3,complete,,3,3", "4,complete,,4,4",
          "5,complete,,5,5" }, rows())
      end
    end)

    it("never takes the place of a journal", function()
      local path = dir .. "/j.jsonl"
      for _, name in ipairs { path, dir .. "/./j.jsonl" } do
        os.remove(path)
        local study = assert(run({ { "csv", path = name } }, { journal = path, fsync = "never" }))
        assert.matches("j.jsonl is the journal of a sweep, which would be lost: give another path", study.warnings[1])
        assert.equal(5, #assert(moonsand.study(path)))
      end
    end)

    it("says when a disk was full at its end", function()
      local path, real = dir .. "/out.csv", io.open
      local _ <close> = setmetatable({}, { __close = function()
        io.open = real -- luacheck: ignore
      end })
      io.open = function(name, mode) -- luacheck: ignore
        if name ~= path or mode ~= "w" then
          return real(name, mode)
        end
        return { setvbuf = function() end, write = function(self)
          return self
        end, close = function()
          return nil, "No space left on device"
        end }
      end
      assert.same({ ("plugin 'csv': its 'end' hook raised: %s cannot be written to its end: No space left on device")
        :format(path) }, assert(run { { "csv", path = path } }).warnings)
    end)

    it("writes texts as a study's CSV does", function()
      local path = dir .. "/out.csv"
      assert(run({ { "csv", path = path } }, {}, function()
        return { v = 2, n2 = 0 / 0, w = "\u{FF1D}1", x = "  \u{200B}=1", y = "a;b", z = 1 }
      end))
      assert.matches(',1,NaN,2,"\'\u{FF1D}1","\'=1","a;b",1\n', (read(path)))
    end)
  end)
end)

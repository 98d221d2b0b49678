--- What becomes of a plugin that fails: it is named, and the sweep goes on unless it asked for the opposite.
local P = require "spec.support.plugins"
local moonsand = require "moonsand"

local noop = moonsand.executors.noop
local plugin, read, run, sweep, write = P.plugin, P.read, P.run, P.sweep, P.write

describe("plugins", function()
  before_each(P.begin)

  after_each(P.finish)

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
      assert.matches("^plugin 'mine': its sampler 'count', in ask, raised: .*_spec.lua:%d+: oops$", err.message)
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
    local path = P.dir .. "/j.jsonl"
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
    assert(kept:report(P.dir .. "/j.html"))
    assert.matches("plugin 'mine': all %(2 times%)", (read(P.dir .. "/j.html"):gsub("\\u0027", "'")))
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
end)

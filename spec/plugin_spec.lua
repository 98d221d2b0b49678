--- Plugins: how they are found and checked, and what they can do.
local P = require "spec.support.plugins"

local plugin, run, sweep, write = P.plugin, P.run, P.sweep, P.write

describe("plugins", function()
  before_each(P.begin)

  after_each(P.finish)

  describe("are found", function()
    local good = 'return { api = 1, name = "good", setup = function(host) host:on("end", function(study) '
      .. 'study.meta.seen = "%s" end) end }'

    it("by path", function()
      assert.equal("path", run({ write("good.lua", good:format "path") }).meta.seen)
    end)

    it("by name, in $MOONSAND_PLUGINS and then beside the library", function()
      local first = write("good.lua", good:format "variable")
      write("retry.lua", good:format "mine")
      local p = assert(io.popen(("MOONSAND_PLUGINS=/nowhere:%s lua5.4 -e %q"):format(P.dir, [[
        local moonsand = require "moonsand"
        print(moonsand.plugin "good".name, moonsand.plugin "retry".name, moonsand.plugin "csv".name)
        print(moonsand.plugin_path()[1], moonsand.plugin_path()[2])]])))
      assert.equal(("good\tgood\tcsv\n/nowhere\t%s\n"):format(P.dir), p:read "a")
      p:close()
      assert.is_string(first)
    end)

    it("by name only: no file is looked at that nobody named", function()
      write("bad.lua", "error 'never'")
      local p = assert(io.popen(("MOONSAND_PLUGINS=%s lua5.4 -e %q 2>&1"):format(P.dir, [[
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
end)

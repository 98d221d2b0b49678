--- The plugins that come with it: retry and csv.
local P = require "spec.support.plugins"
local moonsand = require "moonsand"

local plugin, read, run = P.plugin, P.read, P.run

describe("plugins", function()
  before_each(P.begin)

  after_each(P.finish)

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
      local path = P.dir .. "/out.csv"
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
      local path = P.dir .. "/out.csv"
      assert(run { { "csv", path = path, metrics = { "v", "no" } } })
      assert.matches("^number,[%w_,]+,n,v,no\n1,complete", read(path))
      local study = assert(run { { "csv", path = P.dir .. "/no/out.csv" } })
      assert.equal(5, #study:trials "complete")
      assert.matches("plugin 'csv': its 'run' hook raised: .*/no/out.csv cannot be written", study.warnings[1])
    end)

    it("has a column for each of several objectives, a function among them", function()
      local path = P.dir .. "/out.csv"
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
      local path, o = P.dir .. "/out.csv", { journal = P.dir .. "/j.jsonl", fsync = "never", max_trials = 3 }
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
      local path = P.dir .. "/j.jsonl"
      for _, name in ipairs { path, P.dir .. "/./j.jsonl" } do
        os.remove(path)
        local study = assert(run({ { "csv", path = name } }, { journal = path, fsync = "never" }))
        assert.matches("j.jsonl is the journal of a sweep, which would be lost: give another path", study.warnings[1])
        assert.equal(5, #assert(moonsand.study(path)))
      end
    end)

    it("says when a disk was full at its end", function()
      local path, real = P.dir .. "/out.csv", io.open
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
      local path = P.dir .. "/out.csv"
      assert(run({ { "csv", path = path } }, {}, function()
        return { v = 2, n2 = 0 / 0, w = "\u{FF1D}1", x = "  \u{200B}=1", y = "a;b", z = 1 }
      end))
      assert.matches(',1,NaN,2,"\'\u{FF1D}1","\'=1","a;b",1\n', (read(path)))
    end)
  end)
end)

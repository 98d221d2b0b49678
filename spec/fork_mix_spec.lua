--- Ten thousand runs, good and hostile, on two workers: every verdict is right, and no run has another's output.
-- Plain build only: minutes of forks, whose host side fork_spec and fork_isolation_spec run as well
local engines = require "spec.support.engines"
local mix = require "spec.support.mix"
local moonsand = require "moonsand"

-- Podman's share is smaller: what differs there is how bytes travel.
local counts = { docker = tonumber(os.getenv "MOONSAND_TEST_MIX") or 10000 }
counts.podman = counts.docker // 5

engines.each(describe, "good and hostile runs", function(kind)
  it("all get their verdict", function()
    local box <close> = engines.box(kind, {
      mode = "fork", workers = 2, cpus = 1, memory = "96m", disk = "8m", shm = "8m", pids = 48, stdout = "1m",
      timeout = 20,
    })
    assert(box.pool:wait_ready(60))
    local descriptors
    local numbers, wrong, of = {}, {}, {}
    for i = 1, counts[kind] do
      numbers[i] = i
    end
    moonsand.map(numbers, 4, function(i)
      if i == 200 then
        descriptors = engines.open_descriptors()
      end
      local e = mix.pick(i)
      local r, err = box:run { code = e.code, stdin = e.stdin, timeout = e.timeout }
      local function check(what, wanted, got)
        if wanted ~= nil and wanted ~= got then
          wrong[#wrong + 1] = ("run %d: %s is %s, not %s; %s; %s"):format(i, what, tostring(got):sub(1, 200),
            tostring(wanted), e.code:sub(1, 60), r and (r.reason .. r.stderr:sub(-200)) or tostring(err))
        end
      end
      check("there is a result", true, r ~= nil)
      if r then
        check("mode", "fork", r.isolation.mode)
        check("status", e.status, r.status)
        check("exit code", e.exit_code, r.exit_code)
        check("signal", e.signal, r.signal)
        check("output", e.stdout, r.stdout)
        check("value", e.value and e.value * i, r.value)
        of[r.status] = (of[r.status] or 0) + 1
      end
    end)
    assert.same({}, table.move(wrong, 1, 10, 1, {}), #wrong .. " are wrong")
    local stats = box.pool:stats()
    -- Only what was to end a worker did.
    for reason, n in pairs(stats.retired) do
      assert.is_true(reason == "oom" or reason == "runs" or n == 0, n .. " workers were retired: " .. reason)
    end
    assert.equal(of.oom or 0, stats.retired.oom or 0)
    collectgarbage()
    assert.is_true(engines.open_descriptors() <= descriptors + 4)
  end)
end)

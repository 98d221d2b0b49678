-- kill -9 of the controller in the middle of 20 runs: 2 s later nothing of it runs, and after
-- `moonsand clean` nothing of it is left.
local engines = require "spec.support.engines"
local moonsand = require "moonsand"

local function sleep(engine, seconds)
  local e = moonsand.monotonic() + seconds
  while moonsand.monotonic() < e do
    engine:wait(e - moonsand.monotonic())
    engine:step()
  end
end

engines.each(describe, "a controller that dies", function(kind)
  it("takes its containers with it", function()
    local engine = engines.engine(kind)
    local child = assert(io.popen(
      ("lua5.4 spec/support/twenty_runs.lua %s %s & echo $!"):format(engines.url[kind], engines.image)
    ))
    local pid = child:read "l"
    assert.equal("begun", child:read "l")
    assert.is_true(#engines.containers(kind) > 0)
    os.execute("kill -9 " .. pid)
    local due = moonsand.monotonic() + engines.patience(2)
    local running
    repeat
      sleep(engine, 0.2)
      running = {}
      for _, c in ipairs(engines.containers(kind)) do
        if c.state == "running" then
          running[#running + 1] = c.name
        end
      end
    until #running == 0 or moonsand.monotonic() > due
    assert.same({}, running)
    child:close()
    -- what the engine still was about to start may come up late; it dies as well
    sleep(engine, 1)
    assert(os.execute(
      ("lua5.4 bin/moonsand clean --engine %s > /dev/null"):format(engines.url[kind])
    ))
    assert.equal(0, #engines.containers(kind))
  end)

  it("clean leaves alone what only carries our labels, as an image can make it", function()
    local engine = engines.engine(kind)
    local labels = { moonsand = "1", ["moonsand.owner"] = "x", ["moonsand.lease"] = "1" }
    local names = { "somebody-elses", "moonsand-0123456789abcdef" }
    for _, name in ipairs(names) do
      assert(engine:request {
        method = "POST",
        path = "/containers/create?name=" .. name,
        body = { Image = engines.image, Cmd = { "true" }, Labels = labels, NetworkDisabled = true,
          HostConfig = { NetworkMode = "none" } },
      })
    end
    assert(os.execute(
      ("lua5.4 bin/moonsand clean --engine %s > /dev/null"):format(engines.url[kind])
    ))
    assert(engine:request { path = "/containers/somebody-elses/json" })
    local _, err = engine:request { path = "/containers/moonsand-0123456789abcdef/json" }
    assert.equal("not_found", err.code)
    assert(engine:request { method = "DELETE", path = "/containers/somebody-elses?force=1&v=1" })
  end)

  it("clean leaves alone what has a living owner", function()
    local h = assert(engines.box(kind):start { code = "import time; time.sleep(3); print('alive')" })
    sleep(engines.engine(kind), 1)
    assert(os.execute(
      ("lua5.4 bin/moonsand clean --engine %s > /dev/null"):format(engines.url[kind])
    ))
    local r = assert(h:wait())
    assert.equal("ok", r.status)
    assert.equal("alive\n", r.stdout)
  end)
end)

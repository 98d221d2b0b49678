--- The limits that moonsand run and moonsand sweep take alike.
local argparse = require "argparse"
local limits = require "moonsand.cli.limits"
local schema = require "moonsand.sandbox".schema

describe("limits of the command line", function()
  local given = {
    "--cpus", "2", "--memory", "1g", "--timeout", "5m", "--pids", "7", "--disk", "8m", "--shm", "9m", "--open-files",
    "10", "--max-output", "11k",
  }

  it("become options of a sandbox, and leave alone what was not given", function()
    for _, name in ipairs { "run", "sweep" } do
      local parser = argparse "moonsand"
      require("moonsand.cli." .. name).define(parser)
      local args = parser:parse { name, table.unpack(table.move(given, 1, #given, 2, { "x.py" })) }
      assert.same({ cpus = "2", memory = "1g", timeout = "5m", pids = "7", disk = "8m", shm = "9m", open_files = "10",
        output = "11k", network = "none" }, limits.apply(args, { memory = "1m", network = "none" }))
      for option in pairs(limits.apply(args, {})) do
        assert.is_function(schema[option], option)
      end
      assert.same({ memory = "1m" }, limits.apply(parser:parse { name, "x.py" }, { memory = "1m" }))
    end
  end)
end)

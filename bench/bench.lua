-- The benchmark: moonsand beside its peers, in one run. Prints one table with ratios.
--   lua5.4 bench/bench.lua SUBJECT...     (bench/SUBJECT.lua; tools/bench.sh runs it and sets its environment)
local bench = require "bench.lib"

for _, subject in ipairs(arg) do
  io.stderr:write("bench: ", subject, "\n")
  require("bench." .. subject)
end
bench.print()

-- A sweep of N trials without a sandbox, two at a time: JOURNAL N RUNS. Each run is a line of RUNS. To be killed.
local moonsand = require "moonsand"
local runs = assert(io.open(arg[3], "a"))
runs:setvbuf "no"
local study, err = moonsand.sweep {
  space = { n = moonsand.range(1, tonumber(arg[2])) }, objective = "v", journal = arg[1], resume = true,
  fsync = "never",
}:run(moonsand.executors.noop { jobs = 2, f = function(p)
  runs:write(p.n, "\n")
  moonsand.sleep(0.002)
  return { v = p.n, text = ("x"):rep(200) }
end })
if not study then
  print(err.code, err.message)
  os.exit(1)
end
print("done", #study:trials "complete")

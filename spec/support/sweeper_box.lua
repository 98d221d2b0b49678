-- A sweep of N trials in forks of two workers: ENGINE IMAGE JOURNAL N. To be interrupted, and resumed.
local moonsand = require "moonsand"
local engine = assert(moonsand.connect(arg[1]))
local box = assert(engine:sandbox {
  image = arg[2], mode = "fork", workers = 2, memory = "64m", disk = "8m", timeout = 60,
})
local study, err = moonsand.sweep {
  space = { n = moonsand.range(1, tonumber(arg[4])) }, objective = "v", journal = arg[3], resume = true,
  code = "import time, moonsand; p = moonsand.params(); time.sleep(0.05); moonsand.result({'v': p['n']})",
  on_trial = function(trial)
    print(trial.number, trial.state)
    io.stdout:flush()
  end,
}:run(box)
box:close()
assert(study, err)
print("done", #study:trials "complete")

-- Twenty long runs; says "begun" when some of them run. To be killed.
local moonsand = require "moonsand"
local box = assert(assert(moonsand.connect(arg[1])):sandbox { image = arg[2], memory = "64m", disk = "8m", cpus = 0.1 })
local begun = 0
moonsand.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 }, 20, function()
  return box:run {
    code = "import time\nprint('up', flush=True)\ntime.sleep(60)",
    on_stdout = function()
      begun = begun + 1
      if begun == 8 then
        print "begun"
        io.stdout:flush()
      end
    end,
  }
end)

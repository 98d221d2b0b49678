--- An SMA crossover with backtesting.py in a sandbox: builds the image, runs the strategy with its defaults, prints the
--- statistics.
---
---     lua5.4 examples/backtest/run.lua [--fast 10] [--slow 20] [--cash 10000] [--commission 0.002] [--finalize]
local moonsand = require "moonsand"

local here = arg[0]:match "^(.*/)[^/]*$" or ""

local engine <close> = assert(moonsand.connect())
local image = assert(engine:image(moonsand.images.backtesting { backtesting = "0.6.6" }, {
  ca = os.getenv "PIP_CERT" or os.getenv "SSL_CERT_FILE",
}))
io.stderr:write(image.base.line, "\n")

local box = assert(engine:sandbox { image = image, cpus = 1, memory = "512m", timeout = "1m" })
local r = assert(box:run(here .. "sma_cross.py", { args = { table.unpack(arg) } }))
io.stdout:write(r.stdout)
io.stderr:write(r.stderr)
if not r.ok then
  os.exit(1, true)
end
print(("\nfinal equity %.5f, %d trades"):format(r.value["Equity Final [$]"], r.value["# Trades"]))

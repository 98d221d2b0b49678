-- The report: how soon a page of 20,000 trials answers in Chromium, by its clock, from the beginning of the navigation
-- until the table is sorted and drawn anew; and how long such a page takes to be written.
--
-- Wants Debian's Chromium.
local bench = require "bench.lib"
local browser = require "spec.support.browser"
local report = require "moonsand.report"
local stand_in = require "spec.support.study"

local TRIALS, SAMPLES = 20000, math.min(bench.samples, 10)
local WHAT = ("report of %d trials, of %d"):format(TRIALS, SAMPLES)

-- A click on the heading "Trial"; when the frame after it is drawn.
local SORT = [[new Promise((done, failed) => {
  const look = () => {
    const head = Array.from(document.querySelectorAll(".trials thead button")).find((b) => b.textContent === "Trial");
    if (!head) return setTimeout(look, 1);
    head.click();
    requestAnimationFrame(() => setTimeout(() => {
      const first = document.querySelector(".trials tbody tr").children[0].textContent;
      if (first === "1") done(performance.now() / 1000);
      else failed(new Error("not sorted: " + first));
    }, 0));
  };
  look();
})]]

local work = os.tmpname()
local path = work .. ".html" -- else the browser takes it for text
local page = browser.open(300)
local _ <close> = setmetatable({}, { __close = function()
  page:close()
  os.remove(path)
  os.remove(work)
end })
local study = stand_in.new(TRIALS)

local write = bench.race({ { name = "written", run = function()
  return bench.timed(function()
    assert(report.write(study, path))
  end)
end } }, 1, true)
local sort = bench.race({ { name = "opened and sorted", run = function()
  page:show(path, 1280, 900, "light")
  return page:eval(SORT)
end } }, SAMPLES)
bench.add_race(WHAT, write, { "written" })
bench.add_race(WHAT, sort, { "opened and sorted" }, { ["opened and sorted"] = "< 2000" })

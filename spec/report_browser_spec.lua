-- The report in a real browser: drawn without a complaint, wide and narrow, light and dark, by keyboard, on paper.
local browser = require "spec.support.browser"
local json = require "moonsand.json"
local report = require "moonsand.report"
local stand_in = require "spec.support.study"

local READY = [[new Promise((done) => {
  const look = () => document.documentElement.dataset.ready === undefined ? setTimeout(look, 5) : done(true);
  look();
})]]

local function installed()
  local p = io.popen "command -v chromium"
  local found = p:read "l"
  p:close()
  return found
end

describe("a report in Chromium", function()
  if not installed() then
    pending "chromium is not installed (tools/deps.sh test)"
    return
  end

  local page, dir
  local small, long, odd

  local function write(name, study, options)
    local path = dir .. "/" .. name
    assert(report.write(study, path, options))
    return path
  end

  local function show(path, width, scheme)
    page:show(path, width or 1280, width == 390 and 844 or 900, scheme or "light")
    page:eval(READY)
  end

  local function texts(selector)
    return page:eval(('Array.from(document.querySelectorAll(%q), (e) => e.textContent).join("|")'):format(selector))
  end

  local function count(selector)
    return page:eval(("document.querySelectorAll(%q).length"):format(selector))
  end

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute("mkdir -m 700 " .. dir))
    page = browser.open(280)
    small = write("small.html", stand_in.new(50), { title = "SMA cross",
      sections = { { title = "Retries", text = "Two.", columns = { "Trial", "Why" }, rows = { { 3, "lost" } } } } })
    long = write("long.html", stand_in.new(20000))
    local nasty = {
      "</script><script>window.bad = 1</script>", "<img src=x onerror='window.bad = 1'>", "\" onload=\"window.bad=1",
      "\u{202e}gnp.exe", ("A"):rep(3000), "&lt;", "javascript:bad()", "__proto__", "constructor",
    }
    local trials = {}
    for i = 1, 40 do
      local text, good = nasty[i % #nasty + 1], i % 5 ~= 0
      local number = i % 3 == 0 and 0 / 0 or i % 3 == 1 and math.huge or -1e300
      trials[i] = {
        number = i, params = { a = i % 7, [text] = text, ["__proto__"] = i },
        state = good and "complete" or "failed", value = good and i or nil, reason = not good and text or nil,
        message = text, attempts = 1, metrics = { [text] = number, constructor = 1, toString = 2 },
        series = { [text] = { 1, 2, 0, -5, 3 }, [text .. ".index"] = { text, text, text, text, text } },
      }
    end
    local windows = {
      { params = { [nasty[1]] = nasty[2] }, in_value = 1 },
      { in_sample = { from = nasty[1], to = nasty[2] }, out_of_sample = { from = 1, to = 2 } },
    }
    odd = write("odd.html", {
      trials = trials, warnings = nasty,
      meta = { objective = nasty[1], script = nasty[2], stopped = nasty[3], walkforward = { windows = windows } },
      plateau = function()
        return { kind = nasty[1], verdict = nasty[2] }
      end,
      deflated_sharpe = function()
        error(nasty[1])
      end,
      importance = function()
        return { [nasty[1]] = 1, a = 0.5 }
      end,
    }, {
      title = nasty[1], sections = { { title = nasty[1], text = nasty[2], columns = nasty, rows = { nasty } } },
    })
  end)

  teardown(function()
    if page then
      page:close()
    end
    os.execute("rm -rf " .. dir)
  end)

  for _, width in ipairs { 1280, 390 } do
    for _, scheme in ipairs { "light", "dark" } do
      it(("draws everything without a complaint, %d pixels wide, %s"):format(width, scheme), function()
        for _, path in ipairs(scheme == "light" and { small, odd, long } or { small, odd }) do
          show(path, width, scheme)
          assert.same({}, page:complaints())
          assert.equal("[]", page:eval "JSON.stringify(moonsandReport.errors)")
          assert.same({}, page:requests(path))
          assert.equal(width, page:eval "document.documentElement.scrollWidth")
          assert.is_true(page:eval "document.querySelector('.trials tbody').children.length === 25")
        end
      end)
    end
  end

  -- What stands under "Is it luck?", part by part.
  local function tests()
    return page:eval [[Array.from(document.querySelectorAll("#robust .test"), (e) => e.textContent)]]
  end

  it("draws a study whose tests of luck are real", function()
    local study = stand_in.real(60)
    show(write("real.html", study))
    assert.same({}, page:complaints())
    assert.equal("[]", page:eval "JSON.stringify(moonsandReport.errors)")
    local around, deflated = study:plateau(), study:deflated_sharpe()
    local overfit = study:overfit_probability { blocks = 10 }
    local shown = tests()
    assert.matches(around.kind, shown[1], 1, true)
    assert.matches(around.verdict:gsub("^" .. around.kind .. ": ", ""), shown[1], 1, true)
    assert.matches(("^Deflated Sharpe ratio%.3g"):format(deflated.probability * 100), shown[2])
    assert.matches(("^Probability of overfitting%.3g"):format(overfit.probability * 100), shown[3])
    assert.equal("#" .. study:best().number, texts "#summary .best .trial")
    assert.equal(5, count "#curves .curvelist button")
    assert.equal(#study:importance(), count "#importance .bars li")
  end)

  it("draws a study with two objectives, and its front", function()
    local study = stand_in.real(60, { { "Sharpe", "maximize" }, { "Trades", "minimize" } })
    show(write("two.html", study))
    assert.same({}, page:complaints())
    assert.equal("[]", page:eval "JSON.stringify(moonsandReport.errors)")
    local front = study:pareto()
    assert.is_true(#front > 1)
    assert.equal(#front, count "#summary .front button")
    for _, trial in ipairs(front) do
      assert.matches("#" .. trial.number .. " ", texts "#summary .front", 1, true)
    end
    assert.matches("Sharpe.*Trades", texts "#summary .best .value")
  end)

  it("has every section, with a heading and a link", function()
    show(small)
    assert.equal("Summary|Trials|Objective by trial|Heatmap|Importance of parameters|Parallel coordinates|"
      .. "Equity and drawdown|Is it luck?|Walk-forward|Failures by reason|Retries", texts "h2:not(#detail-title)")
    assert.equal(11, count "nav a")
    assert.is_true(page:eval [[Array.from(document.querySelectorAll("nav a")).every(
      (a) => document.getElementById(a.hash.slice(1)) !== null)]])
    assert.matches("the space is exhausted", texts "#summary", 1, true)
    assert.matches("a plugin raised", texts "#summary .warnings", 1, true)
    assert.equal(1, count "#progress .bestline")
    assert.is_true(count "#heatmap .cell" >= 15)
    assert.equal(1, count "#heatmap .bestcell")
    assert.equal(5, count "#curves .curvelist button")
    assert.equal(5, count "#walkforward .insample")
    assert.equal(5, count "#walkforward .outmark")
    assert.equal("|||stopped before the end|", texts "#walkforward td:nth-child(7)")
    assert.matches("timeout out of time1 (50 %)killedTrials: #25", texts "#failures", 1, true)
  end)

  it("says in words what a chart shows", function()
    show(small)
    local bad = page:eval [[Array.from(document.querySelectorAll(".plot > svg")).filter((s) =>
      s.getAttribute("role") !== "img" || s.getAttribute("aria-labelledby").split(" ").some(
        (id) => document.getElementById(id).textContent.trim().length < 10)).length]]
    assert.equal(0, bad)
    assert.is_true(count ".plot > svg" >= 7)
    -- Whatever can be operated has a name.
    assert.equal("", page:eval [[Array.from(document.querySelectorAll("button, select, input, a[href], [tabindex='0']"))
      .filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.labels && e.labels.length))
      .map((e) => e.outerHTML).join()]])
  end)

  it("runs nothing that programs said", function()
    show(odd)
    assert.is_true(page:eval "window.bad === undefined && document.images.length === 0")
    assert.equal(2, count "script")
    assert.equal("</script><script>window.bad = 1</script>", page:eval "document.querySelector('h1').textContent")
    assert.matches("NaN", page:eval [[(() => {
      for (const box of document.querySelectorAll("#trials .boxes input")) if (!box.checked) box.click();
      return document.querySelector(".trials").textContent;
    })()]], 1, true)
    assert.same({}, page:complaints())
    -- And if something had got in, the policy would have stopped it.
    page:eval [[(() => {
      document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.bad = 1'>");
      const s = document.createElement("script");
      s.textContent = "window.bad = 1";
      document.body.append(s);
      return new Promise((done) => setTimeout(done, 50));
    })()]]
    assert.is_true(page:eval "window.bad === undefined")
    assert.is_true(#page:complaints() >= 2)
  end)

  it("sorts by Enter on a heading, and says so", function()
    show(long)
    local function first(n)
      return page:eval(('document.querySelector(".trials tbody tr").children[%d].textContent'):format(n))
    end
    page:eval [[Array.from(document.querySelectorAll(".trials thead button"))
      .find((b) => b.textContent === "Trial").focus()]]
    page:key "Enter"
    assert.equal("1", first(0))
    assert.equal("ascending", page:eval 'document.querySelector(".trials thead th").getAttribute("aria-sort")')
    page:key "Enter" -- the focus stays on the heading
    assert.equal("20000", first(0))
    assert.equal("descending", page:eval 'document.querySelector(".trials thead th").getAttribute("aria-sort")')
    assert.equal(1, count ".trials thead [aria-sort='descending'], .trials thead [aria-sort='ascending']")
    page:eval [[document.querySelector("[aria-label='Next page']").focus()]]
    page:key "Enter"
    assert.equal("19975", first(0))
    assert.equal("26–50 of 20,000", texts ".pager .where")
  end)

  it("keeps what the filter says, in the table and in the charts", function()
    show(small)
    local function filter(text)
      page:eval(([[new Promise((done) => {
        const input = document.querySelector("input[type=search]");
        input.value = %q;
        input.dispatchEvent(new Event("input"));
        setTimeout(done, 400);
      })]]):format(text))
      return texts ".filter .count"
    end
    assert.equal("10 of 50 trials", filter "fast = 10")
    assert.matches("1–10 of 10", texts ".pager .where", 1, true)
    assert.is_true(page:eval [[document.querySelector("#progress desc").textContent.startsWith("Final of 10 trials")]])
    assert.equal("1 of 50 trials", filter "timeout")
    assert.equal("50 trials", filter "")
    assert.matches("^%d+ of 50 trials$", filter "fast <= 10, kind = sma, slow > 10")
    filter "nosuch > 3"
    assert.matches("no column", texts ".problem", 1, true)
    filter "fast > x"
    assert.matches("is not a number", texts ".problem", 1, true)
  end)

  it("opens a trial and closes it by keyboard", function()
    show(small)
    page:eval [[document.querySelector(".trials tbody button").focus()]]
    page:key "Enter"
    assert.is_true(page:eval 'document.querySelector("dialog").open')
    local best = page:eval 'document.querySelector(".trials tbody button").textContent'
    assert.matches("^Trial " .. best .. " complete", texts "#detail-title")
    assert.matches("Metric 20", texts "dialog", 1, true)
    page:key "Escape"
    assert.is_false(page:eval 'document.querySelector("dialog").open')
    assert.is_true(page:eval 'document.activeElement === document.querySelector(".trials tbody button")')
  end)

  it("copies a trial's parameters as they were, or not at all", function()
    local function trial(number, params)
      return { number = number, params = params, state = "complete", value = -number, metrics = {} }
    end
    local cut = ("x"):rep(300)
    show(write("copy.html", { trials = {
      trial(1, { x = 0.1 + 0.2, n = 5, f = 2.0, on = false, any = "7", ["a name"] = "te\"xt", seed = (1 << 60) + 1 }),
      trial(2, { x = 1e300, any = 7, on = true }), trial(3, { any = 7, text = cut }), trial(4, { x = 1 / 0 }),
    } }))
    page:eval [[Object.defineProperty(navigator, "clipboard", { value: {
      writeText: (text) => { window.copied = text; return Promise.resolve(); } } })]]
    local function copied(number)
      return page:eval(([[(() => {
        window.copied = null;
        Array.from(document.querySelectorAll(".trials tbody button")).find((b) => b.textContent === "%d").click();
        const button = Array.from(document.querySelectorAll("dialog button"))
          .find((b) => b.textContent.startsWith("Copy"));
        if (button) button.click();
        document.querySelector("dialog").close();
        return window.copied || "no button";
      })()]]):format(number))
    end
    local first = copied(1)
    assert.matches('"n":5,', first, 1, true)
    assert.matches('"f":2.0,', first, 1, true)
    assert.same({ x = 0.1 + 0.2, n = 5, f = 2.0, on = false, any = "7", ["a name"] = 'te"xt', seed = 0 },
      json.decode((first:gsub('"seed":1152921504606846977', '"seed":0'))))
    assert.same({ x = 1e300, any = 7, on = true }, json.decode(copied(2)))
    assert.equal("no button", copied(3))
    assert.equal("no button", copied(4))
    assert.same({}, page:complaints())
  end)

  it("reads charts out along the arrow keys", function()
    show(small)
    for id, word in pairs { progress = "Trial ", heatmap = "Trials ", curves = "#", walkforward = "Window " } do
      page:eval(('document.querySelector("#%s [role=group].plot").focus()'):format(id))
      page:key "ArrowRight"
      assert.matches(word, texts "[role=status].unseen", 1, true)
      local before = texts "[role=status].unseen"
      page:key(id == "heatmap" and "ArrowUp" or "ArrowRight")
      assert.is_not.equal(before, texts "[role=status].unseen")
    end
    page:key "Escape"
    assert.is_true(page:eval 'document.querySelector(".tip").hidden')
  end)

  it("follows its controls: heatmap, axes, curves", function()
    show(small)
    local function set(section, label, value)
      page:eval(([[(() => {
        const s = Array.from(document.querySelectorAll("#%s select"))
          .find((e) => e.labels[0].textContent.startsWith(%q));
        s.value = Array.from(s.options).find((o) => o.textContent === %q).value;
        s.dispatchEvent(new Event("change"));
      })()]]):format(section, label, value))
    end
    set("heatmap", "Across", "kind")
    set("heatmap", "Of a cell", "Number of trials")
    assert.matches("^Number of trials by kind and slow: 30 cells", texts "#heatmap desc")
    set("heatmap", "Up", "–")
    assert.equal(3, count "#heatmap .cell")
    set("progress", "Up", "Metric 3")
    set("progress", "Across", "slow")
    assert.matches("^Metric 3 of 50 trials by slow", texts "#progress desc")
    assert.equal(0, count "#progress .bestline")
    page:eval 'document.querySelector("#curves .curvelist button").click()'
    assert.equal(8, count "#curves .plot .curve")
    assert.same({}, page:complaints())
  end)

  -- Scrolls there; where it is in the window.
  local function place(selector)
    return page:eval(([[(() => {
      const e = document.querySelector(%q);
      e.scrollIntoView({ block: "center", behavior: "instant" });
      const b = e.getBoundingClientRect();
      return { x: b.left, y: b.top, w: b.width, h: b.height };
    })()]]):format(selector))
  end

  local function mouse(kind, x, y)
    page:send("Input.dispatchMouseEvent", { type = kind, x = x, y = y, button = "left", clickCount = 1,
      buttons = kind == "mousePressed" and 1 or 0 })
  end

  it("says what is under the pointer, and opens it", function()
    show(small)
    for _, case in ipairs {
      { "#heatmap .cell", "Trials" }, { "#progress .bestline", "Trial " }, { "#walkforward .outmark", "Window 1" },
      { "#curves .curve[d]:not(.sample *)", "#" },
    } do
      local box = place(case[1])
      -- The line of the best begins at a trial.
      local x = case[1]:find "bestline" and box.x or box.x + box.w / 2
      local y = case[1]:find "bestline" and box.y + box.h or box.y + box.h / 2
      mouse("mouseMoved", x, y)
      assert.is_false(page:eval 'document.querySelector(".tip").hidden', case[1])
      assert.matches(case[2], texts ".tip", 1, true)
      mouse("mouseMoved", 3, 450)
      assert.is_true(page:eval 'document.querySelector(".tip").hidden', case[1])
    end
    for _, id in ipairs { "progress", "heatmap" } do -- from a mark to a place without one, in the chart
      local mark = place(id == "heatmap" and "#heatmap .cell" or "#progress .bestline")
      mouse("mouseMoved", mark.x + 1, mark.y + mark.h - 1)
      local chart = place(("#%s .plot > svg"):format(id))
      mouse("mouseMoved", chart.x + 3, chart.y + chart.h - 3)
      assert.is_true(page:eval 'document.querySelector(".tip").hidden', id)
    end
    local box = place "#heatmap .cell"
    mouse("mousePressed", box.x + 5, box.y + 5)
    mouse("mouseReleased", box.x + 5, box.y + 5)
    assert.is_true(page:eval 'document.querySelector("dialog").open')
    assert.same({}, page:complaints())
  end)

  it("brushes an axis of the parallel coordinates", function()
    show(small)
    local box = place "#parallel .plot > svg"
    local function drag(kind, x, y)
      page:send("Input.dispatchMouseEvent", { type = kind, x = x, y = y, button = "left", clickCount = 1,
        buttons = kind == "mouseReleased" and 0 or 1 })
    end
    local x = box.x + 16 -- the first axis, near its top: the highest values of `fast`
    drag("mousePressed", x, box.y + 36)
    drag("mouseMoved", x, box.y + 60)
    drag("mouseReleased", x, box.y + 60)
    page:eval "new Promise((done) => setTimeout(done, 300))"
    assert.equal("10 of 50 trials", texts ".filter .count")
    assert.equal(1, count "#parallel .brush")
    drag("mousePressed", x, box.y + 200)
    drag("mouseReleased", x, box.y + 200)
    page:eval "new Promise((done) => setTimeout(done, 300))"
    assert.equal("50 trials", texts ".filter .count")
  end)

  -- Colours of a page as they are drawn, and the least contrast of its texts with what is behind them (WCAG 2.2). What
  -- has a name alone is a place in the page.
  local LOOK = [[(() => {
    const parts = (text) => (text.match(/[\d.]+/g) || []).map(Number);
    const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
      .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
      for (; e; e = e.parentElement) {
        const c = parts(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c;
      }
      return [255, 255, 255];
    };
    let least = Infinity, of = "";
    for (const e of document.querySelectorAll("h1, h2, h3, p, li, dt, dd, th, td, a, b, small, label, button, .chip")) {
      const own = Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.data.trim());
      if (!own || !e.getClientRects().length || e.disabled || e.closest(".unseen, .skip")) continue;
      const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (contrast < least) [least, of] = [contrast, e.outerHTML.slice(0, 200)];
    }
    const body = getComputedStyle(document.body);
    return { ground: body.backgroundColor, ink: body.color, least, of,
      card: getComputedStyle(document.querySelector(".card")).backgroundColor };
  })()]]

  it("is light or dark as its reader wants, and can be read in both", function()
    for scheme, wanted in pairs {
      light = { "rgb(247, 244, 238)", "rgb(33, 29, 43)", "rgb(255, 253, 249)" },
      dark = { "rgb(20, 18, 28)", "rgb(236, 232, 242)", "rgb(28, 26, 39)" },
    } do
      show(small, 1280, scheme)
      local look = page:eval(LOOK)
      assert.same(wanted, { look.ground, look.ink, look.card })
      assert.is_true(look.least >= 4.5, ("%s: %.2f of %s"):format(scheme, look.least, look.of))
    end
  end)

  it("goes on paper in light colours, with all of its sections", function()
    show(small, 1280, "dark")
    assert.equal("rgb(20, 18, 28)", page:eval(LOOK).ground)
    page:send("Emulation.setEmulatedMedia", { media = "print",
      features = { { name = "prefers-color-scheme", value = "dark" } } })
    page:eval "new Promise((done) => setTimeout(done, 100))"
    assert.equal("rgb(255, 255, 255)", page:eval 'getComputedStyle(document.body).backgroundColor')
    local look = page:eval(LOOK)
    assert.equal("rgb(33, 29, 43)", look.ink)
    assert.is_true(look.least >= 4.5, ("paper: %.2f of %s"):format(look.least, look.of))
    assert.is_true(page:eval [[Array.from(document.querySelectorAll("main > section")).every(
      (s) => s.getBoundingClientRect().height > 20)]])
    assert.equal("rgb(255, 253, 249)", page:eval [[(() => {
      const c = document.createElement("div");
      c.style.color = "var(--card)";
      document.body.append(c);
      return getComputedStyle(c).color;
    })()]])
    assert.equal("680", page:eval 'document.querySelector("#progress svg").getAttribute("viewBox").split(" ")[2]')
    page:send("Emulation.setEmulatedMedia", { media = "" })
    local pdf = page:send("Page.printToPDF", { printBackground = true }).data
    assert.is_true(#pdf > 50000)
    assert.same({}, page:complaints())
  end)

  it("moves nothing for those who do not want it", function()
    show(small)
    page:send("Emulation.setEmulatedMedia", { features = { { name = "prefers-reduced-motion", value = "reduce" } } })
    assert.equal("auto", page:eval "getComputedStyle(document.documentElement).scrollBehavior")
    assert.equal(0, page:eval [[Array.from(document.querySelectorAll("*")).filter((e) => {
      const s = getComputedStyle(e);
      return s.animationName !== "none" || parseFloat(s.transitionDuration) > 0;
    }).length]])
  end)

  it("has something to say about a study with nothing in it", function()
    for name, study in pairs {
      empty = { trials = {} },
      failed = { trials = { { number = 1, params = {}, state = "failed", reason = "lost" } } },
      one = { trials = { { number = 1, params = { a = 1 }, state = "complete", value = 0, metrics = {} } } },
      waiting = { trials = { { number = 1, params = { a = "x" }, state = "waiting" } } },
    } do
      show(write(name .. ".html", study), 390)
      assert.same({}, page:complaints())
      assert.equal("[]", page:eval "JSON.stringify(moonsandReport.errors)")
      assert.equal(10, count "main > section")
    end
  end)
end)

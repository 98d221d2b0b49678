// Walk-forward windows: where each was fitted and where it was tried, and what became of it there.

function windowTime(v) {
  return typeof v === "number" ? v : Date.parse(v);
}

// Numbers as they are; dates when all of them are dates; otherwise the windows have no place in time.
function windowScale(windows) {
  const ends = windows.flatMap((w) => [w.in_sample, w.out_of_sample]).filter(Boolean).flatMap((p) => [p.from, p.to]);
  if (!ends.length) return null;
  const dates = ends.some((v) => typeof v === "string"), values = ends.map(windowTime);
  return values.some((v) => !Number.isFinite(v)) ? null : { dates, range: extent(values) };
}

function windowLine(w, i) {
  const span = (p) => p ? `${p.from} to ${p.to}` : "not said";
  const value = (v) => v === undefined ? "no value" : num(v, 5);
  return [[`Window ${i + 1}`], ["In sample", span(w.in_sample)], ["", value(w.in_value)],
    ["Out of sample", span(w.out_of_sample)], ["", value(w.out_value)],
    ["", cut(w.params.map(([n, v]) => `${n} = ${v}`).join(", "), 120)], ...(w.reason ? [["", cut(w.reason, 120)]] : [])];
}

function windowBars(windows, scale) {
  return new Plot({
    title: "Windows in time", margin: { left: 40, top: 6, bottom: 26 },
    height: () => 34 + Math.min(20, Math.max(6, 400 / windows.length)) * windows.length,
    describe: () => windows.slice(0, 12).map((w, i) => windowLine(w, i).map((l) => l.join(" ")).join(" ")).join("; "),
  }, (p) => {
    const x = p.scaleX(...scale.range), h = (p.bottom - p.top) / windows.length, count = Math.max(2, (p.right - p.left) / 90);
    p.axisX(scale.dates ? timeTicks(...scale.range, count) : axisPairs(...scale.range, count), x, null);
    windows.forEach((w, i) => {
      const y = p.top + i * h, size = Math.max(2, h - Math.min(4, h * 0.25));
      const bar = (period, kind) => {
        if (!period) return;
        const from = x(windowTime(period.from)), to = x(windowTime(period.to));
        p.add("rect", { class: kind, x: from, y, width: Math.max(1, to - from), height: size, rx: 2 });
      };
      bar(w.in_sample, "insample");
      bar(w.out_of_sample, "outsample");
      if (h > 11 || i % Math.ceil(12 / h) === 0) {
        p.add("text", { class: "axis", x: p.left - 8, y: y + size / 2 + 4, "text-anchor": "end" }, String(i + 1));
      }
    });
  });
}

function windowValues(windows) {
  const some = windows.flatMap((w) => [w.in_value, w.out_value]).filter((v) => v !== undefined);
  if (!some.length) return null;
  const plot = new Plot({
    title: "Value in sample and out of sample", height: (w) => Math.max(200, Math.min(300, w * 0.32)), margin: { left: 76 },
    describe: () => windows.slice(0, 40).map((w, i) =>
      `Window ${i + 1}: in sample ${w.in_value === undefined ? "none" : num(w.in_value, 5)}, out of sample ` +
      `${w.out_value === undefined ? "none" : num(w.out_value, 5)}`).join("; "),
  }, (p) => {
    const [low, high] = padded(extent([...some, 0]), 0.08), y = p.scaleY(low, high), n = windows.length;
    const x = p.scaleX(0.5, n + 0.5), r = n > 60 ? 2.5 : 5;
    p.axisY(axisPairs(low, high, p.height / 50), y, objectiveName);
    p.axisX(windows.map((_, i) => [i + 1, String(i + 1)]), x, "Window");
    p.add("line", { class: "line", x1: p.left, x2: p.right, y1: y(0), y2: y(0) });
    windows.forEach((w, i) => {
      const at = x(i + 1);
      if (w.in_value !== undefined && w.out_value !== undefined) {
        p.add("line", { class: `drop ${better(w.in_value, w.out_value) ? "worse" : "better"}`, x1: at, x2: at,
          y1: y(w.in_value), y2: y(w.out_value) });
      }
      if (w.in_value !== undefined) p.add("circle", { class: "inmark", cx: at, cy: y(w.in_value), r });
      if (w.out_value !== undefined) p.add("circle", { class: "outmark", cx: at, cy: y(w.out_value), r });
    });
  });
  let cursor = -1;
  const place = (i) => plot.left + (i + 0.5) / windows.length * (plot.right - plot.left);
  plot.svg.addEventListener("pointermove", (event) => {
    const [px] = plot.place(event), i = Math.floor((px - plot.left) / (plot.right - plot.left) * windows.length);
    if (windows[i]) showTip(windowLine(windows[i], i), event.clientX, event.clientY);
    else hideTip();
  });
  plot.svg.addEventListener("pointerleave", hideTip);
  keyed(plot, "Values of the windows; left and right arrow go from window to window", (step) => {
    cursor = Math.min(windows.length - 1, Math.max(0, cursor + step));
    return { lines: windowLine(windows[cursor], cursor), x: place(cursor), y: plot.top + 20 };
  });
  return plot;
}

function windowSummary(windows) {
  const both = windows.filter((w) => w.in_value !== undefined && w.out_value !== undefined);
  if (!both.length) return null;
  const mean = (f) => both.reduce((sum, w) => sum + f(w), 0) / both.length;
  const a = mean((w) => w.in_value), b = mean((w) => w.out_value);
  const held = both.filter((w) => !better(w.in_value, w.out_value)).length;
  const share = a > 0 && b > 0 ? `, ${num(100 * (maximize ? b / a : a / b), 3)} % of it` : "";
  return `On average ${num(a, 4)} in sample and ${num(b, 4)} out of sample${share}; ` +
    `${held || "none"} of ${plural(both.length, "window")} did at least as well out of sample.`;
}

function walkforwardSection() {
  const id = "walkforward", title = "Walk-forward", windows = model.walkforward.windows;
  if (!windows) return section(id, title, null, nothing(model.walkforward.why));
  const scale = windowScale(windows), values = windowValues(windows);
  const span = (p) => p ? `${p.from} \u2013 ${p.to}` : "", remarks = windows.some((w) => w.reason);
  const list = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Table of windows" },
    el("table", {}, el("thead", {}, el("tr", {}, [["Window", "n"], ["In sample"], ["Out of sample"], ["Chosen"],
      ["In", "n"], ["Out", "n"], ...(remarks ? [["Remark"]] : [])].map(([text, kind]) =>
      el("th", { scope: "col", class: kind }, text)))),
    el("tbody", {}, windows.map((w, i) => el("tr", {}, el("th", { scope: "row", class: "n" }, String(i + 1)),
      el("td", {}, span(w.in_sample)), el("td", {}, span(w.out_of_sample)),
      el("td", {}, w.params.map(([n, v]) => `${n} = ${v}`).join(", ")),
      el("td", { class: "n" }, w.in_value === undefined ? "" : num(w.in_value, 6)),
      el("td", { class: "n" }, w.out_value === undefined ? "" : num(w.out_value, 6)),
      remarks ? el("td", {}, w.reason || "") : null)))));
  return section(id, title, windowSummary(windows),
    el("ul", { class: "legend" }, el("li", {}, el("i", { class: "swatch in" }), "in sample, chosen there"),
      el("li", {}, el("i", { class: "swatch out" }), "out of sample, tried there")),
    scale ? windowBars(windows, scale).node : nothing("The windows' limits are neither numbers nor dates."),
    values ? values.node : nothing("No window has a value."), list);
}

// Series of chosen trials: the curve, and under it how far it is below its own peak.

const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

function decodeCurve(curve, k) {
  const color = k % 6 + 1, dash = DASHES[Math.floor(k / 6) % DASHES.length];
  return { number: curve.number, row: curve.row, color, dash, on: true, series: new Map(curve.series.map((s) => {
    let x = s.x, kind = s.indexed ? "number" : "step";
    if (s.indexed && typeof x[0] === "string") {
      x = x.map((text) => Date.parse(/^\d{4}-\d\d-\d\d[ T]\d/.test(text) && !/(Z|[+-]\d\d:?\d\d)$/.test(text)
        ? text.replace(" ", "T") + "Z" : text));
      kind = "time";
      if (x.some(Number.isNaN)) {
        x = s.y.map((_, i) => i + 1);
        kind = "step";
      }
    }
    let peak = -Infinity;
    const down = s.y.map((v) => {
      peak = Math.max(peak, v);
      return peak > 0 ? Math.min(0, v / peak - 1) : 0;
    });
    return [s.name, { x, y: s.y, down, kind }];
  })) };
}

function curvePath(xs, ys, x, y) {
  let d = "", open = false;
  for (let i = 0; i < xs.length; i++) {
    const px = x(xs[i]), py = y(ys[i]);
    if (!Number.isFinite(px) || !Number.isFinite(py) || xs[i] === null) {
      open = false;
      continue;
    }
    d += `${open ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`;
    open = true;
  }
  return d;
}

// The last place at or before v.
function placeOf(xs, v) {
  let low = 0, high = xs.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (xs[middle] <= v) low = middle;
    else high = middle - 1;
  }
  return low;
}

function curveX(lines, p) {
  const kinds = new Set(lines.map((l) => l.s.kind)), kind = kinds.size === 1 ? [...kinds][0] : "step";
  const xs = (s) => kinds.size === 1 ? s.x : s.y.map((_, i) => i + 1);
  const range = extent(lines.flatMap((l) => [xs(l.s)[0], xs(l.s)[xs(l.s).length - 1]])) || [0, 1];
  const count = Math.max(2, (p.right - p.left) / 90);
  return { kind, xs, range, scale: p.scaleX(...range),
    pairs: kind === "time" ? timeTicks(range[0], range[1], count) : axisPairs(range[0], range[1], count),
    text: (v) => kind === "time" ? new Date(v).toISOString().slice(0, 16).replace("T", " ").replace(" 00:00", "")
      : num(v, 8) };
}

function curvesSection() {
  const id = "curves", title = "Equity and drawdown";
  if (!model.curves.length) {
    return section(id, title, null, nothing("No trial that was chosen has a series of numbers."));
  }
  const curves = model.curves.map(decodeCurve);
  const names = [...new Set(curves.flatMap((c) => [...c.series.keys()]))];
  const state = { name: names[0], log: false };
  const lines = () => curves.filter((c) => c.on && c.series.has(state.name))
    .map((c) => ({ c, s: c.series.get(state.name) }));
  let hover = null;
  const draw = (p, list, across, y, field) => {
    for (const { c, s } of list) {
      p.add("path", { class: `curve c${c.color}`, d: curvePath(across.xs(s), s[field], across.scale, y),
        "stroke-dasharray": c.dash || null });
    }
    p.mark = p.add("line", { class: "cross", y1: p.top, y2: p.bottom, visibility: "hidden" });
  };
  const upper = new Plot({
    title: "Curves of chosen trials", height: (w) => Math.max(220, Math.min(360, w * 0.4)), margin: { left: 76, bottom: 26 },
    describe: () => lines().map(({ c, s }) =>
      `Trial ${c.number}: ${state.name} from ${num(s.y[0])} to ${num(s.y[s.y.length - 1])}`).join("; "),
  }, (p) => {
    const list = lines(), across = curveX(list, p), all = list.map((l) => extent(l.s.y)).filter(Boolean).flat();
    const range = extent(all) || [0, 1], log = state.log && range[0] > 0;
    const [low, high] = log ? padded([Math.log10(range[0]), Math.log10(range[1])]) : padded(range);
    const linear = p.scaleY(low, high), y = log ? (v) => linear(Math.log10(v)) : linear;
    const marks = log ? ticks(low, high, 5).map((e) => [10 ** e, num(10 ** e, 3)]) : axisPairs(low, high, p.height / 55);
    p.axisY(marks, y, state.name);
    p.axisX(across.pairs, across.scale, null);
    draw(p, list, across, y, "y");
    hover = { p, list, across };
  });
  const lower = new Plot({
    title: "Drawdown of chosen trials", height: (w) => Math.max(130, Math.min(190, w * 0.22)),
    margin: { left: 76, top: 10, bottom: 26 },
    describe: () => lines().map(({ c, s }) =>
      `Trial ${c.number}: at most ${num(-100 * (extent(s.down) || [0])[0], 3)} % below its peak`).join("; "),
  }, (p) => {
    const list = lines(), across = curveX(list, p);
    const low = Math.min(-0.01, ...list.map((l) => (extent(l.s.down) || [0])[0])) * 1.05, y = p.scaleY(low, 0);
    p.axisY(axisPairs(low * 100, 0, 3).map(([v, text]) => [v / 100, `${text} %`]), y, "Drawdown");
    p.axisX(across.pairs, across.scale, null);
    for (const { c, s } of list) {
      if (list.length > 3) break;
      const xs = across.xs(s), d = curvePath(xs, s.down, across.scale, y);
      const close = `L${across.scale(xs[xs.length - 1]).toFixed(1)} ${y(0)}L${across.scale(xs[0]).toFixed(1)} ${y(0)}Z`;
      p.add("path", { class: `area c${c.color}`, d: d + close });
    }
    draw(p, list, across, y, "down");
  });
  const at = (v) => {
    const { list, across } = hover;
    // The nearest point of the first curve before: between points there is nothing to read.
    const first = across.xs(list[0].s);
    v = first[placeOf(first, v)];
    const x = across.scale(v);
    for (const p of [upper, lower]) {
      p.mark.setAttribute("x1", x);
      p.mark.setAttribute("x2", x);
      p.mark.setAttribute("visibility", "visible");
    }
    return { x, lines: [[across.kind === "step" ? `Point ${num(v, 8)}` : across.text(v)], ...list.map(({ c, s }) => {
      const i = placeOf(across.xs(s), v);
      return [`#${c.number}`, `${num(s.y[i], 7)} (${num(s.down[i] * 100, 3)} %)`];
    })] };
  };
  for (const plot of [upper, lower]) {
    plot.svg.addEventListener("pointermove", (event) => {
      const [px] = plot.place(event), [low, high] = hover.across.range;
      if (px < plot.left || px > plot.right || !hover.list.length) return;
      showTip(at(low + (px - plot.left) / (plot.right - plot.left) * (high - low)).lines, event.clientX, event.clientY);
    });
    plot.svg.addEventListener("pointerleave", () => {
      hideTip();
      for (const p of [upper, lower]) p.mark.setAttribute("visibility", "hidden");
    });
  }
  let share = 0;
  keyed(upper, "Curves; left and right arrow go along them", (step) => {
    if (!hover.list.length) return null;
    share = Math.min(1, Math.max(0, share + step * 0.02));
    const [low, high] = hover.across.range, found = at(low + share * (high - low));
    return { lines: found.lines, x: found.x, y: upper.top + 20 };
  });
  const both = () => {
    upper.paint();
    lower.paint();
  };
  const legend = el("div", { class: "chips curvelist", role: "group", "aria-label": "Curves that are drawn" },
    curves.map((c) => {
      const note = Number.isNaN(score(c.row)) ? stateOf(c.row) : num(score(c.row), 5);
      const sample = svg("svg", { class: "sample", viewBox: "0 0 26 8", "aria-hidden": "true" },
        svg("path", { class: `curve c${c.color}`, d: "M1 4H25", "stroke-dasharray": c.dash || null }));
      const chip = el("button", { type: "button", class: "chip curve-chip", "aria-pressed": "true",
        title: paramsText(c.row) }, sample, `#${c.number} `, el("small", {}, note));
      chip.addEventListener("click", () => {
        c.on = !c.on;
        chip.setAttribute("aria-pressed", String(c.on));
        both();
      });
      return chip;
    }));
  return section(id, title, null, el("div", { class: "tools" },
    names.length > 1 ? choice("Series", names.map((n) => [n, cut(n, 40)]), state.name, (v) => { state.name = v; both(); }) : null,
    checkbox("Logarithmic", false, (on) => { state.log = on; both(); })),
  legend, upper.node, el("h3", { class: "sub" }, "Drawdown from the peak"), lower.node);
}

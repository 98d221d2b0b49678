// Parallel coordinates: an axis for each parameter and the objective, a line for each trial. Dragging along an axis
// keeps the trials that pass there. On a narrow page the axes lie down, one under the other.

function parallelAxis(c) {
  if (c.labels) {
    const n = Math.max(1, c.labels.length - 1);
    return { c, low: 0, high: n, at: (row) => Number.isNaN(c.at(row)) ? NaN : c.rank[c.at(row)] / n };
  }
  const [low, high] = c.range || [0, 1];
  return { c, low, high, at: (row) => {
    const v = c === objective ? score(row) : c.at(row);
    return !Number.isFinite(v) ? NaN : high > low ? (v - low) / (high - low) : 0.5;
  } };
}

// Where the axes stand: pos(i, t) is the point of axis i at t in 0..1.
function parallelPlaces(p, n) {
  const lying = p.width < 560;
  const from = lying ? p.left : p.bottom, to = lying ? p.right : p.top;
  const first = lying ? p.top : p.left, last = lying ? p.bottom : p.right;
  const stand = (i) => n > 1 ? first + (last - first) * i / (n - 1) : (first + last) / 2;
  return {
    lying, stand, along: (t) => from + (to - from) * t, t: (v) => (v - from) / (to - from),
    pos: (i, t) => lying ? [from + (to - from) * t, stand(i)] : [stand(i), from + (to - from) * t],
    nearest: (x, y) => {
      const v = lying ? y : x;
      let best = 0;
      for (let i = 1; i < n; i++) {
        if (Math.abs(stand(i) - v) < Math.abs(stand(best) - v)) best = i;
      }
      return Math.abs(stand(best) - v) < 26 ? best : -1;
    },
  };
}

// More lines than these are a fog that shows nothing and takes seconds: then the best and an even share of the others.
const MOST_LINES = 2000;

// [tone, row] of the complete trials, the best last, so that they are drawn on top.
function parallelRows() {
  const [low, high] = objective.range, out = [];
  for (let row = 0; row < COUNT; row++) {
    const t = high > low ? (score(row) - low) / (high - low) : 1;
    if (!Number.isNaN(t)) out.push([maximize ? t : 1 - t, row]);
  }
  return out.sort((a, b) => a[0] - b[0]);
}

function fewerLines(all, most) {
  if (all.length <= most) return all;
  const top = most >> 2, rest = most - top, others = all.length - top;
  return [...Array.from({ length: rest }, (_, i) => all[Math.floor(i * others / rest)]), ...all.slice(others)];
}

function parallelLines(p, axes, where, all) {
  const ctx = p.ctx, shown = fewerLines(all.filter(([, row]) => view.mask[row]), MOST_LINES);
  const draw = ([t, row]) => {
    ctx.beginPath();
    let open = false;
    axes.forEach((axis, i) => {
      const v = axis.at(row);
      if (Number.isNaN(v)) {
        open = false;
        return;
      }
      const [x, y] = where.pos(i, v);
      if (open) ctx.lineTo(x, y);
      else ctx.moveTo(x, y);
      open = true;
    });
    ctx.strokeStyle = rgb(rampRgb(0.12 + 0.88 * t));
    ctx.stroke();
  };
  ctx.lineJoin = "round";
  ctx.lineWidth = 1;
  if (view.filtered) {
    ctx.globalAlpha = 0.08;
    for (const one of fewerLines(all.filter(([, row]) => !view.mask[row]), MOST_LINES / 4)) draw(one);
  }
  const n = shown.length, few = n <= 400, crowd = Math.min(1, 260 / Math.max(1, n));
  shown.forEach((one, i) => {
    const top = n > 1 ? i / (n - 1) : 1;
    ctx.globalAlpha = Math.min(1, 0.05 + crowd * 0.7 + 0.6 * top ** (few ? 4 : 30));
    ctx.lineWidth = few ? 1.2 + top ** 4 : 1;
    draw(one);
  });
  ctx.globalAlpha = 1;
  return n;
}

// The values themselves when a parameter has but a few.
function fewValues(c) {
  const seen = new Map();
  for (let row = 0; row < COUNT && seen.size < 12; row++) {
    const value = c.at(row);
    if (Number.isFinite(value) && !seen.has(value)) seen.set(value, row);
  }
  return seen.size < 12 ? [...seen].map(([value, row]) => ({ value, row })) : null;
}

function parallelTicks(axis, room) {
  const { c } = axis;
  if (c.labels) {
    const n = c.labels.length, skip = Math.ceil(n / room), order = c.labels.map((_, i) => i);
    return order.filter((i) => c.rank[i] % skip === 0).map((i) => [n > 1 ? c.rank[i] / (n - 1) : 0, cut(c.labels[i], 10)]);
  }
  if (!(axis.high > axis.low)) return [[0.5, num(axis.low, 4)]];
  const few = c.kind === "param" ? fewValues(c) : null;
  if (few && few.length <= room + 2) return few.map((v) => [axis.at(v.row), num(v.value, 4)]);
  return axisPairs(axis.low, axis.high, Math.min(room, 6)).map(([v, text]) => [(v - axis.low) / (axis.high - axis.low), text]);
}

function parallelAxes(p, axes, where) {
  axes.forEach((axis, i) => {
    const [x0, y0] = where.pos(i, 0), [x1, y1] = where.pos(i, 1);
    p.add("line", { class: "paxis", x1: x0, y1: y0, x2: x1, y2: y1 });
    const spread = axes.length > 1 ? Math.abs(where.stand(1) - where.stand(0)) : 200;
    const name = cut(axis.c.name, where.lying ? 40 : Math.max(5, Math.floor(spread / (i === 0 || i === axes.length - 1 ? 12 : 9))));
    if (where.lying) {
      p.add("text", { class: "axis name halo", x: p.left, y: y0 - 8 }, name);
    } else {
      const anchor = i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle";
      p.add("text", { class: "axis name", x: i === 0 ? 2 : i === axes.length - 1 ? p.width - 2 : x0, y: p.top - 14,
        "text-anchor": anchor }, name);
    }
    let end = -Infinity;
    for (const [t, text] of parallelTicks(axis, where.lying ? 4 : 6).sort((a, b) => a[0] - b[0])) {
      if (t < -0.001 || t > 1.001) continue;
      const [x, y] = where.pos(i, t);
      if (where.lying) {
        const width = text.length * 7, start = t < 0.05 ? x : t > 0.95 ? x - width : x - width / 2;
        if (start < end + 4) continue;
        end = start + width;
        p.add("line", { class: "paxis", x1: x, y1: y - 3, x2: x, y2: y + 3 });
        p.add("text", { class: "axis halo", x, y: y + 16, "text-anchor": t < 0.05 ? "start" : t > 0.95 ? "end" : "middle" }, text);
      } else {
        const last = i === axes.length - 1;
        p.add("line", { class: "paxis", x1: x - 3, y1: y, x2: x + 3, y2: y });
        p.add("text", { class: "axis halo", x: last ? x - 8 : x + 8, y: y + 4, "text-anchor": last ? "end" : "start" }, text);
      }
    }
    const brush = view.brushes.get(axis.c);
    if (brush) {
      const a = where.along(Math.max(0, (brush[0] - axis.low) / (axis.high - axis.low || 1)));
      const b = where.along(Math.min(1, (brush[1] - axis.low) / (axis.high - axis.low || 1)));
      const low = Math.min(a, b), size = Math.max(4, Math.abs(b - a));
      p.add("rect", where.lying ? { class: "brush", x: low, y: y0 - 7, width: size, height: 14, rx: 3 }
        : { class: "brush", x: x0 - 8, y: low, width: 16, height: size, rx: 3 });
    }
  });
}

function parallelSection() {
  const id = "parallel", title = "Parallel coordinates";
  if (!params.length || !objective || !objective.range) {
    return section(id, title, null, nothing(params.length ? "No trial has a value of the objective yet."
      : "The study has no parameters."));
  }
  const first = new Set(rankedParams.slice(0, 7));
  let shown = params.filter((c) => first.has(c)), axes = [], where = null;
  const keyBox = el("div"), aside = el("p", { class: "aside" }), all = parallelRows();
  const plot = new Plot({
    title, canvas: "below", margin: { left: 16, right: 16, top: 40, bottom: 14 },
    height: (w) => w < 560 ? 44 + (shown.length + 1) * 62 : Math.max(300, Math.min(420, w * 0.4)),
    describe: () => `A line for each of ${plural(view.rows.length, "trial")} through ` +
      `${[...shown, objective].map((c) => c.name).join(", ")}; the colour is ${objective.name}.`,
  }, (p) => {
    if (p.width < 560) p.margin = { ...p.margin, top: 30, bottom: 30 };
    axes = [...shown, objective].map(parallelAxis);
    where = parallelPlaces(p, axes.length);
    const drawn = parallelLines(p, axes, where, all), inView = all.filter(([, row]) => view.mask[row]).length;
    aside.textContent = drawn < inView
      ? `${num(drawn)} of ${num(inView)} lines: the best, and an even share of the others.` : "";
    parallelAxes(p, axes, where);
    const [low, high] = objective.range;
    keyBox.replaceChildren(rampKey(objective.name, low, high, !maximize));
  });

  let drag = null;
  const setBrush = (axis, a, b) => {
    const low = axis.low + Math.min(a, b) * (axis.high - axis.low), high = axis.low + Math.max(a, b) * (axis.high - axis.low);
    view.brushes.set(axis.c, axis.c.labels ? [low - 0.5, high + 0.5] : [low, high]);
  };
  plot.svg.addEventListener("pointerdown", (event) => {
    const [x, y] = plot.place(event), i = where.nearest(x, y);
    // A finger that scrolls the page is no brush: with touch, only axes that lie across the way it scrolls.
    if (i < 0 || (event.pointerType === "touch" && !where.lying)) return;
    const t = Math.min(1, Math.max(0, where.t(where.lying ? x : y)));
    drag = { axis: axes[i], from: t, moved: false };
    plot.svg.setPointerCapture(event.pointerId);
  });
  plot.svg.addEventListener("pointermove", (event) => {
    const [x, y] = plot.place(event);
    plot.svg.classList.toggle("grab", where.nearest(x, y) >= 0);
    if (!drag) return;
    const t = Math.min(1, Math.max(0, where.t(where.lying ? x : y)));
    if (!drag.moved && Math.abs(t - drag.from) < 0.015) return;
    drag.moved = true;
    setBrush(drag.axis, drag.from, t);
    runViewSoon();
  });
  const end = () => {
    if (drag && !drag.moved && view.brushes.delete(drag.axis.c)) runViewSoon();
    drag = null;
  };
  plot.svg.addEventListener("pointerup", end);
  plot.svg.addEventListener("pointercancel", () => { drag = null; });
  onView(() => plot.paint());
  const picker = el("details", { class: "picker" }, el("summary", {}, "Axes"), el("div", { class: "boxes" },
    params.slice(0, 60).map((c) => checkbox(cut(c.name, 40), shown.includes(c), (on) => {
      shown = params.filter((other) => other === c ? on : shown.includes(other));
      plot.paint();
    }))));
  return section(id, title,
    "Complete trials. Drag along an axis to keep those that pass there, click it to let go; the filter does the same from the keyboard.",
    plot.node, el("div", { class: "foot" }, keyBox, aside), params.length > 1 ? picker : null);
}

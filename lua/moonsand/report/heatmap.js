// Any two parameters against each other; each cell says what became of the trials in it.

const MOST_BINS = 40;

// -> { bins: [text], of: row -> bin or -1 }; null stands for "no parameter": one bin for all.
function binned(c) {
  if (!c) return { bins: [""], of: () => 0 };
  if (c.labels) {
    const order = c.labels.map((_, i) => i).sort((a, b) => c.rank[a] - c.rank[b]);
    const place = new Map(order.slice(0, MOST_BINS).map((label, i) => [label, i]));
    const bins = order.slice(0, MOST_BINS).map((label) => c.labels[label]);
    if (order.length > MOST_BINS) bins[MOST_BINS - 1] = "others";
    return { bins, of: (row) => Number.isNaN(c.at(row)) ? -1 : place.get(c.at(row)) ?? MOST_BINS - 1 };
  }
  const values = [...new Set(c.data)].filter(Number.isFinite).sort((a, b) => a - b);
  if (values.length <= MOST_BINS) {
    const place = new Map(values.map((v, i) => [v, i]));
    return { bins: values.map((v) => num(v, 6)), of: (row) => place.get(c.at(row)) ?? -1 };
  }
  const low = values[0], high = values[values.length - 1], n = 20;
  const log = low > 0 && high / low > 1000, f = log ? Math.log : (v) => v, back = log ? Math.exp : (v) => v;
  const edge = (i) => back(f(low) + (f(high) - f(low)) * i / n);
  return {
    bins: Array.from({ length: n }, (_, i) => `${num(edge(i), 3)} to ${num(edge(i + 1), 3)}`),
    short: Array.from({ length: n }, (_, i) => num(edge(i), 3)),
    of: (row) => Number.isFinite(c.at(row))
      ? Math.min(n - 1, Math.floor((f(c.at(row)) - f(low)) / (f(high) - f(low)) * n)) : -1,
  };
}

const AGGREGATES = {
  best: ["Best trial", (list, metric, rows) => {
    // The best by the objective, and what the metric was in that trial.
    let at = -1;
    rows.forEach((row, i) => {
      if (!Number.isNaN(score(row)) && (at < 0 || better(score(row), score(rows[at])))) at = i;
    });
    return at < 0 ? NaN : list[at];
  }],
  mean: ["Mean", (list) => list.reduce((a, b) => a + b, 0) / list.length],
  median: ["Median", (list) => {
    const s = Float64Array.from(list).sort(), m = s.length >> 1;
    return s.length % 2 ? s[m] : (s[m - 1] + s[m]) / 2;
  }],
  high: ["Highest", (list) => extent(list)[1]],
  low: ["Lowest", (list) => extent(list)[0]],
  count: ["Number of trials", (list) => list.length],
};

function heatCells(state) {
  const xs = binned(state.x), ys = binned(state.y), lists = new Map();
  for (const row of view.rows) {
    const bx = xs.of(row), by = ys.of(row), v = state.metric.at(row);
    if (bx < 0 || by < 0 || !Number.isFinite(v) || (state.metric.kind !== "cost" && model.states[row] !== "c")) continue;
    const at = by * xs.bins.length + bx;
    if (!lists.has(at)) lists.set(at, { bx, by, values: [], rows: [] });
    lists.get(at).values.push(v);
    lists.get(at).rows.push(row);
  }
  const cells = [];
  for (const cell of lists.values()) {
    cell.value = AGGREGATES[state.how][1](cell.values, state.metric, cell.rows);
    if (!Number.isNaN(cell.value)) cells.push(cell);
  }
  cells.sort((a, b) => a.by - b.by || a.bx - b.bx);
  return { xs, ys, cells };
}

function paramNamed(name) {
  return name ? params.find((c) => c.name === name) : undefined;
}

// The best trial's cell is the one that people look for; for the objective, the most striking colour is the best.
function heatScale(state, cells) {
  const values = cells.map((c) => c.value), range = extent(values) || [0, 1];
  const flip = state.metric === objective && !maximize && state.how !== "count";
  const tame = values.length > 8 && state.how !== "count" ? quiet(values) : null;
  const [low, high] = tame && !flip && tame[0] > range[0] ? [tame[0], range[1]]
    : tame && flip && tame[1] < range[1] ? [range[0], tame[1]] : range;
  return { low, high, flip, of: (v) => {
    const t = high > low ? Math.min(1, Math.max(0, (v - low) / (high - low))) : 1;
    return flip ? 1 - t : t;
  } };
}

function heatTable(state, grid) {
  const { xs, ys, cells } = grid;
  const at = new Map(cells.map((c) => [c.by * xs.bins.length + c.bx, c]));
  return el("table", {}, el("thead", {}, el("tr", {}, el("td", {}),
    xs.bins.map((b) => el("th", { scope: "col", class: "n" }, b)))),
  el("tbody", {}, [...ys.bins.keys()].reverse().map((by) => el("tr", {}, el("th", { scope: "row", class: "n" }, ys.bins[by]),
    xs.bins.map((_, bx) => {
      const cell = at.get(by * xs.bins.length + bx);
      return el("td", { class: "n" }, cell ? num(cell.value, 5) : "");
    })))));
}

function heatmapSection() {
  const id = "heatmap", title = "Heatmap", metrics = columns.filter((c) => c.numeric && c.range && c.kind !== "param");
  const varied = rankedParams.filter((c) => c.labels ? c.labels.length > 1 : c.range && c.range[0] < c.range[1]);
  const usable = varied.length ? varied : rankedParams;
  if (!usable.length || !metrics.length) {
    return section(id, title, null, nothing(usable.length ? "No trial has a number to colour yet."
      : "The study has no parameters."));
  }
  const state = { x: paramNamed(model.x) || usable[0], metric: metrics[0], how: "best" };
  state.y = paramNamed(model.y) || usable.find((c) => c !== state.x) || null;
  const cursor = { bx: -1, by: -1 };
  let grid = heatCells(state), place = null;
  const keyBox = el("div"), aside = el("p", { class: "aside" });
  const asTable = el("details", { class: "picker" }, el("summary", {}, "As a table"));
  const fillTable = () => {
    if (!asTable.open) return;
    asTable.replaceChildren(asTable.firstChild, el("div", { class: "scroll", role: "region", tabindex: "0",
      "aria-label": "The heatmap's numbers" }, heatTable(state, grid)));
  };
  asTable.addEventListener("toggle", fillTable);
  const label = () => `${AGGREGATES[state.how][0]}${state.how === "count" ? "" : `: ${state.metric.name}`}`;
  const lines = (cell) => [[`${state.x.name}`, grid.xs.bins[cell.bx]],
    ...(state.y ? [[state.y.name, grid.ys.bins[cell.by]]] : []),
    [label(), num(cell.value, 7)], ["Trials", num(cell.values.length)]];

  const plot = new Plot({
    title: "Heatmap of two parameters", margin: { left: 74, bottom: 46 },
    height: (w) => {
      const rows = grid.ys.bins.length, inner = Math.max(rows * 13, Math.min(rows * 46, w * 0.62));
      return inner + 66;
    },
    describe: () => {
      const ends = extent(grid.cells.map((c) => c.value));
      return `${label()} by ${state.x.name}${state.y ? ` and ${state.y.name}` : ""}: ${plural(grid.cells.length, "cell")}` +
        (ends ? `, from ${num(ends[0])} to ${num(ends[1])}.` : ".");
    },
  }, (p) => {
    const { xs, ys, cells } = grid, nx = xs.bins.length, ny = ys.bins.length;
    const w = (p.right - p.left) / nx, h = (p.bottom - p.top) / ny, gap = Math.min(w, h) > 10 ? 2 : 0.5;
    place = { x: (bx) => p.left + bx * w, y: (by) => p.bottom - (by + 1) * h, w, h };
    const scale = heatScale(state, cells);
    const longest = cells.reduce((n, c) => Math.max(n, num(c.value, 4).length), 0), words = w > longest * 6.6 + 6 && h > 17;
    const bestRow = model.best;
    for (const cell of cells) {
      const color = rampRgb(scale.of(cell.value)), cx = place.x(cell.bx), cy = place.y(cell.by);
      p.add("rect", { class: "cell", x: cx + gap / 2, y: cy + gap / 2, width: Math.max(0.5, w - gap),
        height: Math.max(0.5, h - gap), rx: gap > 1 ? 3 : 0, fill: rgb(color) });
      if (words) {
        p.add("text", { class: "celltext", x: cx + w / 2, y: cy + h / 2 + 4, "text-anchor": "middle" },
          num(cell.value, 4)).style.fill = inkOn(color);
      }
    }
    const home = bestRow === undefined ? null
      : cells.find((c) => c.bx === xs.of(bestRow) && c.by === ys.of(bestRow));
    if (home) {
      p.add("rect", { class: "besthalo", x: place.x(home.bx), y: place.y(home.by), width: w, height: h, rx: 4 });
      p.add("rect", { class: "bestcell", x: place.x(home.bx), y: place.y(home.by), width: w, height: h, rx: 4 });
    }
    aside.textContent = home ? "The framed cell holds the best trial." : "";
    const xWords = xs.short || xs.bins, each = Math.ceil(nx / Math.max(1, Math.floor((p.right - p.left) /
      (Math.max(...xWords.map((b) => Math.min(b.length, 12))) * 7 + 10))));
    xWords.forEach((text, i) => {
      if (i % each) return;
      p.add("text", { class: "axis", x: place.x(i) + (xs.short ? 0 : w / 2), y: p.bottom + 16,
        "text-anchor": xs.short ? "start" : "middle" }, cut(text, 12));
    });
    p.add("text", { class: "axis name", x: (p.left + p.right) / 2, y: p.bottom + 36, "text-anchor": "middle" },
      cut(state.x.name, 60));
    if (state.y) {
      const yWords = ys.short || ys.bins, skip = Math.ceil(16 / h);
      yWords.forEach((text, i) => {
        if (i % skip) return;
        p.add("text", { class: "axis", x: p.left - 8, y: place.y(i) + (ys.short ? h : h / 2) + 4,
          "text-anchor": "end" }, cut(text, 8));
      });
      const middle = (p.top + p.bottom) / 2;
      p.add("text", { class: "axis name", x: 10, y: middle, "text-anchor": "middle",
        transform: `rotate(-90 10 ${middle})` }, cut(state.y.name, Math.floor((p.bottom - p.top) / 7)));
    }
    p.mark = p.add("rect", { class: "cursor", width: w, height: h, rx: 4, visibility: "hidden" });
    keyBox.replaceChildren(cells.length ? rampKey(label(), scale.low, scale.high, scale.flip)
      : nothing("No complete trial in view has these values."));
  });
  const update = () => {
    grid = heatCells(state);
    plot.paint();
    fillTable();
  };
  const mark = (cell) => {
    plot.mark.setAttribute("x", place.x(cell.bx));
    plot.mark.setAttribute("y", place.y(cell.by));
    plot.mark.setAttribute("visibility", "visible");
  };
  const cellAt = (event) => {
    const [px, py] = plot.place(event);
    const bx = Math.floor((px - plot.left) / place.w), by = Math.floor((plot.bottom - py) / place.h);
    return grid.cells.find((c) => c.bx === bx && c.by === by);
  };
  const openBest = (cell) => {
    const rows = cell.rows.filter((row) => !Number.isNaN(score(row))).sort((a, b) => better(score(a), score(b)) ? -1 : 1);
    openDetail(rows.length ? rows[0] : cell.rows[0]);
  };
  plot.svg.addEventListener("pointermove", (event) => {
    const cell = cellAt(event);
    plot.svg.classList.toggle("hit", Boolean(cell));
    if (cell) {
      mark(cell);
      showTip(lines(cell), event.clientX, event.clientY);
    } else {
      plot.mark.setAttribute("visibility", "hidden");
      hideTip();
    }
  });
  plot.svg.addEventListener("pointerleave", () => {
    plot.mark.setAttribute("visibility", "hidden");
    hideTip();
  });
  plot.svg.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) openBest(cell);
  });
  keyed(plot, "Heatmap; the arrow keys go from cell to cell, Enter opens the cell's best trial", (dx, dy) => {
    if (!grid.cells.length) return null;
    const ahead = grid.cells.filter((c) => dx ? c.by === cursor.by && (c.bx - cursor.bx) * dx > 0
      : c.bx === cursor.bx && (c.by - cursor.by) * dy > 0);
    const far = (c) => Math.abs(c.bx - cursor.bx) + Math.abs(c.by - cursor.by);
    const cell = ahead.sort((a, b) => far(a) - far(b))[0] ||
      grid.cells.find((c) => c.bx === cursor.bx && c.by === cursor.by) || grid.cells[0];
    cursor.bx = cell.bx;
    cursor.by = cell.by;
    mark(cell);
    return { lines: lines(cell), x: place.x(cell.bx) + place.w / 2, y: place.y(cell.by) + place.h / 2 };
  }, () => {
    const cell = grid.cells.find((c) => c.bx === cursor.bx && c.by === cursor.by);
    if (cell) openBest(cell);
  });
  onView(update);

  const option = (c) => [params.indexOf(c), cut(c.name, 40)];
  return section(id, title, null, el("div", { class: "tools" },
    choice("Across", params.map(option), params.indexOf(state.x), (v) => { state.x = params[v]; update(); }),
    choice("Up", [[-1, "\u2013"], ...params.map(option)], params.indexOf(state.y),
      (v) => { state.y = params[v] || null; update(); }),
    choice("Colour", metrics.map((c, i) => [i, cut(c.name, 40)]), 0, (v) => { state.metric = metrics[v]; update(); }),
    choice("Of a cell", Object.entries(AGGREGATES).map(([k, [text]]) => [k, text]), state.how,
      (v) => { state.how = v; update(); })),
  plot.node, el("div", { class: "foot" }, keyBox, aside), asTable);
}

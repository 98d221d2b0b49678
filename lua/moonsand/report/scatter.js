// Any number of the trials against their order, or against any other; by itself the objective with the best so far.

// Between these all but the wildest values lie; a chart squeezed by one outlier shows nothing.
function quiet(values) {
  const sorted = Float64Array.from(values).sort(), n = sorted.length;
  if (n < 8) return null;
  const q1 = sorted[Math.floor(n * 0.1)], q3 = sorted[Math.floor(n * 0.9)], reach = (q3 - q1) * 2 || 1;
  const low = Math.max(sorted[0], q1 - reach), high = Math.min(sorted[n - 1], q3 + reach);
  return low > sorted[0] || high < sorted[n - 1] ? [low, high] : null;
}

function bestSoFar() {
  const steps = [];
  for (let row = 0; row < COUNT; row++) {
    const v = score(row);
    if (!Number.isNaN(v) && (!steps.length || better(v, steps[steps.length - 1].value))) steps.push({ row, value: v });
  }
  return steps;
}

function dots(plot, points, size) {
  // Thousands of circles take a second to draw; so small, nobody sees the difference.
  const small = points.length > 3000;
  const ctx = plot.ctx, alpha = points.length > 5000 ? 0.45 : points.length > 800 ? 0.65 : 0.9;
  // Those that the filter leaves out, first and faint.
  for (const pass of [0, 1]) {
    for (const state of ["complete", "pruned", "failed"]) {
      ctx.fillStyle = css(`--${state}`);
      ctx.strokeStyle = ctx.fillStyle;
      ctx.globalAlpha = pass ? alpha : 0.12;
      for (const p of points) {
        if (view.mask[p.row] !== pass || p.state !== state) continue;
        if (small) {
          ctx.fillRect(p.x - size, p.y - size, size * 2, size * 2);
          continue;
        }
        ctx.beginPath();
        if (state === "complete") {
          ctx.arc(p.x, p.y, size, 0, Math.PI * 2);
          ctx.fill();
        } else {
          // Another shape, for those who do not tell the colours apart.
          ctx.moveTo(p.x, p.y - size * 1.3);
          ctx.lineTo(p.x + size * 1.3, p.y);
          ctx.lineTo(p.x, p.y + size * 1.3);
          ctx.lineTo(p.x - size * 1.3, p.y);
          ctx.closePath();
          ctx.stroke();
        }
      }
    }
  }
  ctx.globalAlpha = 1;
}

function failedTicks(plot, x, points) {
  const ctx = plot.ctx;
  ctx.strokeStyle = css("--failed");
  ctx.lineWidth = 1.5;
  for (const p of points) {
    ctx.globalAlpha = view.mask[p.row] ? 0.8 : 0.15;
    ctx.beginPath();
    ctx.moveTo(p.x, plot.bottom - 7);
    ctx.lineTo(p.x, plot.bottom);
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

function columnScale(c, values) {
  if (c.labels) {
    const n = c.labels.length, order = c.labels.map((_, i) => i).sort((a, b) => c.rank[a] - c.rank[b]);
    return { range: [-0.5, n - 0.5], value: (row) => c.rank[c.at(row)],
      pairs: (count) => order.filter((_, i) => i % Math.ceil(n / Math.max(1, count)) === 0)
        .map((label) => [c.rank[label], cut(c.labels[label], 14)]) };
  }
  const range = padded(extent(values) || [0, 1], c === numberColumn ? 0.01 : 0.04);
  return { range, value: (row) => c.at(row), pairs: (count) => axisPairs(range[0], range[1], count) };
}

// From the last trial pointed at to the next one by number, or up and down by value.
function stepping(points, cursor) {
  return (step) => {
    if (!points.length) return null;
    const at = points.findIndex((p) => p.row === cursor.row);
    const next = points[Math.min(points.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
    cursor.row = next.row;
    return next;
  };
}

function scatterSection() {
  const id = "progress", title = "Objective by trial";
  const choices = columns.filter((c) => c.numeric && c.range);
  if (!choices.length) {
    return section(id, title, null, nothing("No trial has a number to draw yet."));
  }
  const state = { x: numberColumn, y: objective && objective.range ? objective : choices[0], all: false };
  const best = bestSoFar(), cursor = { row: -1 };
  let points = [];
  const pointLines = (p) => [[`Trial ${numberColumn.text(p.row)}`], [`${state.y.name}`, state.y.exact(p.row)],
    ...(state.x === numberColumn ? [] : [[state.x.name, state.x.exact(p.row)]]), ["", paramsText(p.row, 120)]];
  const key = el("ul", { class: "legend" }), aside = el("p", { class: "aside" });

  const plot = new Plot({
    title, canvas: "over", height: (w) => Math.max(240, Math.min(400, w * 0.45)), margin: { left: 76 },
    describe: () => `${state.y.name} of ${plural(view.rows.length, "trial")} by ${state.x.name}.` +
      (best.length && state.x === numberColumn && state.y === objective
        ? ` The best so far rose ${best.length} times and ends at ${num(best[best.length - 1].value)}.`
          .replace("rose", maximize ? "rose" : "fell") : ""),
  }, (p) => {
    const values = [], xs = [];
    for (let row = 0; row < COUNT; row++) {
      if (!Number.isNaN(state.y.at(row)) && !Number.isNaN(state.x.at(row))) {
        values.push(state.y.at(row));
        xs.push(state.x.at(row));
      }
    }
    const tame = state.all ? null : quiet(values);
    const range = padded(tame || extent(values) || [0, 1]);
    const across = columnScale(state.x, state.x === numberColumn ? [numberColumn.at(0), numberColumn.at(COUNT - 1)] : xs);
    const x = p.scaleX(...across.range), y = p.scaleY(...range);
    p.axisY(axisPairs(range[0], range[1], p.height / 60), y, state.y.name);
    p.axisX(across.pairs((p.right - p.left) / 80), x, state.x.name);
    points = [];
    const failed = [];
    let hidden = 0;
    for (let row = 0; row < COUNT; row++) {
      const at = x(across.value(row)), v = state.y.at(row);
      if (Number.isNaN(at)) continue;
      if (!Number.isNaN(v)) {
        if (v < range[0] || v > range[1]) {
          hidden += 1;
        } else {
          points.push({ row, x: at, y: y(v), state: stateOf(row) });
        }
      } else if (model.states[row] === "f") {
        failed.push({ row, x: at });
      }
    }
    failedTicks(p, x, failed);
    dots(p, points, COUNT > 5000 ? 1.6 : COUNT > 800 ? 2.4 : 4);
    const line = state.x === numberColumn && state.y === objective && best.length > 0;
    if (line) {
      let d = "";
      best.forEach((b, i) => {
        const yy = Math.min(p.bottom, Math.max(p.top, y(b.value)));
        d += i ? `H${x(numberColumn.at(b.row)).toFixed(1)}V${yy.toFixed(1)}` : `M${x(numberColumn.at(b.row)).toFixed(1)} ${yy.toFixed(1)}`;
      });
      p.add("path", { class: "bestline", d: `${d}H${p.right}` });
    }
    p.mark = p.add("circle", { class: "cursor", r: 7, visibility: "hidden" });
    key.replaceChildren(...["complete", "pruned"].filter((s) => stateNames.includes(s)).map((s) =>
      el("li", {}, el("i", { class: `dot ${s}` }), s)),
    failed.length ? el("li", {}, el("i", { class: "tickmark" }), "failed (no value)") : "",
    line ? el("li", {}, el("i", { class: "dash" }), "best so far") : "");
    aside.textContent = hidden ? `${plural(hidden, "outlier")} beyond the edge.` : "";
  });

  const point = (p, event) => {
    plot.mark.setAttribute("cx", p.x);
    plot.mark.setAttribute("cy", p.y);
    plot.mark.setAttribute("visibility", "visible");
    showTip(pointLines(p), event.clientX, event.clientY);
  };
  const near = (event) => {
    const [px, py] = plot.place(event);
    let found = null, least = 196;
    for (const p of points) {
      const d = (p.x - px) ** 2 + (p.y - py) ** 2;
      if (d < least && view.mask[p.row]) {
        least = d;
        found = p;
      }
    }
    return found;
  };
  plot.svg.addEventListener("pointermove", (event) => {
    const p = near(event);
    plot.svg.classList.toggle("hit", Boolean(p));
    if (p) {
      point(p, event);
    } else {
      plot.mark.setAttribute("visibility", "hidden");
      hideTip();
    }
  });
  plot.svg.addEventListener("pointerleave", hideTip);
  plot.svg.addEventListener("click", (event) => {
    const p = near(event);
    if (p) openDetail(p.row);
  });
  keyed(plot, `${title}; left and right arrow go from trial to trial, Enter opens one`, (step) => {
    const p = stepping(points.filter((q) => view.mask[q.row]), cursor)(step);
    if (!p) return null;
    plot.mark.setAttribute("cx", p.x);
    plot.mark.setAttribute("cy", p.y);
    plot.mark.setAttribute("visibility", "visible");
    return { lines: pointLines(p), x: p.x, y: p.y };
  }, () => { if (cursor.row >= 0) openDetail(cursor.row); });
  onView(() => plot.paint());

  const find = (v) => everyColumn[Number(v)];
  const option = (c) => [everyColumn.indexOf(c), cut(c.name, 40)];
  return section(id, title, null, el("div", { class: "tools" },
    choice("Up", choices.map(option), everyColumn.indexOf(state.y), (v) => { state.y = find(v); plot.paint(); }),
    choice("Across", [numberColumn, ...params, ...choices.filter((c) => c.kind !== "param")].map(option), 0,
      (v) => { state.x = find(v); plot.paint(); }),
    checkbox("Outliers too", false, (on) => { state.all = on; plot.paint(); })),
  plot.node, el("div", { class: "foot" }, key, aside));
}

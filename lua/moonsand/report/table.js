// The trials as a table: sorted by a click or Enter on a heading, shown page by page, so that 20,000 cost no more than
// 25.

const table = { column: null, down: true, page: 0, size: 25, order: [], shown: [] };

function firstColumns() {
  const metrics = columns.filter((c) => c.kind === "metric");
  return [numberColumn, stateColumn, ...objectives, ...params.slice(0, 12),
    ...metrics.slice(0, 5), ...columns.filter((c) => c.kind === "cost").slice(0, 1)];
}

function sortTable() {
  const c = table.column, rows = Array.from(view.rows), keys = new Float64Array(COUNT);
  for (const row of rows) keys[row] = c === objective ? score(row) : c.sortKey(row);
  const sign = table.down ? -1 : 1;
  rows.sort((a, b) => {
    const ka = keys[a], kb = keys[b];
    // What has no value comes last, whichever way.
    if (Number.isNaN(ka) || Number.isNaN(kb)) {
      return Number.isNaN(ka) && Number.isNaN(kb) ? a - b : Number.isNaN(ka) ? 1 : -1;
    }
    return ka === kb ? a - b : ka < kb ? -sign : sign;
  });
  table.order = rows;
  table.page = Math.min(table.page, Math.max(0, Math.ceil(rows.length / table.size) - 1));
}

function headCell(c, redraw) {
  const sorted = table.column === c;
  const arrow = el("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (table.down ? "\u2193" : "\u2191") : "");
  const button = el("button", { type: "button", title: c.name.length > 22 ? c.name : null }, cut(c.name, 28), arrow);
  button.addEventListener("click", () => {
    table.down = sorted ? !table.down : c.numeric && c !== numberColumn && !(c === objective && !maximize);
    table.column = c;
    table.page = 0;
    redraw(c);
  });
  return el("th", { scope: "col", class: c.numeric ? "n" : null,
    "aria-sort": sorted ? (table.down ? "descending" : "ascending") : "none" }, button);
}

function bodyRow(row) {
  return el("tr", { class: row === model.best ? "top" : null }, table.shown.map((c) => {
    if (c === numberColumn) {
      return el("th", { scope: "row", class: "n" }, el("button", { type: "button", class: "trial",
        "aria-label": `Trial ${c.text(row)}, all values`, on: { click: () => openDetail(row) } }, c.text(row)));
    }
    if (c === stateColumn) {
      const reason = reasonColumn ? cut(reasonColumn.text(row), 24) : "";
      return el("td", {}, el("span", { class: `chip ${stateOf(row)}` }, stateOf(row) + (reason ? `: ${reason}` : "")));
    }
    const text = c.text(row);
    const cell = el("td", { class: (c.numeric ? "n" : "") + (c === objective ? " goal" : "") },
      c.labels ? cut(text, 40) : text);
    if (c.labels && text.length > 40) cell.title = text;
    if (c === objective && c.range && !Number.isNaN(score(row))) {
      const [low, high] = c.range;
      cell.style.setProperty("--share", String(high > low ? (score(row) - low) / (high - low) : 1));
    }
    return cell;
  }));
}

function columnPicker(redraw) {
  const boxes = everyColumn.filter((c) => c !== numberColumn).map((c) =>
    checkbox(cut(c.name, 40), table.shown.includes(c), (on) => {
      table.shown = everyColumn.filter((other) => other === c ? on : table.shown.includes(other));
      if (!table.shown.includes(table.column)) table.column = numberColumn;
      redraw();
    }));
  return el("details", { class: "picker" }, el("summary", {}, "Columns"), el("div", { class: "boxes" }, boxes));
}

function pager(redraw) {
  const where = el("span", { class: "where", role: "status" });
  const go = (label, text, to) => el("button", { type: "button", class: "quiet", "aria-label": label,
    on: { click: () => { table.page = to(); redraw(); } } }, text);
  const last = () => Math.max(0, Math.ceil(table.order.length / table.size) - 1);
  const buttons = [
    go("First page", "\u21e4", () => 0), go("Previous page", "\u2190", () => Math.max(0, table.page - 1)),
    go("Next page", "\u2192", () => Math.min(last(), table.page + 1)), go("Last page", "\u21e5", last),
  ];
  const update = () => {
    const from = table.page * table.size, to = Math.min(table.order.length, from + table.size);
    where.textContent = table.order.length
      ? `${num(from + 1)}\u2013${num(to)} of ${num(table.order.length)}` : "No trial matches";
    buttons.forEach((b, i) => { b.disabled = i < 2 ? table.page === 0 : table.page >= last(); });
  };
  const sizes = choice("Rows", [[10, "10"], [25, "25"], [50, "50"], [100, "100"], [250, "250"]], table.size, (v) => {
    table.page = Math.floor(table.page * table.size / Number(v));
    table.size = Number(v);
    redraw();
  });
  return { node: el("div", { class: "pager" }, buttons.slice(0, 2), where, buttons.slice(2), sizes), update };
}

function trialsSection() {
  if (!COUNT) return section("trials", "Trials", null, nothing("The study has no trials."));
  table.shown = firstColumns();
  table.column = objective || numberColumn;
  table.down = objective ? maximize : false;
  const head = el("tr"), body = el("tbody");
  const draw = () => {
    const from = table.page * table.size;
    body.replaceChildren(...table.order.slice(from, from + table.size).map(bodyRow));
    pages.update();
  };
  const redraw = (focus) => {
    sortTable();
    head.replaceChildren(...table.shown.map((c) => headCell(c, redraw)));
    if (focus) head.children[table.shown.indexOf(focus)].querySelector("button").focus();
    draw();
  };
  const pages = pager(redraw);
  const scroller = el("div", { class: "scroll", role: "region", "aria-label": "Table of trials", tabindex: "0" },
    el("table", { class: "trials" }, el("caption", { class: "unseen" }, "Trials; a button in each heading sorts"),
      el("thead", {}, head), body));
  onView(() => {
    table.page = 0;
    sortTable();
    draw();
  });
  redraw();
  return section("trials", "Trials", null, filterBar(),
    scroller, el("div", { class: "under" }, pages.node, columnPicker(redraw)));
}

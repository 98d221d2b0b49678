// The embedded data, decoded; and which trials are looked at now.

const model = JSON.parse(document.getElementById("data").textContent);
const COUNT = model.rows;
const STATES = { c: "complete", p: "pruned", f: "failed", r: "running", w: "waiting" };
const collator = new Intl.Collator("en", { numeric: true });

// A column answers, for a row: at(row) its number (NaN when there is none; the place of its label for texts),
// has(row), text(row). Rows count from 0.
class Column {
  constructor(raw, index) {
    this.name = raw.name;
    this.kind = raw.kind;
    this.index = index;
    this.labels = raw.labels || null;
    this.odd = raw.odd || null;
    this.raw = raw;
    this.data = new Float64Array(COUNT);
    for (let i = 0; i < COUNT; i++) {
      const v = raw.values[i];
      this.data[i] = v === null || (this.labels && v < 0) ? NaN : v;
    }
    if (this.labels) {
      const order = this.labels.map((_, i) => i).sort((a, b) => collator.compare(this.labels[a], this.labels[b]));
      this.rank = new Float64Array(order.length);
      order.forEach((label, rank) => { this.rank[label] = rank; });
    } else {
      this.measure();
    }
  }

  measure() {
    let whole = true, size = 0, low = Infinity, high = -Infinity;
    for (const v of this.data) {
      if (Number.isNaN(v)) continue;
      whole = whole && Number.isInteger(v);
      size = Math.max(size, Math.abs(v));
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    this.range = low <= high ? [low, high] : null;
    const digits = this.kind === "cost" ? 2 : 5;
    this.decimals = whole ? 0 : Math.max(0, Math.min(8, digits - Math.floor(Math.log10(size || 1))));
  }

  get numeric() { return !this.labels; }

  at(row) { return this.data[row]; }

  has(row) { return !Number.isNaN(this.data[row]) || Boolean(this.odd && this.odd[row] !== undefined); }

  // For a cell of the table: all cells of a column with as many decimals.
  text(row) {
    if (this.odd && this.odd[row] !== undefined) return this.odd[row];
    const v = this.data[row];
    if (Number.isNaN(v)) return "";
    if (this.labels) return this.labels[v];
    return this.show(v);
  }

  show(v) {
    if (this.kind === "number") return String(v);
    if (Math.abs(v) >= 1e12 || (v !== 0 && Math.abs(v) < 10 ** -this.decimals)) return num(v, 4);
    return fixed(v, this.decimals);
  }

  exact(row) {
    if (this.odd && this.odd[row] !== undefined) return this.odd[row];
    const v = this.data[row];
    if (Number.isNaN(v)) return "";
    return this.labels ? this.labels[v] : num(v, 10);
  }

  // A parameter as it was, its type and all its digits; null where the page does not have that.
  json(row) {
    const { raw } = this, v = this.data[row];
    if (raw.renamed) return null;
    if (this.odd && this.odd[row] !== undefined) return /^-?\d+$/.test(this.odd[row]) ? this.odd[row] : null;
    if (this.labels) return raw.json ? raw.json[v] : JSON.stringify(this.labels[v]);
    const text = Object.is(v, -0) ? "-0" : JSON.stringify(v);
    return (raw.float || raw.floats && raw.floats[row]) && /^-?\d+$/.test(text) ? `${text}.0` : text;
  }

  sortKey(row) {
    const v = this.data[row];
    if (!this.labels && Number.isNaN(v) && this.odd) {
      return this.odd[row] === "Infinity" ? Infinity : this.odd[row] === "-Infinity" ? -Infinity : NaN;
    }
    return this.labels && !Number.isNaN(v) ? this.rank[v] : v;
  }
}

const numberColumn = new Column({ name: "Trial", kind: "number", values: model.numbers }, -1);
const stateNames = [...new Set(model.states)].map((c) => STATES[c]);
const stateColumn = new Column({
  name: "State", kind: "state", labels: stateNames,
  values: Array.from(model.states, (c) => stateNames.indexOf(STATES[c])),
}, -2);
const columns = model.columns.map((raw, i) => new Column(raw, i));
const reasonColumn = model.reasons ? new Column(model.reasons, -3) : null;
const objectives = columns.filter((c) => c.kind === "objective");
const params = columns.filter((c) => c.kind === "param");
const objective = objectives.find((c) => c.numeric) || null;
const objectiveName = model.objectives[0].name;
const maximize = model.objectives[0].direction !== "minimize";
const everyColumn = [numberColumn, stateColumn, ...columns, ...(reasonColumn ? [reasonColumn] : [])];

const rowOfNumber = new Map();
for (let i = 0; i < COUNT; i++) rowOfNumber.set(numberColumn.at(i), i);

function better(a, b) {
  return maximize ? a > b : a < b;
}

function stateOf(row) {
  return STATES[model.states[row]];
}

function messageOf(row) {
  const at = model.messages.values[row];
  return at >= 0 ? model.messages.labels[at] : at === -2 ? "(not kept: there are too many different messages)" : "";
}

// The objective of complete trials only: what a pruned trial reached is no result.
function score(row) {
  return objective && model.states[row] === "c" ? objective.at(row) : NaN;
}

function paramsText(row, max = 200) {
  return cut(params.filter((c) => c.has(row)).map((c) => `${c.name} = ${c.exact(row)}`).join(", "), max);
}

// By importance where the study knows it, else in the order of the space.
const weight = new Map((model.importance.rows || []).map((r) => [r.name, r.value]));
const rankedParams = [...params].sort((a, b) => (weight.get(b.name) || 0) - (weight.get(a.name) || 0));

// --- the trials that are looked at: filter and brushes, for the table and all charts ---

const view = {
  text: "", states: new Set(), brushes: new Map(),
  mask: new Uint8Array(COUNT).fill(1), rows: Array.from({ length: COUNT }, (_, i) => i),
  listeners: [], waiting: false,
  get filtered() { return this.rows.length < COUNT; },
};

function onView(f) {
  view.listeners.push(f);
}

// `tests` is a function of a row, from filter.js.
function applyView(tests) {
  const rows = [];
  for (let row = 0; row < COUNT; row++) {
    const good = tests(row);
    view.mask[row] = good ? 1 : 0;
    if (good) rows.push(row);
  }
  view.rows = rows;
  for (const f of view.listeners) f();
}

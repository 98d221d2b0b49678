// "fast >= 10, slow < 50, timeout": conditions on columns and words, all of which must hold.

const OPERATORS = {
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b, "=": (a, b) => a === b,
  "<": (a, b) => a < b, ">": (a, b) => a > b,
};

// The column of that name: exactly, without regard to case, or the only one that begins so.
function columnNamed(name) {
  const want = name.trim().toLowerCase();
  if (!want) return null;
  const exact = everyColumn.find((c) => c.name === name.trim()) ||
    everyColumn.find((c) => c.name.toLowerCase() === want);
  if (exact) return exact;
  const some = everyColumn.filter((c) => c.name.toLowerCase().startsWith(want));
  return some.length === 1 ? some[0] : null;
}

function condition(column, operator, wanted) {
  const test = OPERATORS[operator];
  if (column.numeric) {
    const value = Number(wanted.replace("\u2212", "-"));
    if (Number.isNaN(value) || wanted.trim() === "") return null;
    // A number is found as it is shown.
    const same = (v) => v === value || Math.abs(v - value) <= Math.abs(value) * 1e-9;
    if (operator === "=") return (row) => same(column.at(row));
    if (operator === "!=") return (row) => column.has(row) && !same(column.at(row));
    return (row) => test(column.at(row), value);
  }
  const want = wanted.trim().toLowerCase();
  const good = column.labels.map((label) => test(label.toLowerCase(), want));
  return (row) => column.has(row) && good[column.at(row)];
}

function word(text) {
  const want = text.toLowerCase();
  const labelled = everyColumn.filter((c) => c.labels).map((c) =>
    [c, c.labels.map((label) => label.toLowerCase().includes(want))]);
  const said = model.messages.labels.map((label) => label.toLowerCase().includes(want));
  const number = text.startsWith("#") ? text.slice(1) : null;
  return (row) => (number !== null && number === String(numberColumn.at(row))) ||
    labelled.some(([c, good]) => good[c.at(row)]) || Boolean(said[model.messages.values[row]]);
}

// -> { tests, error }
function parseFilter(text) {
  const tests = [];
  for (const part of text.split(",")) {
    const clause = part.trim();
    if (!clause) continue;
    const found = /^([^<>=!]+?)\s*(<=|>=|!=|=|<|>)\s*([^<>=!]*)$/.exec(clause);
    if (!found) {
      tests.push(word(clause));
      continue;
    }
    const column = columnNamed(found[1]);
    if (!column) return { error: `There is no column \u201c${cut(found[1], 40)}\u201d.` };
    const test = condition(column, found[2], found[3]);
    if (!test) return { error: `\u201c${cut(found[3], 40)}\u201d is not a number.` };
    tests.push(test);
  }
  return { tests };
}

function runView() {
  const parsed = parseFilter(view.text);
  const tests = parsed.tests || [];
  if (view.states.size) tests.push((row) => view.states.has(stateOf(row)));
  for (const [column, [low, high]] of view.brushes) {
    tests.push((row) => {
      const v = column.labels ? column.rank[column.at(row)] : column.at(row);
      return v >= low && v <= high;
    });
  }
  applyView(tests.length ? (row) => tests.every((t) => t(row)) : () => true);
  return parsed.error;
}

let viewTimer = 0;
function runViewSoon() {
  clearTimeout(viewTimer);
  viewTimer = setTimeout(runView, 30);
}

function filterBar() {
  const hint = newId("hint"), shown = el("p", { class: "count", role: "status" });
  const input = el("input", { type: "search", placeholder: "fast >= 10, slow < 50, timeout", "aria-describedby": hint,
    spellcheck: "false", autocomplete: "off" });
  const example = params.find((c) => c.numeric && c.range);
  if (example) input.placeholder = `${cut(example.name, 30)} >= ${num(example.range[0], 4)}`;
  const problem = el("p", { class: "problem", role: "alert" });
  const apply = () => {
    view.text = input.value;
    problem.textContent = runView() || "";
  };
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(apply, 120);
  });
  const chips = stateNames.length > 1 ? stateNames.map((state) => {
    const chip = el("button", { type: "button", class: `chip ${state}`, "aria-pressed": "false" }, state);
    chip.addEventListener("click", () => {
      const on = !view.states.has(state);
      if (on) view.states.add(state);
      else view.states.delete(state);
      chip.setAttribute("aria-pressed", String(on));
      apply();
    });
    return chip;
  }) : [];
  const clear = el("button", { type: "button", class: "quiet", hidden: true, on: { click: () => {
    input.value = "";
    view.states.clear();
    view.brushes.clear();
    chips.forEach((chip) => chip.setAttribute("aria-pressed", "false"));
    apply();
    repaint();
    input.focus();
  } } }, "Show all");
  const count = () => {
    shown.textContent = view.filtered ? `${num(view.rows.length)} of ${plural(COUNT, "trial")}` : plural(COUNT, "trial");
    clear.hidden = !(view.filtered || view.text || view.brushes.size || view.states.size);
  };
  onView(count);
  count();
  return el("div", { class: "filter" },
    el("label", { class: "search" }, el("span", {}, "Filter"), input),
    chips.length ? el("div", { class: "chips", role: "group", "aria-label": "Show only trials that are" }, chips) : null,
    clear, shown, problem,
    el("p", { class: "hint", id: hint },
      "Conditions and words, parted by commas. The charts below follow."));
}

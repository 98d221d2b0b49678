// What needs no axes: importance, failures by reason, and the sections of plugins.

// Where the parameters of the best tenth lie, within where they all lie.
function bestSpans() {
  const all = parallelRows(), tenth = all.slice(-Math.max(3, Math.ceil(all.length / 10))).map(([, row]) => row);
  if (all.length < 10) return null;
  const items = rankedParams.filter((c) => c.numeric && c.range && c.range[0] < c.range[1]).slice(0, 12).map((c) => {
    const found = extent(tenth.map((row) => c.at(row)).filter(Number.isFinite));
    if (!found) return null;
    const [low, high] = c.range, bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.left = `${(found[0] - low) / (high - low) * 97}%`;
    bar.style.width = `${Math.max(3, (found[1] - found[0]) / (high - low) * 100)}%`;
    return el("li", {}, el("span", {}, c.name), el("b", {}, found[0] === found[1] ? num(found[0], 4)
      : `${num(found[0], 4)} to ${num(found[1], 4)}`), el("span", { class: "track" }, bar));
  }).filter(Boolean);
  return items.length ? [el("h3", {}, "Where the best tenth lies"), el("ul", { class: "spans" }, items)] : null;
}

function importanceSection() {
  const id = "importance", title = "Importance of parameters", rows = model.importance.rows;
  const spans = objective && objective.range ? bestSpans() : null;
  if (!rows) return section(id, title, null, nothing(model.importance.why), spans);
  const most = Math.max(...rows.map((r) => Math.abs(r.value)), 1e-12);
  return section(id, title, null, el("ul", { class: "bars", "aria-label":
    "Importance: how much of the objective's change goes with each parameter" }, rows.map((r) => {
    const bar = el("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${Math.max(0.5, Math.abs(r.value) / most * 100)}%`;
    return el("li", {}, el("span", { class: "name" }, r.name), el("span", { class: "track" }, bar),
      el("b", {}, num(r.value, 3)));
  })), model.importance.explained === undefined ? null : el("p", { class: "aside" },
    model.importance.explained > 0.3
      ? `The parameters foretell ${num(model.importance.explained * 100, 2)} % of the objective's variation.`
      : "The parameters hardly foretell the objective here: do not rely on these numbers."), spans);
}

// What the study's tests say about luck; each with what its number means.
function robustSection() {
  const { plateau, deflated, overfit } = model.robust, percent = (p) => `${num(p * 100, 3)} %`;
  const part = (title, value, words) => el("div", { class: "test" }, el("h3", {}, title),
    value ? el("p", { class: "big" }, value) : null, el("p", {}, words));
  const sharpe = deflated.probability, luck = overfit.probability;
  return section("robust", "Is it luck?", null, el("div", { class: "tests" },
    part("Neighbourhood of the best", plateau.kind, plateau.verdict === undefined ? plateau.why || "It has no verdict."
      : plateau.kind && plateau.verdict.startsWith(`${plateau.kind}: `) ? plateau.verdict.slice(plateau.kind.length + 2)
        : plateau.verdict),
    part("Deflated Sharpe ratio", sharpe === undefined ? null : percent(sharpe), sharpe === undefined ? deflated.why
      : `The probability that the best is better than the best of ${deflated.trials === undefined ? "so many"
        : num(deflated.trials, 4)} trials without any skill would look. ` +
        (sharpe > 0.95 ? "Above the usual bar of 95 %." : "Below the usual bar of 95 %.")),
    part("Probability of overfitting", luck === undefined ? null : percent(luck), luck === undefined ? overfit.why
      : "How often the best of one half of the time is below the median in the other half. " +
        (luck < 0.1 ? "The choice holds." : luck < 0.4 ? "The choice holds often, not always."
          : luck <= 0.6 ? "The choice says nothing." : "The choice misleads."))));
}

const REASONS = {
  error: "the program failed", timeout: "out of time", oom: "out of memory", output_limit: "said too much",
  lost: "the engine or the connection died", tampered: "it interfered with its own measuring", cancelled: "cancelled",
  engine: "the engine failed", invalid_value: "no usable value of the objective",
};

function failuresSection() {
  const id = "failures", title = "Failures by reason", groups = model.failures;
  if (!groups.length) return section(id, title, null, nothing("No trial failed."));
  const most = groups[0].count, all = model.counts.failed;
  return section(id, title, `${plural(all, "trial")} of ${num(model.counts.total)} failed.`,
    el("div", { class: "reasons" }, groups.map((g) => {
      const bar = el("span", { class: "bar failed", "aria-hidden": "true" });
      bar.style.width = `${Math.max(0.5, g.count / most * 100)}%`;
      const inPage = g.numbers.filter((n) => rowOfNumber.has(n));
      return el("div", { class: "reason" },
        el("h3", {}, g.reason, Object.hasOwn(REASONS, g.reason) ? el("small", {}, ` ${REASONS[g.reason]}`) : null),
        el("p", { class: "track-line" }, el("span", { class: "track" }, bar),
          el("b", {}, `${num(g.count)} (${num(100 * g.count / all, 3)} %)`)),
        g.messages.length ? el("ul", { class: "messages" }, g.messages.map((m) =>
          el("li", {}, el("q", {}, m.text), m.count > 1 ? el("small", {}, ` ${num(m.count)} times`) : null))) : null,
        g.distinct > g.messages.length
          ? el("p", { class: "aside" }, `and ${plural(g.distinct - g.messages.length, "other message")}`) : null,
        inPage.length ? el("p", { class: "numbers-line" }, "Trials: ", inPage.map((n) => [trialButton(n), " "]),
          g.count > inPage.length ? `and ${num(g.count - inPage.length)} more` : null) : null);
    })));
}

function extraCell(value, tag) {
  return typeof value === "number" ? el(tag, { class: "n" }, num(value, 8)) : el(tag, {}, value);
}

function extraSection(given, i) {
  const head = given.columns.length ? el("thead", {}, el("tr", {}, given.columns.map((name, k) =>
    el("th", { scope: "col", class: given.rows.length && typeof given.rows[0][k] === "number" ? "n" : null }, name)))) : null;
  const table = given.rows.length || head ? el("div", { class: "scroll", role: "region", tabindex: "0",
    "aria-label": given.title }, el("table", {}, head, el("tbody", {}, given.rows.map((row) =>
    el("tr", {}, row.map((value) => extraCell(value, "td"))))))) : null;
  return section(`extra-${i + 1}`, given.title, null, given.text.map((text) => el("p", { class: "prose" }, text)), table);
}

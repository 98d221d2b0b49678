// How it went: the best, the counts, the time, why it ended, what the study warns of.

function figure(label, value, note) {
  return el("div", { class: "figure" }, el("dt", {}, label), el("dd", {}, el("b", {}, value),
    note ? el("small", {}, note) : null));
}

function trialButton(number, text) {
  const row = rowOfNumber.get(number);
  if (row === undefined) return el("span", { class: "n" }, text || `#${number}`);
  return el("button", { type: "button", class: "trial", on: { click: () => openDetail(row) } }, text || `#${number}`);
}

function bestCard() {
  const row = model.best;
  if (row === undefined) {
    return el("div", { class: "best" }, el("p", { class: "label" }, "Best trial"),
      el("p", { class: "none" }, "No trial is complete with a value, so there is no best one."));
  }
  const names = model.objectives.map((o, i) => ({ ...o, column: objectives[i] }));
  const values = names.filter((o) => o.column).map((o) => el("p", { class: "value" },
    el("b", {}, o.column.exact(row)), el("span", {}, o.name)));
  return el("div", { class: "best" },
    el("p", { class: "label" }, model.outside ? "Best trial out of sample " : "Best trial ",
      trialButton(numberColumn.at(row))),
    values,
    el("dl", { class: "params" }, params.filter((c) => c.has(row)).slice(0, 24).map((c) =>
      el("div", {}, el("dt", {}, c.name), el("dd", {}, c.exact(row))))));
}

// The states' shares as one bar; the words under it carry the same.
function stateBar() {
  const counts = model.counts, order = ["complete", "pruned", "failed", "running", "waiting"];
  const bar = el("div", { class: "states", "aria-hidden": "true" }), words = el("ul", { class: "legend" });
  for (const state of order) {
    if (!counts[state]) continue;
    const part = el("span", { class: `fill ${state}` });
    part.style.flexGrow = counts[state];
    bar.append(part);
    words.append(el("li", {}, el("i", { class: `dot ${state}` }), `${num(counts[state])} ${state}`));
  }
  return counts.total ? [bar, words] : [];
}

function figures() {
  const { counts, times } = model, out = [figure("Trials", num(counts.total),
    counts.cached ? `${num(counts.cached)} from the cache` : null)];
  if (times.wall_s !== undefined) {
    out.push(figure("Time", duration(times.wall_s), counts.runs_s ? `${duration(counts.runs_s)} of runs` : null));
  }
  if (times.rate !== undefined) {
    out.push(times.rate >= 0.1 ? figure("Trials ended", num(times.rate, 3), "a second")
      : figure("Trials ended", num(times.rate * 3600, 3), "an hour"));
  }
  if (counts.median_s !== undefined) out.push(figure("A trial", duration(counts.median_s), "median"));
  if (counts.memory_peak !== undefined) out.push(figure("Memory", bytes(counts.memory_peak), "highest peak"));
  if (counts.retried) out.push(figure("Tried again", num(counts.retried), "more than one attempt"));
  return el("dl", { class: "figures" }, out);
}

function originList() {
  const lines = [["Objective", model.objectives.map((o) => `${o.name} (${o.direction})`).join(", ")]];
  const { started, ended } = model.times, time = (t) => new Date(t * 1000).toISOString().slice(0, 19).replace("T", " ");
  const good = (t) => t !== undefined && Math.abs(t) < 8e12;
  lines.push(...model.origin);
  if (good(started)) lines.push(["Started", `${time(started)} UTC`]);
  if (good(ended)) lines.push(["Ended", `${time(ended)} UTC`]);
  return el("details", { class: "origin" }, el("summary", {}, "Where this comes from"),
    el("dl", { class: "facts" }, lines.map(([name, text]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, text)))));
}

function summarySection() {
  const warnings = model.warnings.length
    ? el("div", { class: "warnings", role: "note" }, el("h3", {}, plural(model.warnings.length, "warning")),
      el("ul", {}, model.warnings.map((w) => el("li", {}, w)))) : null;
  const front = model.pareto.length
    ? el("p", { class: "front" }, "No trial is better in all objectives than these (Pareto front): ",
      model.pareto.map((n) => [trialButton(n), " "])) : null;
  return section("summary", "Summary", null,
    el("div", { class: "hero" }, bestCard(), el("div", { class: "numbers" }, figures(), stateBar(),
      el("p", { class: "stopped" }, el("span", {}, "Ended because: "), model.stopped || "the study does not say"))),
    front, warnings, model.notes.map((text) => nothing(text)), originList());
}

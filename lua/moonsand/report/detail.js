// One trial with everything that is known of it, in a dialog.

const detail = el("dialog", { class: "detail", "aria-labelledby": "detail-title" });
let detailRow = 0;

function pairList(title, list, row) {
  const some = list.filter((c) => c.has(row));
  if (!some.length) return null;
  return [el("h3", {}, title), el("dl", { class: "pairs" }, some.map((c) =>
    el("div", {}, el("dt", {}, c.name), el("dd", {}, c.exact(row)))))];
}

// JSON of the parameters, for the next run; null when they are not all here as they were.
function paramsJson(row) {
  const all = params.filter((c) => c.has(row)).map((c) => [JSON.stringify(c.name), c.json(row)]);
  return model.all_params && all.length && all.every(([, value]) => value !== null)
    ? `{${all.map((pair) => pair.join(":")).join(",")}}` : null;
}

function copyButton(row) {
  const json = paramsJson(row);
  if (json === null) return "";
  const button = el("button", { type: "button", class: "quiet" }, "Copy the parameters as JSON");
  button.addEventListener("click", () => {
    const done = (good) => { button.textContent = good ? "Copied" : "The browser does not allow copying"; };
    if (navigator.clipboard) {
      navigator.clipboard.writeText(json).then(() => done(true), () => done(false));
    } else {
      done(false);
    }
  });
  return button;
}

function fillDetail() {
  const row = detailRow, message = messageOf(row), reason = reasonColumn ? reasonColumn.text(row) : "";
  const step = (by, text, label) => {
    // In the order of the table.
    const at = table.order.indexOf(row), next = at < 0 ? undefined : table.order[at + by];
    return el("button", { type: "button", class: "quiet", "aria-label": label, disabled: next === undefined,
      on: { click: () => { detailRow = next; fillDetail(); } } }, text);
  };
  detail.replaceChildren(
    el("div", { class: "bar" },
      el("h2", { id: "detail-title" }, `Trial ${numberColumn.text(row)} `,
        el("span", { class: `chip ${stateOf(row)}` }, stateOf(row) + (reason ? `: ${reason}` : ""))),
      step(-1, "\u2190", "Previous trial"), step(1, "\u2192", "Next trial"),
      el("button", { type: "button", class: "quiet", on: { click: () => detail.close() } }, "Close")),
    el("div", { class: "body" },
      message ? el("p", { class: "message" }, message) : "",
      pairList("Objective", objectives, row) || "",
      pairList("Parameters", params, row) || "", copyButton(row),
      pairList("Metrics", columns.filter((c) => c.kind === "metric"), row) || "",
      pairList("Cost", columns.filter((c) => c.kind === "cost"), row) || ""));
}

function openDetail(row) {
  detailRow = row;
  fillDetail();
  hideTip();
  if (!detail.open) detail.showModal();
}

detail.addEventListener("click", (event) => {
  if (event.target === detail) detail.close();
});

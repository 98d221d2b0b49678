// Puts the page together: what is read first is there first, the rest a moment later, piece by piece, so that the
// page answers while it is being drawn.

const root = document.getElementById("main");
const links = document.querySelector("nav.page");

// For those who check: what went wrong, and when the page was ready (milliseconds since it was opened).
const told = { errors: [], first: 0, ready: 0, parts: {} };
Object.defineProperty(window, "moonsandReport", { value: told });
window.addEventListener("error", (event) => told.errors.push(String(event.message)));
window.addEventListener("securitypolicyviolation", (event) => told.errors.push(`policy: ${event.violatedDirective}`));

// Short words for the line of links.
const SHORT = {
  progress: "Objective", importance: "Importance", parallel: "Parallel", curves: "Equity", failures: "Failures",
};

const builders = [
  summarySection, trialsSection, scatterSection, heatmapSection, importanceSection, parallelSection, curvesSection,
  robustSection, walkforwardSection, failuresSection, ...model.sections.map((given, i) => () => extraSection(given, i)),
];

// One part that cannot be drawn must not take the others with it.
function build(f) {
  const before = plots.length, began = performance.now();
  let node;
  try {
    node = f();
    root.append(node);
    for (const plot of plots.slice(before)) plot.paint();
  } catch (error) {
    told.errors.push(`${f.name}: ${error.stack || error}`);
    plots.length = before;
    if (node) node.remove();
    root.append(nothing(`A part of this report could not be drawn: ${error.message}`));
    return;
  }
  told.parts[node.id] = performance.now() - began;
  links.append(el("a", { href: `#${node.id}` }, SHORT[node.id] || cut(node.querySelector("h2").textContent, 32)));
}

function paper(on) {
  if (printing === on) return;
  printing = on;
  // Paper cannot be clicked open.
  for (const one of document.querySelectorAll("details.origin")) {
    if (on) one.dataset.was = one.open ? "open" : "";
    one.open = on || one.dataset.was === "open";
  }
  document.documentElement.classList.toggle("paper", on);
  hideTip();
  repaint();
}

function start() {
  root.replaceChildren();
  document.body.append(tip, heard, detail);
  const made = model.made.slice(0, 16).replace("T", " ");
  document.querySelector("footer.page").append(el("p", {}, `Written ${made} UTC by moonsand ${model.version}. ` +
    "This file holds all of its data and asks nothing of any network."));
  document.querySelector("header.page").append(el("p", { class: "lead" },
    `${maximize ? "Highest" : "Lowest"} ${objectiveName} of ${plural(model.counts.total, "trial")}`));
  darkQuery.addEventListener("change", repaint);
  window.addEventListener("beforeprint", () => paper(true));
  window.addEventListener("afterprint", () => paper(false));
  window.matchMedia("print").addEventListener("change", (event) => paper(event.matches));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });

  const queue = builders.slice();
  // The summary and the table at once; then one a turn.
  build(queue.shift());
  build(queue.shift());
  told.first = performance.now();
  const next = () => {
    if (queue.length) {
      build(queue.shift());
      setTimeout(next, 0);
    } else {
      told.ready = performance.now();
      document.documentElement.dataset.ready = String(told.errors.length);
    }
  };
  setTimeout(next, 0);
}

start();

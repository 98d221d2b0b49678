// Elements, numbers as text, colours. What comes from the study becomes text nodes and attribute values only: nothing
// in this page ever parses a string as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    } else if (name === "text") {
      node.textContent = value;
    } else {
      node.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

// A <select> of [value, label] pairs, with its label in front.
function choice(label, pairs, chosen, onChange) {
  const select = el("select", { on: { change: () => onChange(select.value) } },
    pairs.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)));
  return el("label", { class: "choice" }, el("span", {}, label), select);
}

function checkbox(label, checked, onChange) {
  const input = el("input", { type: "checkbox", checked, on: { change: () => onChange(input.checked) } });
  return el("label", { class: "check" }, input, el("span", {}, label));
}

let lastId = 0;
function newId(word) {
  lastId += 1;
  return `${word}-${lastId}`;
}

// --- numbers as text ---

const grouped = new Map();
function fixed(x, decimals) {
  if (!grouped.has(decimals)) {
    grouped.set(decimals, new Intl.NumberFormat("en-US",
      { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
  }
  return grouped.get(decimals).format(x).replace("-", "\u2212");
}

// At most `digits` significant digits, without zeros at the end.
function num(x, digits = 6) {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "\u221e" : "\u2212\u221e";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (Number.isInteger(x) && size < 1e15) return fixed(x, 0);
  if (size >= 1e12 || size < 1e-4) {
    return x.toExponential(Math.max(0, digits - 1)).replace(/\.?0+e/, "e").replace("e+", "e").replace(/-/g, "\u2212");
  }
  const places = Math.max(0, Math.min(12, digits - 1 - Math.floor(Math.log10(size))));
  const text = fixed(x, places);
  return places > 0 ? text.replace(/\.?0+$/, "") : text;
}

function duration(s) {
  if (!(s >= 0)) return "\u2013";
  if (s < 0.001) return `${num(s * 1e6, 3)} \u00b5s`;
  if (s < 1) return `${num(s * 1000, 3)} ms`;
  if (s < 60) return `${num(s, 3)} s`;
  const all = Math.round(s);
  const h = Math.floor(all / 3600), m = Math.floor(all / 60) % 60, rest = all % 60;
  if (h === 0) return rest ? `${m} min ${rest} s` : `${m} min`;
  const d = Math.floor(h / 24);
  return d > 0 ? `${d} d ${h % 24} h` : `${h} h ${m} min`;
}

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i += 1;
  }
  return `${num(n, 3)} ${units[i]}`;
}

function plural(n, one, many) {
  return `${num(n)} ${n === 1 ? one : many || one + "s"}`;
}

function cut(text, max) {
  return text.length > max ? text.slice(0, Math.max(1, max - 1)) + "\u2026" : text;
}

// --- scales ---

function niceStep(span, count) {
  const raw = span / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(raw));
  const lead = raw / power;
  return (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * power;
}

function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const step = niceStep(high - low, count), out = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    out.push(Number((i * step).toPrecision(12)));
    if (out.length > 100) break;
  }
  return out;
}

const DAY = 86400000;
// [time, text] pairs: years, months, days or hours, whichever gives about `count`.
function timeTicks(low, high, count) {
  const span = high - low, out = [], year = 365.25 * DAY;
  const two = (n) => String(n).padStart(2, "0");
  if (!(span > 0)) return [[low, new Date(low).toISOString().slice(0, 10)]];
  if (span > 1.5 * year) {
    const step = Math.max(1, Math.round(niceStep(span / year, count)));
    for (let y = Math.ceil(new Date(low).getUTCFullYear() / step) * step; out.length < 100; y += step) {
      const at = Date.UTC(y, 0, 1);
      if (at > high) break;
      if (at >= low) out.push([at, String(y)]);
    }
  } else if (span > 60 * DAY) {
    const months = span / (30.4 * DAY) / count;
    const step = months <= 1 ? 1 : months <= 2 ? 2 : months <= 3 ? 3 : 6;
    const first = new Date(low);
    for (let m = Math.ceil((first.getUTCFullYear() * 12 + first.getUTCMonth()) / step) * step; out.length < 100; m += step) {
      const at = Date.UTC(Math.floor(m / 12), m % 12, 1);
      if (at > high) break;
      if (at >= low) out.push([at, `${Math.floor(m / 12)}-${two(m % 12 + 1)}`]);
    }
  } else {
    const steps = [1000, 10000, 60000, 300000, 900000, 3600000, 10800000, 21600000, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
    const step = steps.find((s) => span / s <= count) || 14 * DAY;
    for (let at = Math.ceil(low / step) * step; at <= high && out.length < 100; at += step) {
      const text = new Date(at).toISOString();
      out.push([at, step >= DAY ? text.slice(5, 10) : step >= 60000 ? text.slice(11, 16) : text.slice(11, 19)]);
    }
  }
  return out;
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  return low <= high ? [low, high] : null;
}

// A little air at both ends; a single value gets some too.
function padded([low, high], share = 0.05) {
  const span = high - low;
  const pad = span > 0 ? span * share : Math.abs(high) * 0.05 || 1;
  return [low - pad, high + pad];
}

// --- colours ---

let printing = false;
const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");
function isDark() {
  return darkQuery.matches && !printing;
}

// Sand to night, and the other way round on a dark ground: lightness alone tells the order, whatever the eye; and
// what is best stands out most.
const RAMP = [[246, 232, 196], [234, 200, 136], [219, 155, 94], [188, 104, 90], [138, 70, 108], [79, 46, 106], [30, 27, 77]];
const RAMP_DARK = [[46, 40, 96], [88, 54, 124], [142, 72, 130], [194, 98, 113], [227, 140, 94], [241, 191, 124], [252, 240, 204]];

function rampRgb(t) {
  const stops = isDark() ? RAMP_DARK : RAMP;
  const at = Math.min(1, Math.max(0, t)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(at)), f = at - i;
  return stops[i].map((c, k) => Math.round(c + (stops[i + 1][k] - c) * f));
}

function rgb(c) {
  return `rgb(${c[0]},${c[1]},${c[2]})`;
}

// What is read on top of that colour.
function inkOn(c) {
  return c[0] * 0.299 + c[1] * 0.587 + c[2] * 0.114 > 140 ? "#17151f" : "#ffffff";
}

function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// --- the tip beside the pointer, and what a screen reader hears in its place ---

const tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
const heard = el("div", { class: "unseen", role: "status" });

function showTip(lines, x, y) {
  tip.replaceChildren(...lines.map(([label, value]) =>
    el("div", {}, value === undefined ? el("b", {}, label) : [el("span", {}, label), el("b", {}, value)])));
  tip.hidden = false;
  const box = tip.getBoundingClientRect(), edge = 8;
  const left = x + 14 + box.width > window.innerWidth - edge ? x - 14 - box.width : x + 14;
  const top = y + 14 + box.height > window.innerHeight - edge ? y - 14 - box.height : y + 14;
  tip.style.left = `${Math.max(edge, left)}px`;
  tip.style.top = `${Math.max(edge, top)}px`;
}

function hideTip() {
  tip.hidden = true;
}

function say(lines) {
  heard.textContent = lines.map((line) => line.filter((part) => part !== undefined).join(" ")).join(", ");
}

// The ground of every chart: a figure with its title, axes and text in SVG, and a canvas under it where there are too
// many marks for elements. It is painted again when its width, the colours or the paper change.

const plots = [];
const PAPER = 680;

class Plot {
  // options: title, describe() for those who do not see it, height(width), margin, canvas ("over" or "below" the SVG)
  constructor(options, paint) {
    this.options = options;
    this.paintWith = paint;
    this.titleId = newId("title");
    this.descId = newId("desc");
    this.svg = svg("svg", { role: "img", "aria-labelledby": `${this.titleId} ${this.descId}` });
    this.canvas = options.canvas ? el("canvas", { "aria-hidden": "true", class: options.canvas }) : null;
    this.box = el("div", { class: "plot" }, this.canvas, this.svg);
    this.node = this.box;
    this.seen = 0;
    plots.push(this);
    new ResizeObserver(() => {
      if (!printing && this.box.clientWidth !== this.seen) this.paint();
    }).observe(this.box);
  }

  paint() {
    this.seen = this.box.clientWidth;
    this.width = printing ? PAPER : Math.max(240, this.seen);
    this.height = Math.round(this.options.height(this.width));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.svg.replaceChildren(
      svg("title", { id: this.titleId }, this.options.title),
      svg("desc", { id: this.descId }, this.options.describe ? this.options.describe() : ""));
    if (this.canvas) {
      const scale = printing || COUNT < 2000 ? Math.max(2, window.devicePixelRatio) : window.devicePixelRatio;
      this.canvas.width = this.width * scale;
      this.canvas.height = this.height * scale;
      this.ctx = this.canvas.getContext("2d");
      this.ctx.scale(scale, scale);
    }
    this.margin = { top: 12, right: 14, bottom: 40, left: 58, ...this.options.margin };
    this.paintWith(this);
  }

  add(tag, props, ...children) {
    const node = svg(tag, props, ...children);
    this.svg.append(node);
    return node;
  }

  get left() { return this.margin.left; }

  get right() { return this.width - this.margin.right; }

  get top() { return this.margin.top; }

  get bottom() { return this.height - this.margin.bottom; }

  scaleX(low, high) {
    const span = high - low || 1;
    return (v) => this.left + (v - low) / span * (this.right - this.left);
  }

  scaleY(low, high) {
    const span = high - low || 1;
    return (v) => this.bottom - (v - low) / span * (this.bottom - this.top);
  }

  // Pairs of [value, text] along the bottom.
  axisX(pairs, x, label) {
    let end = -Infinity;
    for (const [v, text] of pairs) {
      const at = x(v), half = text.length * 3.4;
      if (at < this.left - 1 || at > this.right + 1) continue;
      this.add("line", { class: "tick", x1: at, x2: at, y1: this.bottom, y2: this.bottom + 5 });
      if (at - half < end + 6) continue;
      end = at + half;
      const anchor = at + half > this.width ? "end" : at - half < 0 ? "start" : "middle";
      this.add("text", { class: "axis", x: at, y: this.bottom + 18, "text-anchor": anchor }, text);
    }
    this.add("line", { class: "line", x1: this.left, x2: this.right, y1: this.bottom, y2: this.bottom });
    if (label) {
      this.add("text", { class: "axis name", x: (this.left + this.right) / 2, y: this.bottom + 35,
        "text-anchor": "middle" }, cut(label, Math.floor((this.right - this.left) / 7)));
    }
  }

  axisY(pairs, y, label) {
    for (const [v, text] of pairs) {
      const at = y(v);
      if (at < this.top - 1 || at > this.bottom + 1) continue;
      this.add("line", { class: "grid", x1: this.left, x2: this.right, y1: at, y2: at });
      this.add("text", { class: "axis", x: this.left - 8, y: at + 4, "text-anchor": "end" }, cut(text, 12));
    }
    if (label) {
      const middle = (this.top + this.bottom) / 2;
      this.add("text", { class: "axis name", x: 10, y: middle, "text-anchor": "middle",
        transform: `rotate(-90 10 ${middle})` }, cut(label, Math.floor((this.bottom - this.top) / 7)));
    }
  }

  // The place in the plot's own units of a pointer event.
  place(event) {
    const box = this.svg.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * this.width, (event.clientY - box.top) / box.height * this.height];
  }

  // The window's place of a point of the plot.
  onScreen(x, y) {
    const box = this.svg.getBoundingClientRect();
    return [box.left + x / this.width * box.width, box.top + y / this.height * box.height];
  }
}

function pairsOf(values, text) {
  const digits = 4;
  return values.map((v) => [v, text ? text(v) : num(v, digits)]);
}

// Numbers on an axis need as many digits as tell them apart.
function axisPairs(low, high, count) {
  const list = ticks(low, high, count);
  const size = Math.max(Math.abs(low), Math.abs(high)), step = list.length > 1 ? list[1] - list[0] : size || 1;
  const digits = Math.max(3, Math.min(12, Math.ceil(Math.log10(size / step || 1)) + 2));
  if (size >= 1e5 && step >= 100) {
    const [unit, word] = size >= 1e9 ? [1e9, "B"] : size >= 1e6 ? [1e6, "M"] : [1e3, "k"];
    return list.map((v) => [v, v === 0 ? "0" : num(v / unit, digits) + word]);
  }
  return pairsOf(list, (v) => num(v, digits));
}

// The colour key under a chart: low to high with the numbers.
function rampKey(label, low, high, flipped) {
  const bars = [];
  for (let i = 0; i < 24; i++) {
    const t = i / 23;
    bars.push(svg("rect", { x: i * 5, y: 0, width: 5.5, height: 10, fill: rgb(rampRgb(flipped ? 1 - t : t)) }));
  }
  return el("div", { class: "key" }, el("span", {}, label), el("span", { class: "span" },
    el("span", { class: "n" }, num(low, 4)),
    svg("svg", { class: "ramp", viewBox: "0 0 120 10", "aria-hidden": "true" }, bars),
    el("span", { class: "n" }, num(high, 4))));
}

// A chart that answers to the arrow keys: move(step, across) -> lines to say and the place to point at.
function keyed(plot, label, move, choose) {
  plot.box.tabIndex = 0;
  plot.box.setAttribute("role", "group");
  plot.box.setAttribute("aria-label", label);
  const keys = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  plot.box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && choose) {
      choose();
    } else if (event.key === "Escape") {
      hideTip();
    } else if (keys[event.key]) {
      event.preventDefault();
      const found = move(...keys[event.key]);
      if (found) {
        showTip(found.lines, ...plot.onScreen(found.x, found.y));
        say(found.lines);
      }
    }
  });
  plot.box.addEventListener("blur", hideTip);
}

// A part of the page. Without `content` it says why there is nothing.
function section(id, title, intro, ...content) {
  const heading = newId("heading");
  return el("section", { id, class: "card", "aria-labelledby": heading },
    el("h2", { id: heading }, title), intro ? el("p", { class: "intro" }, intro) : null, content);
}

function nothing(why) {
  return el("p", { class: "note" }, why);
}

function repaint() {
  for (const plot of plots) plot.paint();
}

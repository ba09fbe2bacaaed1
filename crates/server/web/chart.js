// Draws one graph as SVG that everybody can read: with words for a screen reader, and a cursor that
// the pointer and the arrow keys move. It knows points and scales, not what they mean.

import { el } from "./view.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [600, 150]; // Of the drawing; it stretches to its box, its lines do not.

function svgEl(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

let numCharts = 0;

/**
 * A graph. `series` is a list of `{ key, label, look }`, drawn over each other or, if `stacked`, on top
 * of each other. `scale` is "linear", "log" or "share" (0 to 1). `words` turns a value into text.
 * `onCursor` hears which point the reader looks at, or null.
 */
export class Chart {
  constructor({ title, note, series, scale, stacked = false, smallest = 1, words, onCursor }) {
    Object.assign(this, { title, series, scale, stacked, smallest, words });
    this.points = [];
    const id = `chart-${(numCharts += 1)}`;
    this.svg = svgEl("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-title ${id}-desc` });
    this.svgTitle = svgEl("title", { id: `${id}-title` });
    this.svgTitle.textContent = title;
    this.desc = svgEl("desc", { id: `${id}-desc` });
    this.grid = svgEl("path", { class: "grid" });
    this.fills = series.map(({ look }) => svgEl("path", { class: `fill ${look}` }));
    this.lines = series.map(({ look }) => svgEl("path", { class: `line ${look}` }));
    // A stack is drawn from its top down, so that the sum does not hide its parts.
    this.svg.append(this.svgTitle, this.desc, this.grid, ...this.fills.toReversed(), ...this.lines);

    this.line = el("div", { className: "cursor-line", hidden: true });
    this.range = el("input", { type: "range", className: "cursor", min: 0, step: 1, ariaLabel: `Moment in the graph: ${title}` });
    this.range.oninput = () => onCursor(this.range.valueAsNumber);
    this.range.onfocus = () => { if (this.range.matches(":focus-visible")) onCursor(this.range.valueAsNumber); };
    this.range.onblur = () => onCursor(null);
    this.yLabels = el("div", { className: "y-labels", ariaHidden: "true" });
    this.plot = el("div", { className: "plot" }, this.svg, this.line, this.range);
    this.plot.onpointermove = (event) => onCursor(this.indexAt(event.clientX));
    this.plot.onpointerleave = () => onCursor(null);
    this.values = series.map(() => el("span", { className: "value" }));
    const legend = el("ul", { className: "legend" }, ...series.map(({ label, look }, i) =>
      el("li", {}, el("span", { className: `swatch ${look}` }), el("span", { className: "label", textContent: label }), this.values[i])));
    this.moment = el("span", { className: "moment" });
    this.from = el("span");
    this.element = el("figure", { className: "chart" },
      el("figcaption", {}, el("h3", { textContent: title }), el("span", { className: "soft", textContent: note }), this.moment),
      legend,
      el("div", { className: "frame" }, this.yLabels, this.plot),
      el("div", { className: "x-labels", ariaHidden: "true" }, this.from, el("span", { textContent: "now" })));
  }

  /** The point under a position of the pointer. */
  indexAt(clientX) {
    const box = this.plot.getBoundingClientRect();
    const share = (clientX - box.left) / box.width;
    return Math.max(0, Math.min(this.points.length - 1, Math.round(share * (this.points.length - 1))));
  }

  /** Draws `points`, `{ key: value or null }` at equal distances, the last one now. */
  draw(points, spanWords) {
    this.points = points;
    const { top, bottom, ticks } = this.axis();
    const y = (value) => HEIGHT * (1 - share(value, bottom, top, this.scale));
    const x = (i) => (WIDTH * i) / Math.max(1, points.length - 1);
    this.grid.setAttribute("d", ticks.map((tick) => `M0 ${round(y(tick))}H${WIDTH}`).join(""));
    this.yLabels.replaceChildren(...ticks.map((tick) => {
      const label = el("span", { textContent: this.words(tick).replace(/\.0(?=\s|$)/, "") });
      label.style.top = `${(100 * y(tick)) / HEIGHT}%`;
      return label;
    }));
    this.from.textContent = `${spanWords} ago`;
    const under = points.map(() => 0);
    this.series.forEach(({ key, look }, s) => {
      const values = points.map((point, i) => {
        const value = point[key] ?? null;
        return value === null || !this.stacked ? value : (under[i] += value);
      });
      const corners = runs(values).map((run) => run.map(([i, value]) => [round(x(i)), round(y(value))]));
      this.lines[s].setAttribute("d", corners.map(line).join(""));
      if (look.startsWith("area")) this.fills[s].setAttribute("d", corners.map(area).join(""));
    });
    this.range.max = Math.max(0, points.length - 1);
    this.desc.textContent = this.summary(spanWords);
    this.setCursor(null);
  }

  /** Shows the values of one point; of the newest if `index` is null. */
  setCursor(index, momentWords = "") {
    const last = this.points.length - 1;
    const point = this.points[index ?? last] ?? {};
    const texts = this.series.map(({ key }) => this.valueWords(point[key] ?? null));
    texts.forEach((text, i) => { this.values[i].textContent = text; });
    this.line.hidden = index === null;
    this.moment.textContent = index === null ? "" : momentWords;
    if (index === null) {
      if (document.activeElement !== this.range) this.range.value = last;
    } else {
      this.line.style.left = `${(100 * index) / Math.max(1, last)}%`;
      this.range.value = index;
    }
    const where = index === null ? "now" : momentWords;
    this.range.setAttribute("aria-valuetext", `${where}: ${this.series.map(({ label }, i) => `${label} ${texts[i]}`).join(", ")}`);
  }

  valueWords(value) {
    return value === null ? "–" : this.words(value);
  }

  axis() {
    const sums = this.points.map((point) => this.series.reduce((sum, { key }) => sum + (point[key] ?? 0), 0));
    const values = this.points.flatMap((point) => this.series.map(({ key }) => point[key] ?? null)).filter((value) => value !== null);
    if (this.scale === "share") return { bottom: 0, top: 1, ticks: [0, 0.5, 1] };
    if (this.scale === "log") {
      const positive = values.filter((value) => value > 0);
      const low = Math.floor(Math.log10(positive.length > 0 ? Math.min(...positive) : 1));
      const high = Math.max(low + 2, Math.ceil(Math.log10(positive.length > 0 ? Math.max(...positive) : 1)));
      const step = Math.ceil((high - low) / 5);
      const ticks = [];
      for (let power = low; power <= high; power += step) ticks.push(10 ** power);
      return { bottom: 10 ** low, top: 10 ** high, ticks };
    }
    const top = roundedUp(Math.max(this.smallest, ...(this.stacked ? sums : values)));
    return { bottom: 0, top, ticks: [0, top / 2, top] };
  }

  summary(spanWords) {
    const parts = this.series.map(({ key, label }) => {
      const values = this.points.map((point) => point[key] ?? null).filter((value) => value !== null);
      if (values.length === 0) return `${label}: no value yet`;
      return `${label}: from ${this.words(Math.min(...values))} to ${this.words(Math.max(...values))}, now ${this.valueWords(this.points.at(-1)[key] ?? null)}`;
    });
    return `Over the last ${spanWords}. ${parts.join("; ")}.`;
  }
}

function share(value, bottom, top, scale) {
  const raw = scale === "log" ? Math.log(Math.max(value, bottom) / bottom) / Math.log(top / bottom) : (value - bottom) / (top - bottom);
  return Math.max(0, Math.min(1, raw));
}

const round = (value) => Math.round(value * 10) / 10;

/** 1, 2, 4, 6 or 8 times a power of ten: each has a half that reads well. */
function roundedUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 6, 8, 10].find((step) => step * power >= value * 0.999);
}

/** Stretches without a gap, as lists of `[index, value]`. */
function runs(values) {
  const found = [];
  values.forEach((value, i) => {
    if (value === null) return;
    if (i === 0 || values[i - 1] === null) found.push([]);
    found.at(-1).push([i, value]);
  });
  return found;
}

/** A point alone is a dot: a line of almost no length has round ends all the same. */
const line = (corners) => (corners.length === 1 ? `M${corners[0].join(" ")}h.01` : `M${corners.map((corner) => corner.join(" ")).join("L")}`);
const area = (corners) => `M${corners[0][0]} ${HEIGHT}L${corners.map((corner) => corner.join(" ")).join("L")}V${HEIGHT}Z`;

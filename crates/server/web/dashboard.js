// The dashboard: gathers the server's samples, shows the newest as numbers and the latest minutes as
// graphs and as a table.

import { watchPerformance } from "./api.js";
import { Chart } from "./chart.js";
import { askForKey } from "./key.js";
import "./theme.js";
import { el, figure, icon } from "./view.js";

const $ = (id) => document.getElementById(id);
const KEPT_S = 600;
const SPANS = { 120: { step: 1, words: "2 minutes" }, 300: { step: 3, words: "5 minutes" }, 600: { step: 5, words: "10 minutes" } };
const NOW_S = 5; // What happens now is the mean of so many seconds: single ones jump.
const RATE_S = 10; // A hit rate over so many seconds, as the server's percentiles are.
const MAX_WAIT_MS = 8000;

let samples = []; // Oldest first.
let shown = []; // The samples of a moment, while the page is paused.
let points = []; // What the graphs show.
let paused = false;
let cursor = null; // Index into `points`.
let span = SPANS[300];
let spanS = 300;

/* ---- words ---- */

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 1 ? 1 : 0)} %`;
const perSecond = (value) => (value === 0 ? "0" : value < 10 ? value.toFixed(1) : figure(value));

function milliseconds(ms) {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 && !Number.isInteger(ms) ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  return `${seconds < 10 && !Number.isInteger(seconds) ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

function longTime(seconds) {
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600).toLocaleString("en")} h ${Math.floor((seconds / 60) % 60)} min`;
}

function bytes(count) {
  const units = ["B", "KB", "MB", "GB"];
  const unit = Math.min(units.length - 1, count > 0 ? Math.floor(Math.log10(count) / 3) : 0);
  return `${figure(count / 1000 ** unit).replace(/\.0$/, "")} ${units[unit]}`;
}

const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");
const numberWords = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/* ---- what is shown ---- */

const TILES = [
  ["requests", "Requests", (now) => [now.total_replies.toLocaleString("en"), `${perSecond(now.replies)} per second now`]],
  ["hit-rate", "Answered from the cache", (now) => [percent(now.total_hits / Math.max(1, now.total_replies)), numberWords(now.total_hits, "kept reply sent", "kept replies sent")]],
  ["p50", "Typical reply", (now) => [now.recent_p50_ms === null ? "–" : milliseconds(now.recent_p50_ms), "half are faster, last 5 min"]],
  ["p99", "Slow reply", (now) => [now.recent_p99_ms === null ? "–" : milliseconds(now.recent_p99_ms), "99 % are faster, last 5 min"]],
  ["tokens", "Tokens per second", (now) => [perSecond(now.tokens), "generated now, all requests"]],
  ["kv", "KV cache in use", (now) => [percent(now.kv_cache_usage), "memory of running requests"]],
  ["queue", "Waiting", (now) => [now.num_waiting.toLocaleString("en"), `${now.num_running.toLocaleString("en")} running`]],
  ["saved", "Time saved", (now) => [longTime(now.total_saved_s), `${numberWords(now.num_cache_entries, "reply", "replies")} kept, ${bytes(now.cache_bytes)}`]],
];

const CHARTS = [
  { title: "Requests", note: "per second", scale: "linear", stacked: true, words: perSecond,
    series: [{ key: "hits", label: "from the cache", look: "area strong" }, { key: "shared", label: "shared", look: "area middle" }, { key: "generated", label: "generated", look: "area faint" }] },
  { title: "Response time", note: "over 10 seconds", scale: "log", words: milliseconds,
    series: [{ key: "p99", label: "99 % below", look: "thin" }, { key: "p90", label: "90 %", look: "dashed" }, { key: "p50", label: "50 %", look: "strong" }] },
  { title: "Tokens", note: "generated per second", scale: "linear", words: perSecond,
    series: [{ key: "tokens", label: "all requests", look: "area soft" }] },
  { title: "Answered from the cache", note: "share, over 10 seconds", scale: "share", words: percent,
    series: [{ key: "hitRate", label: "of all replies", look: "strong" }] },
  { title: "KV cache", note: "share in use", scale: "share", words: percent,
    series: [{ key: "kv", label: "of its blocks", look: "area soft" }] },
  { title: "Queue", note: "requests", scale: "linear", smallest: 2, words: perSecond,
    series: [{ key: "running", label: "running", look: "strong" }, { key: "waiting", label: "waiting", look: "thin" }] },
];

const tiles = TILES.map(([id, label]) => {
  const [value, note] = [el("span", { className: "number", textContent: "–" }), el("span", { className: "soft" })];
  $("tiles").append(el("div", { className: "tile", id: `tile-${id}` }, el("dt", { textContent: label }), el("dd", {}, value, note)));
  return { value, note };
});
const charts = CHARTS.map((options) => new Chart({ ...options, onCursor: moveCursor }));
$("charts").append(...charts.map((chart) => chart.element));

/* ---- from samples to points ---- */

const sum = (list, key) => list.reduce((total, sample) => total + sample[key], 0);
const most = (list, key) => Math.max(...list.map((sample) => sample[key]));

/** The share of kept replies among those of the seconds before sample `i`, or null if there were none. */
function hitRate(all, i) {
  const latest = all.slice(Math.max(0, i + 1 - RATE_S), i + 1);
  const numReplies = sum(latest, "num_replies");
  return numReplies > 0 ? sum(latest, "num_hits") / numReplies : null;
}

/** The samples of the span, joined into equal steps of time; a step without samples is a gap. */
function toPoints(all) {
  if (all.length === 0) return [];
  const stepMs = span.step * 1000;
  const stepOf = (sample) => Math.floor(sample.time_ms / stepMs);
  const last = stepOf(all.at(-1));
  const steps = new Map();
  all.forEach((sample, i) => {
    const step = stepOf(sample);
    if (!steps.has(step)) steps.set(step, []);
    steps.get(step).push(i);
  });
  const found = [];
  for (let step = last - spanS / span.step + 1; step <= last; step += 1) {
    const indices = steps.get(step) ?? (span.step === 1 ? nearest(steps, step) : null);
    found.push(indices ? point(all, indices, step * stepMs) : { time: step * stepMs });
  }
  return found;
}

/** Samples are a second apart, but not to the millisecond: a second between two of them is no gap. */
function nearest(steps, step) {
  return steps.has(step - 1) && steps.has(step + 1) ? steps.get(step - 1) : null;
}

function point(all, indices, time) {
  const list = indices.map((i) => all[i]);
  const newest = list.at(-1);
  const seconds = sum(list, "interval_s") || 1;
  const rate = (key) => sum(list, key) / seconds;
  return {
    time,
    hits: rate("num_hits"), shared: rate("num_coalesced"), generated: Math.max(0, rate("num_replies") - rate("num_hits") - rate("num_coalesced")),
    p50: newest.p50_ms, p90: newest.p90_ms, p99: newest.p99_ms,
    tokens: rate("num_generated_tokens"), hitRate: hitRate(all, indices.at(-1)),
    kv: most(list, "kv_cache_usage"), running: most(list, "num_running"), waiting: most(list, "num_waiting"),
  };
}

/* ---- drawing ---- */

let isScheduled = false;
function schedule() {
  if (isScheduled) return;
  isScheduled = true;
  requestAnimationFrame(() => {
    isScheduled = false;
    draw();
  });
}

function draw() {
  const all = paused ? shown : samples;
  const newest = all.at(-1);
  if (!newest) return;
  const latest = all.slice(-NOW_S);
  const seconds = sum(latest, "interval_s") || 1;
  const now = { ...newest, replies: sum(latest, "num_replies") / seconds, tokens: sum(latest, "num_generated_tokens") / seconds };
  TILES.forEach(([, , words], i) => {
    [tiles[i].value.textContent, tiles[i].note.textContent] = words(now);
  });
  $("quiet").hidden = newest.total_replies > 0;
  points = toPoints(all);
  for (const chart of charts) chart.draw(points, span.words);
  showCursor();
  if ($("table-box").open) drawTable();
}

const COLUMNS = [["Time"], ...CHARTS.flatMap(({ title, note, series, words }) =>
  series.map(({ key, label }) => [`${title}, ${label}`, key, words, note]))];

function drawTable() {
  const head = el("tr", {}, ...COLUMNS.map(([label, , , note]) =>
    el("th", { scope: "col", textContent: note ? `${label} (${note})` : label })));
  const rows = points.filter((it) => it.kv !== undefined).toReversed().map((it) =>
    el("tr", {}, el("th", { scope: "row", textContent: clock(it.time) }),
      ...COLUMNS.slice(1).map(([, key, words]) => el("td", { textContent: (it[key] ?? null) === null ? "–" : words(it[key]) }))));
  $("table").replaceChildren(el("caption", { className: "soft", textContent: `The last ${span.words}, newest first, in steps of ${span.step} s` }),
    el("thead", {}, head), el("tbody", {}, ...rows));
}

/** The moment is remembered as a time, so that it moves with the graphs. */
let cursorTime = null;
function moveCursor(index) {
  cursorTime = index === null ? null : points[index]?.time ?? null;
  showCursor();
}

function showCursor() {
  const index = cursorTime === null ? -1 : points.findIndex(({ time }) => time >= cursorTime);
  cursor = index < 0 ? null : index;
  const words = cursor === null ? "" : clock(points[cursor].time);
  for (const chart of charts) chart.setCursor(cursor, words);
}

/* ---- controls ---- */

$("span").onchange = ({ target }) => {
  spanS = Number(target.value);
  span = SPANS[spanS];
  draw();
};

$("pause").onclick = () => {
  paused = !paused;
  shown = [...samples];
  $("pause").setAttribute("aria-pressed", String(paused));
  $("pause").replaceChildren(icon(paused ? "play" : "pause"), el("span", { textContent: paused ? "Go on" : "Pause" }));
  showState();
  draw();
};

$("table-box").ontoggle = () => { if ($("table-box").open) drawTable(); };

/* ---- the server ---- */

let connection = ["loading", "connecting"];
function showState(state = connection) {
  connection = state;
  const [kind, words] = paused && state[0] === "on" ? ["loading", "paused"] : state;
  $("state").dataset.state = kind;
  if ($("state-text").textContent !== words) $("state-text").textContent = words;
}

function take(sample) {
  samples.push(sample);
  const oldest = sample.time_ms - 1000 * (KEPT_S + RATE_S);
  if (samples[0].time_ms < oldest) samples = samples.filter(({ time_ms: time }) => time >= oldest);
  showState(["on", "live"]);
  if (!paused) schedule();
}

/** Listens for as long as the page is open, and comes back when the server does. */
async function listen() {
  for (let waitMs = 500; ; waitMs = Math.min(2 * waitMs, MAX_WAIT_MS)) {
    try {
      for await (const sample of watchPerformance(samples.at(-1)?.time_ms)) {
        take(sample);
        waitMs = 500;
      }
    } catch (error) {
      if (error.kind === "key") {
        showState(["off", "needs a key"]);
        await new Promise(askForKey);
        continue;
      }
      if (error.kind === "busy" && error.retryAfterS > 0) waitMs = Math.max(waitMs, 1000 * error.retryAfterS);
    }
    showState(["off", "not connected"]);
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

listen();

// What is shown: the trace, the backends, the segment of time, selections, tables, the theme. The
// fragment of the address has all of it, so that a link restores the view.

const view = {
  /** The number of the trace. */
  trace: 0,
  /** The numbers of backends that are switched off. */
  hidden: new Set(),
  /** The segment of the trace in calls; `null` for the whole. */
  segment: null,
  /** What lies across: "calls" or "clock". */
  axis: "calls",
  /** The memory that is drawn: "cause" or "resident". */
  memory: "cause",
  /** The range of the percentiles in decades of rarity; `null` for all. */
  decades: null,
  /** The open cell of the heap map: backend, row and column. */
  heapCell: null,
  /** The open cell of the latency map: backend, band and column. */
  latencyCell: null,
  /** The moment of the table of lines. */
  moment: null,
  /** By name of a table: the column by which it is sorted, whether falling, and the filter. */
  tables: new Map(),
  /** What else is chosen, by name: the part and the measure of two sides. */
  choices: new Map(),
  /** "auto", "light" or "dark". */
  theme: "auto",
};

const currentTrace = () => model.traces[view.trace];

/** Those of a list with backends that are switched on. */
const shown = (list) => list.filter((item) => !view.hidden.has(item.backend));

/** The segment in calls, also where the whole trace is shown. */
function segment() {
  return view.segment || [0, Math.max(currentTrace().calls, 1)];
}

function setSegment(from, to) {
  const calls = currentTrace().calls;
  const least = Math.min(calls, 10);
  from = Math.max(0, Math.min(Math.round(from), calls - least));
  to = Math.min(calls, Math.max(Math.round(to), from + least));
  view.segment = from === 0 && to === calls ? null : [from, to];
  changed();
}

/** Shows a part of the segment around a call: half of it for 0.5, twice as much for 2. */
function zoomBy(factor, around) {
  const [from, to] = segment();
  const middle = around ?? (from + to) / 2;
  setSegment(middle - (middle - from) * factor, middle + (to - middle) * factor);
}

function tableView(name) {
  if (!view.tables.has(name)) view.tables.set(name, { column: null, falling: false, find: "" });
  return view.tables.get(name);
}

/** The view as a fragment; what is as at first is left out. */
function fragment() {
  const parts = new URLSearchParams();
  if (view.trace) parts.set("trace", view.trace + 1);
  if (view.hidden.size) parts.set("off", [...view.hidden].sort((a, b) => a - b).join("."));
  if (view.segment) parts.set("calls", view.segment.join("-"));
  if (view.axis !== "calls") parts.set("axis", view.axis);
  if (view.memory !== "cause") parts.set("memory", view.memory);
  if (view.decades) parts.set("decades", view.decades.map((decade) => decade.toFixed(3)).join("-"));
  if (view.heapCell) parts.set("heap", view.heapCell.join("."));
  if (view.latencyCell) parts.set("latency", view.latencyCell.join("."));
  if (view.moment) parts.set("moment", view.moment);
  for (const [name, table] of view.tables) {
    if (table.column != null) parts.set(`sort.${name}`, `${table.column}${table.falling ? "-" : "+"}`);
    if (table.find) parts.set(`find.${name}`, table.find);
  }
  for (const [name, value] of view.choices) parts.set(`choose.${name}`, value);
  if (view.theme !== "auto") parts.set("theme", view.theme);
  return parts.toString();
}

/** Reads the view from a fragment. What cannot be read, or names nothing, is left as at first. */
function readFragment(text) {
  const parts = new URLSearchParams(text);
  const numbers = (name, separator, length) => {
    const found = (parts.get(name) || "").split(separator).map(Number);
    return found.length === length && found.every(Number.isFinite) ? found : null;
  };
  const one = (name, known) => (known.includes(parts.get(name)) ? parts.get(name) : known[0]);
  const trace = Number(parts.get("trace") || 1) - 1;
  view.trace = model.traces[trace] ? trace : 0;
  const off = (parts.get("off") || "")
    .split(".")
    .filter((text) => text !== "")
    .map(Number);
  view.hidden = new Set(off.filter((number) => model.backends[number]));
  const calls = currentTrace()?.calls ?? 0;
  const range = numbers("calls", "-", 2);
  view.segment = range && range[0] >= 0 && range[0] < range[1] && range[1] <= calls ? range : null;
  view.axis = one("axis", ["calls", "clock"]);
  view.memory = one("memory", ["cause", "resident"]);
  const decades = numbers("decades", "-", 2);
  view.decades = decades && decades[0] < decades[1] ? decades : null;
  view.heapCell = numbers("heap", ".", 3);
  view.latencyCell = numbers("latency", ".", 3);
  view.moment = parts.get("moment");
  view.tables.clear();
  view.choices.clear();
  for (const [key, value] of parts) {
    const sort = key.startsWith("sort.") && value.match(/^(\d+)([+-])$/);
    if (sort)
      Object.assign(tableView(key.slice(5)), { column: Number(sort[1]), falling: sort[2] === "-" });
    if (key.startsWith("choose.")) view.choices.set(key.slice(7), value);
    if (key.startsWith("find.")) tableView(key.slice(5)).find = value;
  }
  view.theme = one("theme", ["auto", "light", "dark"]);
}

let redrawAll = () => {};
let isRedrawDue = false;

/** The view has changed: the address follows at once, the page with the next frame. */
function changed() {
  const text = fragment();
  try {
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  } catch {
    location.hash = text;
  }
  redrawSoon();
}

function redrawSoon() {
  if (isRedrawDue) return;
  isRedrawDue = true;
  requestAnimationFrame(() => {
    isRedrawDue = false;
    redrawAll();
  });
}

// Colours.

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return view.theme === "dark" || (view.theme === "auto" && prefersDark.matches);
}

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** A mixture of two colours; `share` is the part of the second. */
function mixed(one, other, share) {
  const to = channels(other);
  const mix = channels(one).map((value, at) => Math.round(value + (to[at] - value) * share));
  return `#${mix.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** A colour of a picture, as it can be seen on the ground of the page. */
function onGround(colour) {
  if (!isDark()) return colour;
  const [red, green, blue] = channels(colour);
  const lightness = (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
  if (lightness > 0.75) return mixed(colour, "#16181b", 0.6);
  if (lightness < 0.2) return mixed(colour, "#ffffff", 0.75);
  return lightness < 0.45 ? mixed(colour, "#ffffff", 0.12) : colour;
}

const backendColour = (number) => onGround(model.backends[number].colour);

/** Colours of the style sheet by their names there, read once for each redraw. */
const inks = new Map();

function ink(name) {
  if (!inks.has(name)) {
    const style = getComputedStyle(document.documentElement);
    inks.set(name, style.getPropertyValue(`--${name}`).trim());
  }
  return inks.get(name);
}

/** The dash of a line: backends of one family differ by it. */
function dashOf(number) {
  return [[], [7, 3], [2, 3], [9, 3, 2, 3]][model.backends[number].variant % 4];
}

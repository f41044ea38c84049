// The run as the page has it, and numbers as text. All other files read the run by this one.

const model = JSON.parse(document.getElementById("model").textContent);
if (!model || model.version !== 1) throw new Error("the data of this page have another version");

/** An element with attributes and children. Text is always text: no markup comes from the run. */
function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** A part of the page: a section with its heading, by which it is named. */
function section(id, title, ...children) {
  const heading = el("h3", { id: `${id}-title` }, title);
  return el("section", { id, "aria-labelledby": `${id}-title` }, heading, ...children);
}

/** What a person reads before a view. */
function reading(...text) {
  return el("p", { class: "read" }, ...text);
}

/**
 * A panel that an open cell fills. `view[key]` is the open cell, `[backend, row, column]`, or `null`;
 * `plotOf(backend)` is the plot of a backend. `open` opens a cell and takes the focus to the panel when
 * it is drawn; `close` closes it, as Escape does, and gives the focus back to the plot.
 */
function cellPanel(id, label, key, plotOf) {
  const element = el("div", { class: "detail", id, tabindex: -1, role: "region", "aria-label": label });
  let isToShow = false;
  const open = (cell) => {
    view[key] = cell;
    isToShow = true;
    changed();
  };
  const close = () => {
    const plot = view[key] && plotOf(view[key][0]);
    view[key] = null;
    changed();
    plot?.canvas.focus({ preventScroll: true });
  };
  const draw = (children) => {
    element.replaceChildren(...children);
    if (isToShow) {
      element.focus({ preventScroll: true });
      element.scrollIntoView({ block: "nearest" });
    }
    isToShow = false;
  };
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    close();
  });
  return { element, open, close, draw };
}

/** Pictures lie beside the page. Where one is not there, a sentence takes its place. */
function replaceMissingPictures() {
  const replace = (picture) => {
    const file = picture.getAttribute("src");
    const text = `The picture ${file} is a file of the run folder. It is not beside this page.`;
    picture.closest("figure").replaceChildren(el("p", { class: "soft missing" }, text));
  };
  for (const picture of document.querySelectorAll("figure img")) {
    if (picture.complete && !picture.naturalWidth) replace(picture);
    else picture.addEventListener("error", () => replace(picture));
  }
}
replaceMissingPictures();

/** The values whose differences are given. */
function sums(differences) {
  let total = 0;
  return Float64Array.from(differences, (step) => (total += step));
}

const decodedHeaps = new Map();

/**
 * The heaps of a trace, decoded: `events`, `clock`, and the boundaries between the parts of resident
 * memory from the bottom. Each boundary is at least the one below: where the kernel's count lags, a
 * part is empty, never negative. `raw` has the columns as the record has them.
 */
function heapsOf(trace) {
  if (!decodedHeaps.has(trace)) decodedHeaps.set(trace, trace.heaps.map(decodeHeap));
  return decodedHeaps.get(trace);
}

function decodeHeap(heap) {
  const raw = {
    live: sums(heap.live_bytes),
    usable: sums(heap.usable_bytes),
    inUse: sums(heap.pages_in_use_bytes),
    resident: sums(heap.resident_bytes),
  };
  const above = (below, own) => own.map((value, at) => Math.max(value, below[at]));
  const usable = above(raw.live, raw.usable);
  const inUse = above(usable, raw.inUse);
  return {
    backend: heap.backend,
    memory: heap.memory,
    lines: heap.lines,
    events: sums(heap.events),
    clock: sums(heap.clock_bytes),
    boundaries: [raw.live, usable, inUse, above(inUse, raw.resident)],
    raw,
  };
}

/** The parts of resident memory, from the bottom. */
const PARTS = [
  { name: "live", colour: model.colours.live },
  { name: "rounding", colour: model.colours.rounding },
  { name: "free space on pages in use", colour: model.colours.free_space },
  { name: "retained", colour: model.colours.retained },
];

/** The bytes of each part at a sample. */
function partsAt(heap, sample) {
  return heap.boundaries.map((own, at) => own[sample] - (at ? heap.boundaries[at - 1][sample] : 0));
}

/** The number of values of a rising list that are at most `value`. */
function countUpTo(list, value) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The place of the value that is nearest to `value` in a rising list. */
function nearest(list, value) {
  const above = Math.min(countUpTo(list, value), list.length - 1);
  const below = Math.max(above - 1, 0);
  return Math.abs(list[below] - value) <= Math.abs(list[above] - value) ? below : above;
}

/** The value at `at` on the line through rising `from` and their `to`, which begins at 0. */
function between(from, to, at) {
  const above = countUpTo(from, at);
  if (above === from.length) return to.length ? to[to.length - 1] : at;
  const [x, y] = above ? [from[above - 1], to[above - 1]] : [0, 0];
  const share = from[above] > x ? (at - x) / (from[above] - x) : 1;
  return y + (to[above] - y) * share;
}

/** The phase of the program in which a call is; empty before its first mark. */
function phaseAt(trace, event) {
  const marks = trace.marks.filter((mark) => mark.event <= event);
  return marks.length ? marks[marks.length - 1].name : "";
}

/** A line as a person knows it, by the rule of `short_line` in src/units/line_name.rs. */
function shortLine(site) {
  if (!site) return "(no line)";
  const frame = site.split(" < ")[0];
  if (frame.startsWith("<frozen ")) return frame.slice("<frozen ".length).replace(">", "");
  const parts = frame.split("/");
  const file = parts.at(-1);
  const folder = parts.at(-2);
  return file.startsWith("__") && folder ? `${folder}/${file}` : file;
}

// Numbers as text, as the tables and pictures of heaplay have them.

function group(digits) {
  return digits.length <= 4 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Two digits below 10, none after the point from 10 on. */
function figure(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  let text;
  if (size === 0) text = "0";
  else if (size < 0.001 || size >= 1e15) text = size.toExponential(1);
  else if (size < 0.0995) text = size.toFixed(3);
  else if (size < 0.995) text = size.toFixed(2);
  else if (size < 9.95) text = size.toFixed(1);
  else text = group(size.toFixed(0));
  return value < 0 ? `−${text}` : text;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** The unit in which so many bytes are a number from 1 to 1023. */
function byteUnit(largest) {
  let at = 0;
  while (at + 1 < BYTE_UNITS.length && largest >= 1024 ** (at + 1)) at += 1;
  return { name: BYTE_UNITS[at], size: 1024 ** at };
}

function bytes(value) {
  const unit = byteUnit(Math.abs(value));
  return `${figure(value / unit.size)}\u00a0${unit.name}`;
}

function nanoseconds(value) {
  const units = [
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
    [1, "ns"],
  ];
  const [size, name] = units.find(([size]) => Math.abs(value) >= 0.9995 * size) || [1, "ns"];
  return `${figure(value / size)}\u00a0${name}`;
}

/** A count of calls, in millions where it is large. */
function count(value) {
  if (value < 1e6) return group(Math.round(value).toString());
  const [size, name] = value < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${(value / size).toFixed(2).replace(/\.?0+$/, "")}\u00a0${name}`;
}

/** A number of things: `1 block`, `2 blocks`. */
function countOf(value, thing) {
  return `${count(value)} ${value === 1 ? thing : `${thing}s`}`;
}

/** A share from 0 to 1. */
function percent(share) {
  return `${figure(share * 100)}\u00a0%`;
}

/** A list in a sentence. */
function listed(names) {
  if (names.length < 2) return names.join("");
  return `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}

// CSV of what is shown.

/** Rows as CSV; the first is the header. */
function csv(rows) {
  const cell = (value) => {
    const text = String(value ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",") + "\n").join("");
}

/** The name of a file: what it is of, then what it is. */
function fileName(...parts) {
  const plain = (part) => part.replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+|-+$/g, "");
  return `${parts.map(plain).filter(Boolean).join("-")}.csv`;
}

/**
 * A button that saves rows as a file, by `name` after the trace that is shown. `rows`, and `name` where it
 * is a function, are called when it is pressed. `isOfRun` is of what all traces share.
 */
function csvButton(name, rows, what, isOfRun = false) {
  const save = () => {
    const own = typeof name === "function" ? name() : name;
    const trace = isOfRun ? "run" : (model.traces?.[view.trace]?.name ?? "");
    const link = el("a", { download: fileName(trace, own) });
    link.href = URL.createObjectURL(new Blob([csv(rows())], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  return el(
    "button",
    { type: "button", class: "csv", "aria-label": `CSV of ${what}`, onclick: save },
    "CSV",
  );
}

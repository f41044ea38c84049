// A plot on a canvas: axes with units, a reading line that the pointer or the arrow keys move, and a
// range that is chosen by dragging.

/** Rising round values of a range, about `wanted` of them. */
function roundSteps(from, to, wanted) {
  const span = to - from;
  if (!(span > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power * wanted >= span) || 10);
  const steps = [];
  for (let at = Math.ceil(from / step); at * step <= to + step * 1e-9; at += 1) steps.push(at * step);
  return steps;
}

/** Ticks of bytes: round in the unit of the largest. */
function byteTicks(from, to, wanted) {
  const unit = byteUnit(to);
  const values = roundSteps(from / unit.size, to / unit.size, wanted);
  const digits = values.some((value) => value % 1)
    ? values.some((value) => (value * 10) % 1)
      ? 2
      : 1
    : 0;
  return values.map((value) => ({
    at: value * unit.size,
    text: `${value.toFixed(digits)} ${unit.name}`,
  }));
}

function callTicks(from, to, wanted) {
  return roundSteps(from, to, wanted).map((value) => ({ at: value, text: count(value) }));
}

/** Ticks of powers of ten in nanoseconds. */
function timeTicks(from, to) {
  const ticks = [];
  if (!(from > 0 && to < Infinity)) return ticks;
  for (let power = Math.ceil(Math.log10(from)); 10 ** power <= to; power += 1) {
    ticks.push({ at: 10 ** power, text: nanoseconds(10 ** power).replace(".0\u00a0", "\u00a0") });
  }
  return ticks;
}

/**
 * Plots are painted when they come near the window: sixty of them are no more work than six. The others
 * follow while the page is idle, so that a picture of the whole page has them.
 */
const nearWindow = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const plot = entry.target.plot;
      plot.isNear = entry.isIntersecting;
      if (plot.isNear && plot.isDue) plot.paint();
    }
  },
  { rootMargin: "300px" },
);

/** The plots that are to be painted, though they are not near the window. */
const plotsToPaint = new Set();
let isIdlePaintDue = false;

/** Paints them while nothing else is to be done. Those that are near, or replaced, are no longer due. */
function paintWhenIdle() {
  if (isIdlePaintDue || !plotsToPaint.size) return;
  isIdlePaintDue = true;
  const later = window.requestIdleCallback ?? ((paint) => setTimeout(() => paint(null), 200));
  later((deadline) => {
    isIdlePaintDue = false;
    for (const plot of plotsToPaint) {
      plotsToPaint.delete(plot);
      if (plot.isDue && plot.element.isConnected) plot.paint();
      if (!deadline || deadline.timeRemaining() < 5) break;
    }
    paintWhenIdle();
  });
}

/** Paints all at once: before the page is printed. */
function paintAll() {
  for (const plot of plotsToPaint) if (plot.isDue && plot.element.isConnected) plot.paint();
  plotsToPaint.clear();
}

addEventListener("beforeprint", paintAll);

class Plot {
  /**
   * `options`: `label` for screen readers, `height` in pixels, `paint(plot)` draws the data,
   * `onRange(from, to)` takes a range of the axis, `onWhole()` shows all, `onZoom(factor, at)`,
   * `onRead(x, y)` takes the place of the reading line, or `null`.
   */
  constructor(options) {
    this.options = options;
    this.margin = { left: 58, right: 10, top: 12, bottom: 22, ...options.margin };
    this.x = { from: 0, to: 1, ticks: [] };
    this.y = { from: 0, to: 1, ticks: [] };
    this.reading = null;
    this.canvas = el("canvas", {
      tabindex: 0,
      role: options.role || "slider",
      "aria-label": options.label,
    });
    this.line = el("div", { class: "reading", hidden: true });
    this.range = el("div", { class: "range", hidden: true });
    this.element = el("div", { class: "plot" }, this.canvas, this.range, this.line);
    this.element.style.height = `${options.height}px`;
    this.element.plot = this;
    this.width = 600;
    this.height = options.height;
    this.isNear = false;
    this.isDue = false;
    nearWindow.observe(this.element);
    this.listen();
  }

  listen() {
    const canvas = this.canvas;
    let from = null;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      from = place(event);
      try {
        canvas.setPointerCapture(event.pointerId);
      } catch {
        // The pointer is gone: then there is nothing to follow.
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      const [left, top] = place(event);
      if (from && this.options.onRange && Math.abs(left - from[0]) > 4) this.markRange(from[0], left);
      this.read(this.valueAt(left), this.heightAt(top));
    });
    canvas.addEventListener("pointerup", (event) => {
      const [left, top] = place(event);
      if (from && this.options.onRange && Math.abs(left - from[0]) > 4) {
        this.options.onRange(...[this.valueAt(from[0]), this.valueAt(left)].sort((a, b) => a - b));
      } else if (from && this.options.onPick) {
        this.options.onPick(this.valueAt(left), this.heightAt(top));
      }
      from = null;
      this.range.hidden = true;
    });
    canvas.addEventListener("pointercancel", () => {
      from = null;
      this.range.hidden = true;
    });
    canvas.addEventListener("pointerleave", () => {
      if (!from && this.options.onLeave) this.options.onLeave();
    });
    if (this.options.onWhole) canvas.addEventListener("dblclick", () => this.options.onWhole());
    canvas.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.altKey && this.key(event)) event.preventDefault();
    });
  }

  /** Acts on a key; whether it did. */
  key(event) {
    const { from, to } = this.x;
    const step = (to - from) / (event.shiftKey ? 10 : 100);
    const at = this.reading ?? (from + to) / 2;
    const clamped = (value) => Math.min(to, Math.max(from, value));
    switch (event.key) {
      case "ArrowLeft":
        this.read(clamped(at - step), null);
        return true;
      case "ArrowRight":
        this.read(clamped(at + step), null);
        return true;
      case "Home":
        this.read(from, null);
        return true;
      case "End":
        this.read(to, null);
        return true;
      case "+":
      case "=":
        this.options.onZoom?.(0.5, at);
        return true;
      case "-":
        this.options.onZoom?.(2, at);
        return true;
      case "0":
        this.options.onWhole?.();
        return true;
      default:
        return false;
    }
  }

  read(x, y) {
    this.reading = Math.min(this.x.to, Math.max(this.x.from, x));
    this.options.onRead?.(this.reading, y);
  }

  markRange(from, to) {
    this.range.hidden = false;
    this.range.style.left = `${Math.min(from, to)}px`;
    this.range.style.width = `${Math.abs(to - from)}px`;
  }

  /** Places the reading line, or removes it. */
  showReading(x, text) {
    const isIn = x != null && x >= this.x.from && x <= this.x.to;
    this.line.hidden = !isIn;
    if (isIn) this.line.style.left = `${this.px(x)}px`;
    if (this.canvas.getAttribute("role") !== "slider") return;
    this.canvas.setAttribute("aria-valuenow", x ?? this.x.from);
    this.canvas.setAttribute("aria-valuetext", text || "no reading");
  }

  /** Draws the plot. `x` and `y` have `from`, `to`, `ticks`; `isLog` and a label are optional. */
  draw(x, y) {
    [this.x, this.y] = [x, y];
    this.canvas.setAttribute("aria-valuemin", x.from);
    this.canvas.setAttribute("aria-valuemax", x.to);
    this.isDue = true;
    if (this.isNear) this.paint();
    else {
      plotsToPaint.add(this);
      paintWhenIdle();
    }
  }

  /** Reads the width. All plots of a view are measured before the first is drawn. */
  measure() {
    this.width = this.element.clientWidth || this.width;
  }

  paint() {
    this.isDue = false;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    const context = this.canvas.getContext("2d");
    this.context = context;
    context.scale(ratio, ratio);
    context.clearRect(0, 0, this.width, this.height);
    this.grid();
    context.save();
    context.beginPath();
    context.rect(this.margin.left, this.margin.top, this.innerWidth(), this.innerHeight());
    context.clip();
    this.options.paint(this);
    context.restore();
  }

  grid() {
    const { context, margin } = this;
    const bottom = this.height - margin.bottom;
    context.font = "11px system-ui, sans-serif";
    context.lineWidth = 1;
    context.strokeStyle = ink("grid");
    context.fillStyle = ink("soft");
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const tick of this.y.ticks) {
      const y = Math.round(this.py(tick.at)) + 0.5;
      if (y < margin.top - 1 || y > bottom + 1) continue;
      context.beginPath();
      context.moveTo(margin.left, y);
      context.lineTo(this.width - margin.right, y);
      context.stroke();
      context.fillText(tick.text, margin.left - 5, y);
    }
    context.textBaseline = "top";
    let free = -Infinity;
    for (const tick of this.x.ticks) {
      const x = this.px(tick.at);
      const half = context.measureText(tick.text).width / 2;
      const centre = Math.min(Math.max(x, margin.left + half - 12), this.width - half - 1);
      context.beginPath();
      context.moveTo(x, bottom);
      context.lineTo(x, bottom + 4);
      context.stroke();
      if (centre - half < free + 6) continue;
      context.textAlign = "center";
      context.fillText(tick.text, centre, bottom + 6);
      free = centre + half;
    }
    context.strokeStyle = ink("axis");
    context.beginPath();
    context.moveTo(margin.left, bottom + 0.5);
    context.lineTo(this.width - margin.right, bottom + 0.5);
    context.stroke();
  }

  innerWidth() {
    return this.width - this.margin.left - this.margin.right;
  }

  innerHeight() {
    return this.height - this.margin.top - this.margin.bottom;
  }

  /** The pixel of a value across. */
  px(value) {
    return this.margin.left + ((value - this.x.from) / (this.x.to - this.x.from)) * this.innerWidth();
  }

  /** The pixel of a value upwards. */
  py(value) {
    const { from, to, isLog } = this.y;
    const share = isLog
      ? Math.log(Math.max(value, from / 10) / from) / Math.log(to / from)
      : (value - from) / (to - from);
    return this.height - this.margin.bottom - share * this.innerHeight();
  }

  /** The value across at a pixel. */
  valueAt(left) {
    const share = (left - this.margin.left) / this.innerWidth();
    return this.x.from + Math.min(1, Math.max(0, share)) * (this.x.to - this.x.from);
  }

  /** The value upwards at a pixel. */
  heightAt(top) {
    const { from, to, isLog } = this.y;
    const share = (this.height - this.margin.bottom - top) / this.innerHeight();
    return isLog ? from * (to / from) ** share : from + share * (to - from);
  }
}

/** The ends of the time axis as it is shown, and its ticks. */
function timeAxis(width) {
  const [from, to] = segment().map(onAxis);
  const wanted = Math.max(2, Math.floor(width / 110));
  const ticks = view.axis === "clock" ? byteTicks(from, to, wanted) : callTicks(from, to, wanted);
  return { from, to: Math.max(to, from + 1e-9), ticks };
}

/** The heap whose samples relate calls and the allocation clock. */
function timeKeeper() {
  const heaps = heapsOf(currentTrace());
  return heaps.reduce(
    (best, heap) => (best && best.events.length >= heap.events.length ? best : heap),
    null,
  );
}

/** The place of a call on the axis. */
function onAxis(event) {
  const heap = view.axis === "clock" ? timeKeeper() : null;
  return heap ? between(heap.events, heap.clock, event) : event;
}

/** The call at a place of the axis. */
function eventAt(place) {
  const heap = view.axis === "clock" ? timeKeeper() : null;
  return heap ? between(heap.clock, heap.events, place) : place;
}

/** Thin lines where the program set marks, with their names where there is space. */
function paintMarks(plot, isNamed) {
  const { context } = plot;
  context.save();
  context.strokeStyle = ink("axis");
  context.fillStyle = ink("soft");
  context.setLineDash([2, 3]);
  context.font = "10px system-ui, sans-serif";
  context.textAlign = "left";
  context.textBaseline = "top";
  const [begin, end] = [plot.margin.left, plot.width - plot.margin.right];
  const placeOf = (mark) => plot.px(view.axis === "clock" ? mark.clock_bytes : mark.event);
  const marks = currentTrace().marks.map((mark) => ({ name: mark.name, x: placeOf(mark) }));
  const visible = marks.filter(({ x }) => x >= begin - 0.5 && x <= end + 0.5);
  for (const { x } of visible) {
    context.beginPath();
    context.moveTo(x, plot.margin.top);
    context.lineTo(x, plot.height - plot.margin.bottom);
    context.stroke();
  }
  if (isNamed) placedNames(context, visible, [begin, end]).forEach(paintName);
  context.restore();

  function paintName({ text, row, left, width }) {
    const top = plot.margin.top + NAME_ROW * row;
    // What is drawn behind a name must not strike it through.
    context.fillStyle = ink("ground");
    context.globalAlpha = 0.75;
    context.fillRect(left - 1, top, width + 2, NAME_ROW);
    context.globalAlpha = 1;
    context.fillStyle = ink("soft");
    context.fillText(text, left, top);
  }
}

/** Pixels of a row of names of marks. */
const NAME_ROW = 11;
/** A part of a name with fewer characters says nothing. */
const NAME_LEAST = 4;

/**
 * The places of names in two rows: each to the right of its line, or to the left where the plot ends. A
 * name is shortened where the next one in its row needs the space, and left out at last.
 */
function placedNames(context, marks, [begin, end]) {
  const ROWS = 2;
  const placed = [];
  const widthOf = (text) => context.measureText(text).width;
  const isFree = (row, left, width) =>
    placed
      .filter((name) => name.row === row)
      .every((name) => left > name.left + name.width + 6 || left + width + 6 < name.left);
  const place = (text, left) => {
    const width = widthOf(text);
    if (!text || left < begin || left + width > end) return false;
    const row = [...Array(ROWS).keys()].find((row) => isFree(row, left, width));
    if (row !== undefined) placed.push({ text, row, left, width });
    return row !== undefined;
  };
  marks.forEach(({ name, x }, at) => {
    const next = marks[at + ROWS]?.x ?? end;
    const whole = widthOf(name);
    const isLast = x + 3 + whole > end;
    if (place(name, isLast ? x - 3 - whole : x + 3)) {
      // A longer one than the space to the next line of its row would leave that without a name.
      if (isLast || x + 3 + whole <= next - 6) return;
      placed.pop();
    }
    place(shortened(name, next - x - 9, widthOf), x + 3);
  });
  return placed;
}

/** The beginning of a name that is no wider than so many pixels; empty where it would say nothing. */
function shortened(name, pixels, widthOf) {
  if (widthOf(name) <= pixels) return name;
  for (let length = name.length - 1; length >= NAME_LEAST; length--) {
    const text = `${name.slice(0, length).trimEnd()}…`;
    if (widthOf(text) <= pixels) return text;
  }
  return "";
}

/** What the plots of the time axis do alike. */
const TIME_KEYS = "Arrow keys move the reading, plus and minus zoom, 0 shows the whole trace.";
const timeActions = {
  onRange: (from, to) => setSegment(eventAt(from), eventAt(to)),
  onWhole: () => setSegment(0, currentTrace().calls),
  onZoom: (factor, at) => zoomBy(factor, eventAt(at)),
};

/** A swatch with the name of a backend. */
function backendName(number) {
  const swatch = el("span", { class: "swatch" });
  swatch.style.background = backendColour(number);
  return el("span", { class: "backend" }, swatch, model.backends[number].name);
}

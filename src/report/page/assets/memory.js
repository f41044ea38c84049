// Memory over time: by cause, a plot for each backend, or the resident memory of all in one. Below:
// the values at the reading line, and what the highest point of the segment is made of.

/**
 * The largest value that plots of these peaks show. A few giants, more than three times above all others,
 * do not flatten the others.
 */
function shownPeak(peaks) {
  const rising = [...peaks].sort((a, b) => a - b);
  for (let at = Math.ceil(rising.length / 2) - 1; at >= 0 && at + 1 < rising.length; at += 1) {
    if (rising[at] > 0 && rising[at + 1] > 3 * rising[at]) return rising[at];
  }
  return rising.at(-1) || 0;
}

/** The samples of a heap that the segment shows: first and last, one beyond on either side. */
function samplesShown(heap) {
  const [from, to] = segment();
  const first = Math.max(0, countUpTo(heap.events, from) - 1);
  return [first, Math.min(heap.events.length - 1, countUpTo(heap.events, to))];
}

/** The first sample with most resident memory in the segment. */
function highestSample(heap) {
  const [from, to] = segment();
  const first = countUpTo(heap.events, from - 1e-9);
  const last = countUpTo(heap.events, to) - 1;
  if (first > last) return nearest(heap.events, (from + to) / 2);
  let best = first;
  for (let at = first; at <= last; at += 1) {
    if (heap.boundaries[3][at] > heap.boundaries[3][best]) best = at;
  }
  return best;
}

/** The points of a boundary in pixels, from the empty heap on. */
function boundaryPoints(plot, heap, boundary) {
  const across = view.axis === "clock" ? heap.clock : heap.events;
  const [first, last] = samplesShown(heap);
  const points = first === 0 ? [[plot.px(0), plot.py(0)]] : [];
  for (let at = first; at <= last; at += 1) {
    points.push([plot.px(across[at]), plot.py(boundary ? boundary[at] : 0)]);
  }
  return points;
}

function trackLine(context, points) {
  points.forEach(([x, y], at) => (at ? context.lineTo(x, y) : context.moveTo(x, y)));
}

function paintArea(plot, lower, upper, colour) {
  const { context } = plot;
  context.beginPath();
  trackLine(context, upper);
  [...lower].reverse().forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.fillStyle = colour;
  context.fill();
}

function paintLine(plot, points, colour, dash = [], width = 1.5) {
  const { context } = plot;
  context.beginPath();
  trackLine(context, points);
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.stroke();
  context.setLineDash([]);
}

/** The name of the process's own curve beside those of backends. */
const PROCESS = "(recorded process)";

/** The memory of the recorded process itself, as a dashed line. */
function paintProcess(plot) {
  const points = currentTrace().process.map(([event, clock, bytes]) => [
    plot.px(view.axis === "clock" ? clock : event),
    plot.py(bytes),
  ]);
  if (points.length) paintLine(plot, points, ink("soft"), [6, 4], 1.5);
}

function paintCauses(plot, heap) {
  const lines = [null, ...heap.boundaries].map((boundary) => boundaryPoints(plot, heap, boundary));
  PARTS.forEach((part, at) => paintArea(plot, lines[at], lines[at + 1], onGround(part.colour)));
  paintLine(plot, lines[4], ink("ink"), [], 1);
  paintProcess(plot);
  paintMarks(plot, true);
}

function paintResident(plot, heaps) {
  if (heaps.length) {
    const live = boundaryPoints(plot, heaps[0], heaps[0].boundaries[0]);
    paintArea(
      plot,
      boundaryPoints(plot, heaps[0], null),
      live,
      mixed(ink("ground"), model.colours.live, 0.35),
    );
  }
  for (const heap of heaps) {
    const points = boundaryPoints(plot, heap, heap.boundaries[3]);
    paintLine(plot, points, backendColour(heap.backend), dashOf(heap.backend), 1.8);
  }
  paintProcess(plot);
  paintMarks(plot, true);
}

/** What is left at the end and after a trim, beside the name of a backend. */
function endText(heap, endName) {
  const { end_bytes: end, trimmed_bytes: trimmed } = heap.memory;
  if (end == null) return "";
  return trimmed == null
    ? `${endName} ${bytes(end)}`
    : `${endName} ${bytes(end)}, after a trim ${bytes(trimmed)}`;
}

function memoryView() {
  const panels = el("div", { class: "panels" });
  const legend = el("p", { class: "legend" });
  const readings = el("div", { class: "scroll" });
  const explained = el("div", { class: "explained" });
  const mode = el(
    "select",
    {
      id: "memory-mode",
      onchange: () => {
        view.memory = mode.value;
        changed();
      },
    },
    el("option", { value: "cause" }, "by cause, each backend"),
    el("option", { value: "resident" }, "resident, all backends"),
  );
  const element = section(
    "memory",
    "Memory over time",
    reading(
      "Retained are whole free pages that the allocator has not returned; the table of memory has what " +
        "its trim returns. The free space on pages in use stays: the table of lines below names the lines " +
        "that retain them. Curves end with the moment that counts as the end: where the program begins to " +
        "end, or the one that was chosen.",
    ),
    el(
      "p",
      { class: "tools" },
      el("label", { for: "memory-mode" }, "Show "),
      mode,
      csvButton(
        "memory-samples",
        () => memoryRows(),
        "the samples in the segment, of the backends that are on",
      ),
    ),
    legend,
    panels,
    readings,
    explained,
  );
  let plots = [];

  /** Reads all plots at a place of the axis. */
  const read = (x) => {
    const event = x == null ? null : eventAt(x);
    const heaps = shown(heapsOf(currentTrace()));
    const text = event == null ? "" : readingText(heaps, event);
    plots.forEach((plot) => plot.showReading(x, text));
    readings.replaceChildren(readingHint(), readingTable(heaps, event));
  };

  const newPlot = (heaps, paint, label) =>
    new Plot({
      label: `${label} ${TIME_KEYS}`,
      height: view.memory === "cause" ? 210 : 360,
      paint,
      onRead: read,
      ...timeActions,
    });

  const build = () => {
    const heaps = shown(heapsOf(currentTrace()));
    mode.value = view.memory;
    panels.className = view.memory === "cause" ? "panels" : "panels single";
    if (view.memory === "cause") {
      plots = heaps.map((heap) =>
        newPlot(
          [heap],
          (plot) => paintCauses(plot, heap),
          `Memory of ${model.backends[heap.backend].name} by cause.`,
        ),
      );
      panels.replaceChildren(
        ...plots.map((plot, at) =>
          el(
            "figure",
            {},
            el(
              "figcaption",
              {},
              backendName(heaps[at].backend),
              el("span", { class: "soft" }, endText(heaps[at], currentTrace().end_name)),
            ),
            plot.element,
          ),
        ),
      );
    } else {
      plots = [newPlot(heaps, (plot) => paintResident(plot, heaps), "Resident memory of all backends.")];
      panels.replaceChildren(el("figure", {}, plots[0].element));
    }
    const swatch = (name, colour) => {
      const box = el("span", { class: "swatch" });
      box.style.background = colour;
      return el("span", { class: "backend" }, box, name);
    };
    const names =
      view.memory === "cause"
        ? PARTS.map((part) => swatch(part.name, onGround(part.colour)))
        : [
            swatch("live", mixed(ink("ground"), model.colours.live, 0.35)),
            ...heaps.map((heap) => backendName(heap.backend)),
          ];
    if (currentTrace().process.length)
      names.push(el("span", { class: "backend" }, "╌ the recorded process itself"));
    legend.replaceChildren(...names);
    if (!heaps.length)
      panels.replaceChildren(el("p", {}, "No backend that is on has memory in the record."));
  };

  const draw = () => {
    const heaps = shown(heapsOf(currentTrace()));
    const peakOf = (heap) => {
      const [first, last] = samplesShown(heap);
      return heap.boundaries[3]
        .subarray(first, last + 1)
        .reduce((most, value) => Math.max(most, value), 0);
    };
    const peaks = heaps.map(peakOf);
    const to = Math.max(shownPeak(peaks) * 1.06, 1);
    const wanted = view.memory === "cause" ? 4 : 7;
    plots.forEach((plot) => plot.measure());
    for (const [at, plot] of plots.entries()) {
      const y = { from: 0, to, ticks: byteTicks(0, to, wanted) };
      plot.draw(timeAxis(plot.width), y);
      const runsOff = view.memory === "cause" && peaks[at] > to;
      plot.element.dataset.note = runsOff ? `up to ${bytes(peaks[at])}` : "";
    }
    read(null);
    explained.replaceChildren(...explanation(heaps).filter(Boolean));
  };
  return { element, build, draw };
}

/** The samples in the segment, of the backends that are on, as the record has them. */
function memoryRows() {
  const header = [
    "trace",
    "backend",
    "event",
    "clock_bytes",
    "live_bytes",
    "usable_bytes",
    "pages_in_use_bytes",
    "resident_bytes",
  ];
  const [from, to] = segment();
  const rows = [header];
  for (const heap of shown(heapsOf(currentTrace()))) {
    const { raw, events, clock } = heap;
    for (let at = 0; at < events.length; at += 1) {
      if (events[at] < from || events[at] > to) continue;
      rows.push([
        currentTrace().name,
        model.backends[heap.backend].name,
        events[at],
        clock[at],
        raw.live[at],
        raw.usable[at],
        raw.inUse[at],
        raw.resident[at],
      ]);
    }
  }
  for (const [event, clock, resident] of currentTrace().process) {
    if (event < from || event > to) continue;
    rows.push([currentTrace().name, PROCESS, event, clock, "", "", "", resident]);
  }
  return rows;
}

function readingHint() {
  return el(
    "p",
    { class: "soft" },
    "Point at a curve, or press the arrow keys on it, to read values. Drag to choose a segment; " +
      "double-click or 0 shows the whole trace.",
  );
}

/** The reading in a sentence, for screen readers. */
function readingText(heaps, event) {
  const values = heaps.slice(0, 4).map((heap) => {
    const at = nearest(heap.events, event);
    return `${model.backends[heap.backend].name} ${bytes(heap.boundaries[3][at])}`;
  });
  return `call ${count(event)}: resident ${values.join(", ")}`;
}

/** The values at a call; without one, dashes, so that a reading moves nothing. */
function readingTable(heaps, event) {
  const header = ["backend", "sample at call", "resident", ...PARTS.map((part) => part.name)];
  const rows = heaps.map((heap) => {
    const at = nearest(heap.events, event ?? 0);
    const values = [
      count(heap.events[at]),
      bytes(heap.boundaries[3][at]),
      ...partsAt(heap, at).map(bytes),
    ];
    const cells = event == null ? values.map(() => "–") : values;
    return el(
      "tr",
      {},
      el("td", {}, backendName(heap.backend)),
      ...cells.map((text) => el("td", {}, text)),
    );
  });
  const { process } = currentTrace();
  if (process.length) {
    const at = nearest(
      process.map(([call]) => call),
      event ?? 0,
    );
    const own = event == null ? ["–", "–"] : [count(process[at][0]), bytes(process[at][2])];
    const cells = [PROCESS, ...own, ...PARTS.map(() => "–")];
    rows.push(el("tr", {}, ...cells.map((text) => el("td", {}, text))));
  }
  const phase = event == null ? "" : phaseAt(currentTrace(), event);
  const at = `At call ${count(event)}${phase ? `, in the phase “${phase}”` : ""}`;
  return el(
    "table",
    { class: "readings" },
    el("caption", {}, event == null ? "No reading" : at),
    el("thead", {}, el("tr", {}, ...header.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, ...rows),
  );
}

/** What the highest point of the segment is made of, by backend, and which lines hold it. */
function explanation(heaps) {
  if (!heaps.length) return [];
  const trace = currentTrace();
  const [from, to] = segment();
  const last = Math.max(...heaps.map((heap) => heap.events[heap.events.length - 1]));
  if (from > last) {
    const end = `${trace.end_name}, call ${count(last)}`;
    const text = `No memory is recorded after its end (${end}): the segment begins later.`;
    return [
      el("h4", {}, "The highest point of the segment"),
      el("p", { id: "highest-sentence" }, text),
    ];
  }
  const highest = heaps.map((heap) => ({ heap, at: highestSample(heap) }));
  // A giant that runs off the plots has a row in the table. The sentence is about the others.
  const residentOf = (one) => one.heap.boundaries[3][one.at];
  const usual = shownPeak(highest.map(residentOf));
  const top = highest
    .filter((one) => residentOf(one) <= usual)
    .reduce((most, one) => (residentOf(one) > residentOf(most) ? one : most));
  const giants = highest
    .filter((one) => residentOf(one) > usual)
    .map((one) => `${model.backends[one.heap.backend].name} has ${bytes(residentOf(one))}`);
  const where = (one) => {
    const phase = phaseAt(trace, one.heap.events[one.at]);
    return `call ${count(one.heap.events[one.at])}${phase ? `, in the phase “${phase}”` : ""}`;
  };
  const parts = partsAt(top.heap, top.at);
  const name = model.backends[top.heap.backend].name;
  const opening = view.segment
    ? `In calls ${count(from)} to ${count(to)} (${percent((to - from) / trace.calls)} of the trace)`
    : "In the whole trace";
  const sentence =
    `${opening} memory is highest under ${name}: ` +
    `${bytes(top.heap.boundaries[3][top.at])} resident at ${where(top)}. ` +
    `That is ${listed(parts.map((size, at) => `${bytes(size)} ${PARTS[at].name}`))}.` +
    (giants.length ? ` Far above it, ${listed(giants)}.` : "");
  const header = [
    "backend",
    "highest",
    "at call",
    ...PARTS.map((part) => part.name),
    "largest overhead",
  ];
  const rows = highest.map((one) => {
    const own = partsAt(one.heap, one.at);
    const overhead = [1, 2, 3].reduce((most, part) => (own[part] > own[most] ? part : most));
    const cells = [
      bytes(one.heap.boundaries[3][one.at]),
      count(one.heap.events[one.at]),
      ...own.map(bytes),
      own[overhead] > 0 ? PARTS[overhead].name : "none",
    ];
    return el(
      "tr",
      {},
      el("td", {}, backendName(one.heap.backend)),
      ...cells.map((text) => el("td", {}, text)),
    );
  });
  const table = el(
    "table",
    { class: "highest" },
    el("caption", {}, "The highest point of the segment, by backend"),
    el("thead", {}, el("tr", {}, ...header.map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, ...rows),
  );
  return [
    el("h4", {}, "The highest point of the segment"),
    el("p", { id: "highest-sentence" }, sentence),
    el("div", { class: "scroll" }, table),
    linesAt(top),
  ];
}

/** The lines that hold most at a sample: those of the nearest sample that has its lines. */
function linesAt({ heap, at }) {
  const trace = currentTrace();
  const eventOf = ([sample]) => heap.events[sample];
  const distance = (one) => Math.abs(eventOf(one) - heap.events[at]);
  const near = heap.lines.reduce(
    (best, one) => (best && distance(best) <= distance(one) ? best : one),
    null,
  );
  // A trace without lines, and an older record.
  if (!near) return null;
  const [, lines] = near;
  const text = lines.map(
    ([site, blocks, size]) =>
      `${shortLine(trace.sites[site])} (${bytes(size)} in ${countOf(blocks, "block")})`,
  );
  const away = distance(near) / Math.max(trace.calls, 1);
  const when =
    away < 0.0005 ? "Then" : `At call ${count(eventOf(near))}, ${percent(away)} of the trace away,`;
  return el("p", { id: "highest-lines" }, `${when} the lines that hold most are ${listed(text)}.`);
}

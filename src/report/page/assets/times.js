// Service times: percentiles, a plot for each operation, and their map over the replay.

/** The nanoseconds of a curve of steps at a decade of rarity. */
function timeAt(steps, decade) {
  const step = steps.find(([end]) => end >= decade) || steps.at(-1);
  return step ? step[1] : null;
}

function rarity(decade) {
  const superscript = (digits) => [...digits].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  if (decade <= 3.5) return `1 in ${group(Math.round(10 ** decade).toString())}`;
  return Number.isInteger(decade)
    ? `1 in 10${superscript(String(decade))}`
    : `1 in ${count(10 ** decade)}`;
}

function percentilesView() {
  const allNotice = notice();
  const showAll = () => {
    allNotice.show(view.decades ? "All percentiles are shown." : "All percentiles were shown already.");
    setDecades(null);
  };
  const whole = el(
    "p",
    { class: "soft of-whole" },
    "Percentiles are those of the whole trace, not of the segment.",
  );
  const panels = el("div", { class: "panels" });
  const legend = el("p", { class: "legend" });
  const readings = el("div", { class: "scroll" });
  const element = section(
    "percentiles",
    "Service time by percentile",
    reading(
      "To the right calls are rarer. Lower is better. Solid is the median over " +
        "the replays, call by call. Dotted is one raw replay, with what the machine adds. A faint end has " +
        "fewer than ten slower calls.",
    ),
    el(
      "p",
      { class: "tools" },
      el("button", { type: "button", onclick: showAll }, "All percentiles"),
      allNotice.element,
      csvButton("percentile-curves", () => percentileRows(), "the percentiles that are shown"),
    ),
    whole,
    legend,
    panels,
    readings,
  );
  let plots = [];
  const setDecades = (range) => {
    view.decades = range;
    changed();
  };
  const most = () =>
    Math.max(
      1,
      ...currentTrace().percentiles.map((operation) => Math.log10(Math.max(operation.calls, 10)) + 0.2),
    );
  const across = () => view.decades || [0, most()];

  const read = (decade) => {
    const texts = currentTrace().percentiles.map((operation) => {
      const values = shown(operation.curves).map(
        (curve) => `${model.backends[curve.backend].name} ${nanoseconds(timeAt(curve.steps, decade))}`,
      );
      return `${operation.operation}, ${rarity(decade)}: ${values.join(", ")}`;
    });
    plots.forEach((plot, at) => plot.showReading(decade, decade == null ? "" : texts[at]));
    readings.replaceChildren(percentileTable(decade));
  };

  const build = () => {
    const operations = currentTrace().percentiles;
    plots = operations.map(
      (operation) =>
        new Plot({
          label:
            `Service times of ${operation.operation} by percentile. ` +
            "Arrow keys move the reading, plus and minus zoom, 0 shows all.",
          height: 240,
          paint: (plot) => paintPercentiles(plot, operation),
          onRead: read,
          onRange: (from, to) => setDecades([from, to]),
          onWhole: () => setDecades(null),
          onZoom: (factor, at) => {
            const [from, to] = across();
            const range = [at - (at - from) * factor, at + (to - at) * factor];
            setDecades([Math.max(0, range[0]), Math.min(most(), range[1])]);
          },
        }),
    );
    panels.replaceChildren(
      ...plots.map((plot, at) =>
        el(
          "figure",
          {},
          el(
            "figcaption",
            {},
            operations[at].operation,
            el("span", { class: "soft" }, `${count(operations[at].calls)} calls`),
          ),
          plot.element,
        ),
      ),
    );
    const backends = new Set(
      operations.flatMap((operation) => shown(operation.curves)).map((curve) => curve.backend),
    );
    legend.replaceChildren(...[...backends].map(backendName));
  };

  const draw = () => {
    const [from, to] = across();
    const times = currentTrace()
      .percentiles.flatMap((operation) => shown(operation.curves))
      .flatMap((curve) =>
        [...curve.steps, ...curve.raw_steps].filter(([end]) => end >= from).map(([, time]) => time),
      );
    // Without any curve the axis is one of no meaning, but an axis.
    const low = Math.max(
      1,
      (times.length ? times.reduce((least, time) => Math.min(least, time)) : 1) / 1.5,
    );
    const high = Math.max(low * 10, times.reduce((largest, time) => Math.max(largest, time), 10) * 1.5);
    const y = { from: low, to: high, isLog: true, ticks: timeTicks(low, high) };
    const ticks = [];
    for (let decade = Math.ceil(from); decade <= to; decade += 1)
      ticks.push({ at: decade, text: rarity(decade) });
    if (ticks.length < 2) ticks.push({ at: from, text: rarity(from) }, { at: to, text: rarity(to) });
    ticks.sort((a, b) => a.at - b.at);
    whole.hidden = !view.segment;
    plots.forEach((plot) => plot.measure());
    plots.forEach((plot) => plot.draw({ from, to, ticks }, y));
    read(null);
  };
  return { element, build, draw };
}

function paintPercentiles(plot, operation) {
  if (model.clock_pair_ns) {
    // Times up to that are the clock's.
    plot.context.fillStyle = ink("grid");
    const top = plot.py(model.clock_pair_ns);
    plot.context.fillRect(plot.margin.left, top, plot.innerWidth(), plot.height);
  }
  const track = (steps, until) => {
    const points = [];
    let before = 0;
    for (const [end, time] of steps) {
      const to = Math.min(end, until);
      if (to > before) points.push([plot.px(before), plot.py(time)], [plot.px(to), plot.py(time)]);
      before = Math.max(before, to);
    }
    return points;
  };
  for (const curve of shown(operation.curves)) {
    const colour = backendColour(curve.backend);
    paintLine(plot, track(curve.raw_steps, Infinity), colour, [1, 3], 1);
    plot.context.globalAlpha = 0.35;
    paintLine(plot, track(curve.steps, Infinity), colour, dashOf(curve.backend), 1.2);
    plot.context.globalAlpha = 1;
    paintLine(plot, track(curve.steps, curve.fact_decades), colour, dashOf(curve.backend), 2);
  }
}

/** The times at a decade of rarity; without one, dashes, so that a reading moves nothing. */
function percentileTable(decade) {
  const operations = currentTrace().percentiles;
  const backends = [
    ...new Set(operations.flatMap((one) => shown(one.curves)).map((curve) => curve.backend)),
  ];
  const cell = (operation, backend) => {
    const curve = operation.curves.find((curve) => curve.backend === backend);
    if (!curve || decade == null) return "–";
    const time = nanoseconds(timeAt(curve.steps, decade));
    return decade > curve.fact_decades ? `${time} (n too small)` : time;
  };
  return el(
    "table",
    { class: "readings" },
    el(
      "caption",
      {},
      decade == null ? "Point at a curve to read it." : `${rarity(decade)} calls takes longer than`,
    ),
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        el("th", { scope: "col" }, "backend"),
        ...operations.map((operation) => el("th", { scope: "col" }, operation.operation)),
      ),
    ),
    el(
      "tbody",
      {},
      ...backends.map((backend) =>
        el(
          "tr",
          {},
          el("td", {}, backendName(backend)),
          ...operations.map((operation) => el("td", {}, cell(operation, backend))),
        ),
      ),
    ),
  );
}

/** The steps of the percentiles that are shown. */
function percentileRows() {
  const rows = [["trace", "operation", "backend", "kind", "one_call_in", "nanoseconds"]];
  for (const operation of currentTrace().percentiles) {
    for (const curve of shown(operation.curves)) {
      const kinds = [
        [curve.is_confirmed ? "confirmed" : "one raw replay", curve.steps],
        ["one raw replay", curve.raw_steps],
      ];
      for (const [kind, steps] of kinds) {
        for (const [decade, time] of steps) {
          if (view.decades && (decade < view.decades[0] || decade > view.decades[1])) continue;
          rows.push([
            currentTrace().name,
            operation.operation,
            model.backends[curve.backend].name,
            kind,
            (10 ** decade).toFixed(1),
            time,
          ]);
        }
      }
    }
  }
  return rows;
}

const decodedCounts = new Map();

/** Column and calls of each cell of a band. */
function countsOf(band) {
  if (decodedCounts.has(band)) return decodedCounts.get(band);
  const counts = new Map();
  let column = 0;
  for (const part of band[2].split(" ")) {
    if (part.startsWith("_")) {
      column += Number(part.slice(1));
    } else if (part !== "") {
      if (Number(part) > 0) counts.set(column, Number(part));
      column += 1;
    }
  }
  decodedCounts.set(band, counts);
  return counts;
}

/** Service times from which a call is a dot of its own, in nanoseconds. */
const DOT_NS = 1e5;

function latencyMapView() {
  const panels = el("div", { class: "stack" });
  const plotOf = (backend) => maps.find(({ map }) => map.backend === backend)?.plot;
  const detail = cellPanel("latency-detail", "The open cell of the service times", "latencyCell", plotOf);
  const width = el("p", { class: "soft width" });
  const shade = el("span", {});
  const element = section(
    "latency-map",
    "Service time over the replay",
    reading(
      shade,
      " A dot is one call of over 100 µs by its " +
        "median over the replays. Ticks at the upper edge are calls that were slow in a part of the " +
        "replays only: machine noise. A cell opens the slow calls of its column.",
    ),
    el(
      "p",
      { class: "tools" },
      csvButton("latency-map-cells", () => latencyRows(), "the cells in the segment"),
    ),
    width,
    panels,
    detail.element,
  );
  let maps = [];

  const build = () => {
    maps = shown(currentTrace().latency_maps).map((map) => {
      const bands = [...map.bands].sort((a, b) => a[0] - b[0]);
      const name = model.backends[map.backend].name;
      const plot = new CellMap({
        label: `Service times of ${name} over the replay. ${MAP_KEYS}`,
        height: 170,
        columns: map.columns,
        rows: bands.length,
        rowBox: (row) => bands[row].slice(0, 2),
        rowAt: (time) => {
          const at = bands.findIndex((band) => time >= band[0] && time < band[1]);
          return at < 0 ? null : at;
        },
        describe: (row, column) => latencyText(plot, map, bands[row], column),
        hint: "Point at a cell, or choose one with the arrow keys.",
        onOpen: (row, column) => detail.open([map.backend, row, column]),
        onClose: detail.close,
        paint: () => paintLatency(plot, map, bands),
        ...timeActions,
      });
      return { map, bands, plot };
    });
    panels.replaceChildren(
      ...maps.map(({ map, plot }) =>
        el("figure", {}, el("figcaption", {}, backendName(map.backend)), plot.element, plot.text),
      ),
    );
    shade.textContent = `The ${isDark() ? "lighter" : "darker"} a cell, the more calls.`;
    element.hidden = !currentTrace().latency_maps.length;
  };

  const draw = () => {
    const bands = maps.flatMap((one) => one.bands);
    const slow = maps.flatMap((one) => one.map.slow_calls.map((call) => call.nanoseconds));
    const from = Math.max(
      1,
      bands.reduce((least, band) => Math.min(least, band[0]), Infinity),
    );
    const to =
      [...slow, ...bands.map((band) => band[1])].reduce((most, time) => Math.max(most, time), 10) * 1.4;
    const y = { from: Number.isFinite(from) ? from : 1, to, isLog: true, ticks: timeTicks(from, to) };
    maps.forEach(({ plot }) => plot.measure());
    for (const { map, plot } of maps) {
      plot.draw(timeAxis(plot.width), y);
      plot.choose(null);
      const open = view.latencyCell;
      plot.showOpened(open && open[0] === map.backend ? { row: open[1], column: open[2] } : null);
    }
    width.textContent =
      maps[0]?.plot.widthText() ?? "No backend with such a map is switched on.";
    detail.draw(latencyDetail(maps, detail.close));
  };
  return { element, build, draw };
}

function latencyText(plot, map, band, column) {
  const calls = countsOf(band).get(column) || 0;
  const [from, to] = plot.callsOfColumn(column);
  return (
    `${model.backends[map.backend].name}: ${count(calls)} of the calls ${count(from)} to ${count(to)} ` +
    `took ${nanoseconds(band[0])} to ${nanoseconds(band[1])}.`
  );
}

function paintLatency(plot, map, bands) {
  const [first, last] = plot.columnsShown();
  let most = 1;
  for (const band of bands) for (const calls of countsOf(band).values()) most = Math.max(most, calls);
  const [pale, dark] = isDark() ? ["#22303d", "#a8d3ff"] : ["#d6e4f0", "#08305f"];
  const shades = Array.from({ length: 33 }, (_, at) => mixed(pale, dark, at / 32));
  const lefts = Array.from({ length: last - first + 1 }, (_, at) =>
    Math.floor(plot.columnBox(first + at)[0]),
  );
  const { context } = plot;
  bands.forEach((band) => {
    const bottom = Math.ceil(plot.py(band[0]));
    const top = Math.floor(plot.py(band[1]));
    for (const [column, calls] of countsOf(band)) {
      if (column < first || column >= last) continue;
      const left = lefts[column - first];
      context.fillStyle = shades[most > 1 ? Math.round((32 * Math.log(calls)) / Math.log(most)) : 32];
      context.fillRect(
        left,
        top,
        Math.max(1, lefts[column - first + 1] - left),
        Math.max(1, bottom - top),
      );
    }
  });
  context.fillStyle = ink("axis");
  for (const event of map.partly_slow_events) {
    context.fillRect(plot.px(onAxis(event)), plot.margin.top, 1, 5);
  }
  context.fillStyle = onGround(model.colours.slow);
  for (const call of map.slow_calls) {
    if (call.nanoseconds < DOT_NS) continue;
    context.beginPath();
    context.arc(plot.px(onAxis(call.event)), plot.py(call.nanoseconds), 3, 0, 2 * Math.PI);
    context.fill();
  }
  paintMarks(plot, false);
}

/** The slow calls in the column of the open cell. */
function latencyDetail(maps, onClose) {
  const open = view.latencyCell;
  const found = open && maps.find((one) => one.map.backend === open[0]);
  if (!found || !found.bands[open[1]] || open[2] >= found.map.columns) return [];
  const [from, to] = found.plot.callsOfColumn(open[2]);
  const calls = found.map.slow_calls.filter((call) => call.event >= from && call.event < to);
  const close = el("button", { type: "button", onclick: onClose }, "Close (Esc)");
  const text = latencyText(found.plot, found.map, found.bands[open[1]], open[2]);
  if (!calls.length)
    return [el("p", {}, `${text} No call of this column is over 10 µs by its own time.`), close];
  const sites = currentTrace().sites;
  const header = ["call", "own time", "seen in", "operation", "line"];
  return [
    el("p", {}, `${text} Calls of this column over 10 µs by their own time:`),
    el(
      "div",
      { class: "scroll" },
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, ...header.map((name) => el("th", { scope: "col" }, name)))),
        el(
          "tbody",
          {},
          ...calls.map((call) =>
            el(
              "tr",
              {},
              ...[
                count(call.event),
                nanoseconds(call.nanoseconds),
                `${call.seen} of ${call.repetitions}`,
                `${call.operation} of ${bytes(call.size_bytes)}`,
                sites[call.site] || "–",
              ].map((cell) => el("td", {}, cell)),
            ),
          ),
        ),
      ),
    ),
    close,
  ];
}

/** The cells of the latency maps in the segment. */
function latencyRows() {
  const rows = [["trace", "backend", "from_nanoseconds", "to_nanoseconds", "first_call", "calls"]];
  const calls = Math.max(currentTrace().calls, 1);
  const [from, to] = segment();
  for (const map of shown(currentTrace().latency_maps)) {
    for (const band of map.bands) {
      for (const [column, number] of countsOf(band)) {
        const first = (column * calls) / map.columns;
        if (first + calls / map.columns <= from || first >= to) continue;
        rows.push([
          currentTrace().name,
          model.backends[map.backend].name,
          band[0],
          band[1],
          Math.round(first),
          number,
        ]);
      }
    }
  }
  return rows;
}

// The heap map: which ranges of address space are resident over the replay, and how full they are. A
// cell opens what lies in it.

const NOWHERE = -1;

const decodedRows = new Map();

/** The columns of a row: −1 where no page is resident, else the live sixteenths from 0 to 16. */
function columnsOf(map, row) {
  if (!decodedRows.has(map)) decodedRows.set(map, []);
  const rows = decodedRows.get(map);
  if (rows[row]) return rows[row];
  const columns = new Int8Array(map.columns).fill(NOWHERE);
  let at = 0;
  for (const [, length, letter] of map.rows[row].matchAll(/(\d*)([.\-a-p])/g)) {
    const end = Math.min(map.columns, at + (length === "" ? 1 : Number(length)));
    const level = letter === "." ? NOWHERE : letter === "-" ? 0 : letter.charCodeAt(0) - 96;
    columns.fill(level, at, end);
    at = end;
  }
  rows[row] = columns;
  return columns;
}

/** The colour of memory of which a share is live: orange, pale, blue. */
function fullnessColour(share) {
  const stops = [
    [0, "#e69f00"],
    [0.22, "#e9ae2c"],
    [0.5, "#ece2c4"],
    [0.72, "#7fb2d6"],
    [1, "#004b87"],
  ];
  const above = Math.max(
    1,
    stops.findIndex(([at]) => share <= at),
  );
  const [[from, low], [to, high]] = [stops[above - 1], stops[above]];
  return mixed(low, high, (share - from) / (to - from));
}

function levelColours() {
  const retained = onGround(model.colours.retained);
  return [retained, ...Array.from({ length: 16 }, (_, at) => fullnessColour(at / 15))];
}

function heapMapView() {
  const panels = el("div", { class: "panels" });
  const plotOf = (backend) => maps.find(({ map }) => map.backend === backend)?.plot;
  const detail = cellPanel("heap-detail", "The open cell of the heap map", "heapCell", plotOf);
  const width = el("p", { class: "soft width" });
  const scale = el("p", { class: "legend" });
  const element = section(
    "heap-map",
    "Heap map",
    reading(
      "Upwards is address space, its oldest region at the bottom; each backend has " +
        "its own scale. An orange streak is a range that a few blocks keep resident. A cell opens the " +
        "pages, lines and blocks in it.",
    ),
    el(
      "p",
      { class: "tools" },
      csvButton("heap-map-cells", () => heapMapRows(), "the cells in the segment"),
    ),
    scale,
    width,
    panels,
    detail.element,
  );
  let maps = [];

  const build = () => {
    maps = shown(currentTrace().heap_maps).map((map) => {
      const name = model.backends[map.backend].name;
      const plot = new CellMap({
        calls: currentTrace().observed_calls,
        label: `Heap map of ${name}. ${MAP_KEYS}`,
        height: 260,
        columns: map.columns,
        rows: map.rows.length,
        rowBox: (row) => [row * map.row_bytes, (row + 1) * map.row_bytes],
        rowAt: (address) =>
          Math.min(map.rows.length - 1, Math.max(0, Math.floor(address / map.row_bytes))),
        describe: (row, column) => heapCellText(plot, map, row, column),
        hint: "Point at a cell, or choose one with the arrow keys.",
        onOpen: (row, column) => detail.open([map.backend, row, column]),
        onClose: detail.close,
        paint: () => paintHeap(plot, map),
        ...timeActions,
      });
      return { map, plot };
    });
    panels.replaceChildren(
      ...maps.map(({ map, plot }) =>
        el(
          "figure",
          {},
          el(
            "figcaption",
            {},
            backendName(map.backend),
            el(
              "span",
              { class: "soft" },
              `${bytes(map.rows.length * map.row_bytes)} in ranges of ${bytes(map.row_bytes)}`,
            ),
          ),
          plot.element,
          plot.text,
        ),
      ),
    );
    const gradient = el("span", { class: "gradient" });
    const stops = [0, 0.22, 0.5, 0.72, 1].map((share) => `${fullnessColour(share)} ${share * 100}%`);
    gradient.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const grey = el("span", { class: "swatch" });
    grey.style.background = onGround(model.colours.retained);
    scale.replaceChildren(
      "hardly live ",
      gradient,
      " full   ",
      grey,
      " resident without a live byte; " + "ground: not resident",
    );
    element.hidden = !currentTrace().heap_maps.length;
  };

  const draw = () => {
    maps.forEach(({ plot }) => plot.measure());
    for (const { map, plot } of maps) {
      const to = map.rows.length * map.row_bytes;
      plot.draw(timeAxis(plot.width), {
        from: 0,
        to,
        ticks: byteTicks(0, to, 5),
      });
      plot.choose(null);
      const open = view.heapCell;
      plot.showOpened(open && open[0] === map.backend ? { row: open[1], column: open[2] } : null);
    }
    width.textContent = maps[0]?.plot.widthText() ?? "No backend with a heap map is switched on.";
    detail.draw(heapDetail(maps, detail.close));
  };
  return { element, build, draw };
}

/** The map as an image of a pixel a cell, the oldest row at the foot. */
function heapImage(map) {
  const colours = levelColours().map(channels);
  const [wide, high] = [map.columns, map.rows.length];
  const canvas = el("canvas", { width: wide, height: high });
  const context = canvas.getContext("2d");
  const image = context.createImageData(wide, high);
  for (let row = 0; row < high; row += 1) {
    columnsOf(map, row).forEach((level, column) => {
      if (level !== NOWHERE)
        image.data.set([...colours[level], 255], ((high - 1 - row) * wide + column) * 4);
    });
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

function paintHeap(plot, map) {
  plot.image ??= heapImage(map);
  const { context } = plot;
  context.imageSmoothingEnabled = false;
  const [first, last] = plot.columnsShown();
  const top = plot.py(plot.y.to);
  const high = plot.py(0) - top;
  // On the axis of calls all columns are equally wide; on the allocation clock each has its own width.
  const step = view.axis === "calls" ? Math.max(1, last - first) : 1;
  for (let column = first; column < last; column += step) {
    const left = plot.columnBox(column)[0];
    const right = plot.columnBox(column + step - 1)[1];
    if (right > left)
      context.drawImage(plot.image, column, 0, step, map.rows.length, left, top, right - left, high);
  }
  paintMarks(plot, false);
}

/** A place of the map: exact, where ranges are a quarter of a MiB. */
function place(address) {
  return `${(address / 2 ** 20).toFixed(2)}\u00a0MiB`;
}

/** What a level means. */
function levelText(level) {
  if (level === NOWHERE) return "not resident";
  if (level === 0) return "resident without a live byte";
  const [from, to] = [level - 1, level].map((sixteenths) => Math.round(sixteenths * 6.25));
  return `resident, ${level === 1 ? "up to" : `${from} to`} ${to}\u00a0% live`;
}

function heapCellText(plot, map, row, column) {
  const [from, to] = plot.callsOfColumn(column);
  return (
    `${model.backends[map.backend].name}, ${place(row * map.row_bytes)} up, calls ${count(from)} to ` +
    `${count(to)}: ${levelText(columnsOf(map, row)[column])}.`
  );
}

/** The open cell: its state, how long it lasts, and its pages, lines and blocks at two moments. */
function heapDetail(maps, close) {
  const open = view.heapCell;
  const found = open && maps.find((one) => one.map.backend === open[0]);
  if (!found) return [];
  const [, row, column] = open;
  const { map, plot } = found;
  if (!map.rows[row] || !(column < map.columns)) return [];
  const columns = columnsOf(map, row);
  const level = columns[column];
  const [from, to] = plot.callsOfColumn(column);
  const title =
    `${model.backends[map.backend].name}: ${place(row * map.row_bytes)} to ` +
    `${place((row + 1) * map.row_bytes)} of the map, region ${map.regions[row] + 1}, ` +
    `calls ${count(from)} to ${count(to)}`;
  const pages = `${count(map.row_bytes / 4096)} pages of 4 KiB: ${levelText(level)}.`;
  return [
    el("h4", {}, title),
    el("p", {}, `${pages} ${lastingText(plot, columns, column)}`),
    ...contentsOfRow(map, row, from, to),
    el("button", { type: "button", onclick: close }, "Close (Esc)"),
  ];
}

/** How long a range is resident around a column. */
function lastingText(plot, columns, column) {
  if (columns[column] === NOWHERE) return "";
  let [first, last] = [column, column];
  while (first > 0 && columns[first - 1] !== NOWHERE) first -= 1;
  while (last + 1 < columns.length && columns[last + 1] !== NOWHERE) last += 1;
  const [from] = plot.callsOfColumn(first);
  const [, to] = plot.callsOfColumn(last);
  const end = last + 1 === columns.length ? "the end" : `call ${count(to)}`;
  return `It is resident from call ${count(from)} to ${end}.`;
}

/** What lies in a row at the moments of the record, the nearest moment first. */
function contentsOfRow(map, row, event, to) {
  const trace = currentTrace();
  if (!map.moments.length) {
    return [
      el(
        "p",
        { class: "soft" },
        "This record has no blocks by range: older versions did not count them.",
      ),
    ];
  }
  const endName = trace.end_name.replace(/^at (the )?/, "");
  const named = map.moments.map((moment) => {
    const lines = trace.lines.find((lines) => lines.moment === moment.moment);
    const isEnd = moment.moment === "end";
    return isEnd
      ? { ...moment, name: endName, event: trace.observed_calls }
      : { ...moment, name: "live peak", event: lines?.event };
  });
  const distance = (moment) => (moment.event == null ? Infinity : Math.abs(moment.event - event));
  const isIn = (moment) => moment.event >= event && moment.event <= to;
  const recorded = listed(named.map((moment) => `the ${moment.name}`));
  const elsewhere = named.some(isIn)
    ? null
    : el(
        "p",
        { class: "soft" },
        `The record has lines and blocks at ${recorded} only, none at these calls. Below is what the ` +
          "range has there, the nearest moment first.",
      );
  const parts = named
    .sort((a, b) => distance(a) - distance(b))
    .flatMap((moment) => {
      const contents = moment.rows.find((own) => own.row === row);
      const when = moment.event == null ? "" : ` (call ${count(moment.event)})`;
      if (!contents) return [el("p", {}, `At the ${moment.name}${when} no page of it is resident.`)];
      const text =
        `At the ${moment.name}${when}: ${countOf(contents.resident_bytes / 4096, "page")} resident, ` +
        `${count(contents.pages_in_use_bytes / 4096)} of them in use, ` +
        `${countOf(contents.live_blocks, "live block")} with ${bytes(contents.live_bytes)}.`;
      if (!contents.lines.length) return [el("p", {}, text)];
      const header = ["line", "blocks", "live bytes here"];
      const rows = contents.lines.map(([site, blocks, size]) =>
        el(
          "tr",
          {},
          ...[trace.sites[site] || "(no line)", count(blocks), bytes(size)].map((cell) =>
            el("td", {}, cell),
          ),
        ),
      );
      return [
        el("p", {}, text),
        el(
          "div",
          { class: "scroll" },
          el(
            "table",
            {},
            el("thead", {}, el("tr", {}, ...header.map((name) => el("th", { scope: "col" }, name)))),
            el("tbody", {}, ...rows),
          ),
        ),
      ];
    });
  return elsewhere ? [elsewhere, ...parts] : parts;
}

/** The cells of the heap maps in the segment: live sixteenths, empty where no page is resident. */
function heapMapRows() {
  const rows = [["trace", "backend", "row", "region", "row_bytes", "first_call", "live_sixteenths"]];
  const calls = Math.max(currentTrace().observed_calls, 1);
  const [from, to] = segment();
  for (const map of shown(currentTrace().heap_maps)) {
    map.rows.forEach((_, row) =>
      columnsOf(map, row).forEach((level, column) => {
        const first = (column * calls) / map.columns;
        if (level === NOWHERE || first + calls / map.columns <= from || first >= to) return;
        rows.push([
          currentTrace().name,
          model.backends[map.backend].name,
          row,
          map.regions[row],
          map.row_bytes,
          Math.round(first),
          level,
        ]);
      }),
    );
  }
  return rows;
}

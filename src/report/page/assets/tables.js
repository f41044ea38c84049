// Tables: each can be sorted by a column and filtered, follows the backends that are on, and has a CSV
// of what it shows. The table of lines is made here.

const UNITS = {
  B: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  ns: 1,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  M: 1e6,
  G: 1e9,
  "%": 1,
};

/** A text that begins with a number: the number in its smallest unit, the unit, and what stands around it. */
function measured(text) {
  const plain = text
    .replace(/\u202f/g, "")
    .replace(/\u00a0/g, " ")
    .replace("−", "-")
    .trim();
  const match = plain.match(/^([≈≠× (±]*)([+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?) ?([A-Za-zµ%]+)?(.*)$/s);
  if (!match) return null;
  const [, before, number, ...rest] = match;
  let [name, after] = rest;
  // Of a range, `13–17 MiB`, the number is the lower end, and the unit stands behind the upper one.
  const upper = !name && after.match(/^–(\d+(?:\.\d+)? ?([A-Za-zµ%]+))$/);
  if (upper) [name, after] = [upper[2], `to ${upper[1]}`];
  return { value: Number(number) * (UNITS[name] || 1), unit: unitOf(name), before, name, after };
}

/** The unit of numbers that are no longer in thousands of it; empty for counts. */
function unitOf(name) {
  if (name === "%") return "%";
  if (name === "B" || /^[KMGT]iB$/.test(name)) return "bytes";
  return ["ns", "µs", "ms", "s"].includes(name) ? "ns" : "";
}

/** The number that a cell begins with, in its smallest unit; NaN for other text. */
function quantity(text) {
  return measured(text)?.value ?? NaN;
}

/** The number of a cell: its exact value, its quantity, or the size in `malloc of 64 B`. */
function valueOf(cell) {
  if (cell.dataset.value) return Number(cell.dataset.value);
  const text = cell.textContent;
  const sized = text.match(/^[a-z_]+ of (.+)$/);
  return quantity(sized ? sized[1] : text);
}
const isUnknown = (cell) => ["", "–", "n too small"].includes(cell.textContent.trim());

/** The order of two cells: numbers, then text; what is not known is always last. */
function compared(a, b, isFalling) {
  if (isUnknown(a) || isUnknown(b)) return isUnknown(a) - isUnknown(b);
  const [x, y] = [valueOf(a), valueOf(b)];
  let order;
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
  if (Number.isNaN(x)) order = a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  else order = x - y;
  return isFalling ? -order : order;
}

/** Whether most known cells of a column are numbers. */
function isOfNumbers(rows, column) {
  const known = rows.map((row) => row.cells[column]).filter((cell) => cell && !isUnknown(cell));
  return 2 * known.filter((cell) => !Number.isNaN(valueOf(cell))).length > known.length;
}

/** Makes a table one that can be sorted, filtered and saved. */
function enhance(table) {
  const name = table.dataset.name;
  const rows = [...table.tBodies[0].rows];
  rows.forEach((row, at) => (row.dataset.at = at));
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent;
    head.dataset.name = text;
    const sort = () => {
      const state = tableView(name);
      // One order, the other, and then as at first. Of numbers the largest are wanted first.
      const begins = isOfNumbers(rows, column);
      if (state.column !== column) Object.assign(state, { column, falling: begins });
      else if (state.falling === begins) state.falling = !begins;
      else Object.assign(state, { column: null, falling: false });
      changed();
    };
    // What the name means stays with it.
    const title = head.querySelector("abbr")?.title;
    head.replaceChildren(el("button", { type: "button", title, onclick: sort }, text));
  });
  const find = el("input", {
    type: "search",
    placeholder: "filter rows",
    "aria-label": `Filter rows of the table ${name}`,
    oninput: () => {
      tableView(name).find = find.value;
      changed();
    },
  });
  find.hidden = rows.length < 5;
  const counted = el("span", { class: "soft", "aria-live": "polite" });
  const tools = el(
    "p",
    { class: "tools" },
    find,
    csvButton(
      // Each moment has its own table of lines.
      () => (name === "lines" ? `lines-at-${currentMoment().moment}` : name),
      () => tableRows(table),
      `the table ${name}`,
      table.closest(".run") !== null,
    ),
    counted,
  );
  table.closest(".scroll").before(tools);
  table.apply = () => applyTable(table, find, counted);
  table.apply();
}

/** Sorts, filters and hides rows as the view has it. */
function applyTable(table, find, counted) {
  const state = tableView(table.dataset.name);
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  if (document.activeElement !== find) find.value = state.find;
  heads.forEach((head, column) => {
    const isSorted = state.column === column;
    head.setAttribute("aria-sort", isSorted ? (state.falling ? "descending" : "ascending") : "none");
  });
  const rows = [...body.rows];
  rows.sort((a, b) => {
    const cells = heads[state.column] ? [a.cells[state.column], b.cells[state.column]] : [];
    return (cells.length && compared(...cells, state.falling)) || a.dataset.at - b.dataset.at;
  });
  const off = new Set([...view.hidden].map((number) => model.backends[number].name));
  const named = new Set(model.backends.map((backend) => backend.name));
  // A column that is a backend's follows it. Without any of them no row is left.
  const own = heads.filter((head) => named.has(head.dataset.name));
  const isOffOfAll = own.length > 0 && own.every((head) => off.has(head.dataset.name));
  heads.forEach((head, column) => {
    const isOff = off.has(head.dataset.name);
    head.hidden = isOff;
    rows.forEach((row) => row.cells[column] && (row.cells[column].hidden = isOff));
  });
  const isOffIn = (row) =>
    heads.some((head, column) => {
      const text = row.cells[column]?.textContent;
      if (head.dataset.name === "backend") return off.has(text);
      return head.dataset.name === "time of" && text.split(" : ").some((name) => off.has(name));
    });
  const wanted = state.find.toLowerCase();
  let visible = 0;
  for (const row of rows) {
    row.hidden = isOffOfAll || isOffIn(row) || !row.textContent.toLowerCase().includes(wanted);
    visible += row.hidden ? 0 : 1;
  }
  body.replaceChildren(...rows);
  counted.textContent = visible === rows.length ? "" : `${visible} of ${rows.length} rows`;
}

/**
 * A column as it is saved: its name, and a text for each cell. A column of numbers has plain numbers, exact
 * where the page has the exact value, and their unit in its name. What stands beside a number, such as a
 * range, is in a column of its own.
 */
function savedColumns(name, cells) {
  const textOf = (cell) => [...cell.childNodes].map((node) => node.textContent).join(" ");
  const texts = cells.map((cell) => textOf(cell).replace(/\u00a0/g, " ").trim());
  const asShown = [[name, ...texts]];
  const found = cells.map((cell) => (isUnknown(cell) ? null : measured(textOf(cell))));
  // Zero has any unit.
  const units = new Set(found.filter((one) => one && (one.value || one.unit)).map((one) => one.unit));
  if (!units.size) units.add("");
  const isWhole = (one, cell) =>
    cell.dataset.value !== undefined || (!one.name || UNITS[one.name]) && /^(\s*\(.*)?$/s.test(one.after);
  const isPlain = found.every((one, at) => !one || isWhole(one, cells[at]));
  const rows = cells.map((cell) => ({ cells: [cell] }));
  if (!isPlain || units.size !== 1 || !isOfNumbers(rows, 0)) return asShown;
  const [unit] = units;
  const number = (one, cell) => {
    if (!one) return "";
    if (cell.dataset.value !== undefined) return cell.dataset.value;
    return unit === "bytes" ? Math.round(one.value) : Number(one.value.toPrecision(12));
  };
  const note = (one, at) => {
    if (!one) return texts[at] === "–" ? "" : texts[at];
    return [one.before.replace("×", ""), one.after].map((part) => part.trim()).filter(Boolean).join(" ");
  };
  const columns = [[unit ? `${name} (${unit})` : name, ...found.map((one, at) => number(one, cells[at]))]];
  const notes = found.map(note);
  if (notes.some(Boolean)) columns.push([`${name}, note`, ...notes]);
  return columns;
}

/** The rows of a table that are shown. */
function tableRows(table) {
  const heads = [...table.tHead.rows[0].cells];
  const shownRows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const columns = heads.flatMap((head, column) => {
    if (head.hidden) return [];
    return savedColumns(
      head.dataset.name,
      shownRows.map((row) => row.cells[column]),
    );
  });
  return columns[0].map((_, row) => columns.map((column) => column[row]));
}

/** The moment whose lines are shown: the end, or the live peak of a program that frees all. */
function currentMoment() {
  const { lines } = currentTrace();
  const chosen = lines.find((moment) => moment.moment === view.moment);
  const live = (moment) => moment.rows.reduce((sum, row) => sum + row.live_bytes, 0);
  const [end, peak] = ["end", "peak"].map((name) => lines.find((moment) => moment.moment === name));
  const isLate = end && (!peak || live(end) * 20 >= live(peak));
  return chosen || (isLate ? end : peak) || lines[0];
}

function linesView() {
  const holder = el("div", {});
  const checkNote = el(
    "p",
    { class: "read" },
    "Below a figure is by how much pages in use fell in a replay in which the survivors of the line are " +
      "allocated last. ≠ marks a figure that it does not confirm. A figure with nothing below it is " +
      "charged, and no replay has checked it.",
  );
  const moments = el("select", {
    id: "moment",
    onchange: () => {
      view.moment = moments.value;
      changed();
    },
  });
  const element = section(
    "lines",
    "Lines that retain pages",
    reading(
      "Live is what the blocks of a line hold. The columns of backends are the free " +
        "space on the pages in use by these blocks: no trim returns it. A line with little live and much " +
        "free space is worth a look: heaplay whatif TRACE --move-site LINE checks what a change returns.",
    ),
    checkNote,
    el("p", { class: "tools" }, el("label", { for: "moment" }, "At "), moments),
    holder,
  );
  let table = null;
  const build = () => {
    const { lines } = currentTrace();
    const current = currentMoment();
    moments.replaceChildren(
      ...lines.map((moment) =>
        el("option", { value: moment.moment }, `${moment.name}, call ${count(moment.event)}`),
      ),
    );
    element.hidden = !current;
    if (!current) return;
    moments.value = current.moment;
    table = linesTable(current);
    checkNote.hidden = !table.querySelector(".check");
    holder.replaceChildren(el("div", { class: "scroll tall" }, table));
    enhance(table);
  };
  return { element, build, draw: () => table?.apply() };
}

/** Whether a check by replay is within a factor of 1.5 of a charge, or a page of it. */
function isConfirmed(charged, saved) {
  if (Math.abs(charged - saved) <= 4096) return true;
  return saved > 0 && charged <= 1.5 * saved && saved <= 1.5 * charged;
}

function linesTable(moment) {
  const { sites } = currentTrace();
  const has = (backend) => moment.rows.some((row) => row.free_space_bytes[backend] != null);
  const backends = model.backends
    .map((_, number) => number)
    .filter((number) => !view.hidden.has(number) && has(number));
  // No program has an allocator that takes nothing back: it puts no line first.
  const choosable = backends.filter((backend) => !model.backends[backend].is_bound);
  const ranking = choosable.length ? choosable : backends;
  const most = (row) => Math.max(0, ...ranking.map((backend) => row.free_space_bytes[backend] || 0));
  const rows = backends.length ? [...moment.rows].sort((a, b) => most(b) - most(a)) : [];
  const number = (value, text) =>
    el("td", value == null ? {} : { "data-value": value }, value == null ? "–" : text(value));
  const times = (value) => `×${figure(value)}`;
  const charged = (row, backend) => {
    const value = row.free_space_bytes[backend];
    const cell = number(value, bytes);
    const saved = row.checked_bytes[backend];
    if (value == null || saved == null) return cell;
    const text = `The check by replay gives ${bytes(saved)}`;
    if (!isConfirmed(value, saved)) cell.prepend("≠\u00a0");
    cell.append(el("small", { class: "check", title: text }, `check: ${bytes(saved)}`));
    return cell;
  };
  const header = [
    "line",
    "live",
    "blocks",
    ...backends.map((backend) => model.backends[backend].name),
    "free ÷ live",
  ];
  return el(
    "table",
    { "data-name": "lines" },
    el("thead", {}, el("tr", {}, ...header.map((name) => el("th", { scope: "col" }, name)))),
    el(
      "tbody",
      {},
      ...rows.map((row) =>
        el(
          "tr",
          {},
          el("td", {}, sites[row.site] || "(no line)"),
          number(row.live_bytes, bytes),
          number(row.live_blocks, count),
          ...backends.map((backend) => charged(row, backend)),
          number(row.live_bytes ? Number((most(row) / row.live_bytes).toFixed(3)) : null, times),
        ),
      ),
    ),
  );
}

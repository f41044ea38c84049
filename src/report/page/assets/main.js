// Puts the page together: the controls, the views of the selected trace, and the tables of all.

const sections = [...document.querySelectorAll("section.trace")];
const views = [memoryView(), linesView(), heapMapView(), percentilesView(), latencyMapView()];
const explorer = el("div", {}, ...views.map((one) => one.element));
const controls = document.getElementById("controls");

const traces = el(
  "select",
  { id: "trace", onchange: () => selectTrace(Number(traces.value)) },
  ...model.traces.map((trace, number) => el("option", { value: number }, trace.name)),
);

/** Shows another trace: its segment and its cells are its own. */
function selectTrace(number) {
  Object.assign(view, { trace: number, segment: null, heapCell: null, latencyCell: null, moment: null });
  changed();
}

const chips = model.backends.map((backend, number) => {
  const box = el("input", {
    type: "checkbox",
    onchange: () => {
      if (box.checked) view.hidden.delete(number);
      else view.hidden.add(number);
      changed();
    },
  });
  return {
    box,
    label: el("label", { class: "chip", title: backend.version }, box, backendName(number)),
  };
});

function switchAll(isOn) {
  view.hidden = new Set(isOn ? [] : model.backends.map((_, number) => number));
  changed();
}

const phases = el("select", { id: "phase", onchange: () => selectPhase(Number(phases.value)) });
const first = el("input", { type: "number", id: "first-call", min: 0, onchange: () => typedSegment() });
const last = el("input", { type: "number", id: "last-call", min: 0, onchange: () => typedSegment() });

const rangeNotice = notice();

/** Shows the segment that was typed; what is no range is refused, and the boxes are as before. */
function typedSegment() {
  const { calls } = currentTrace();
  const isCall = (text) => /^\d+$/.test(text.trim()) && Number(text) <= calls;
  const [from, to] = [Number(first.value), Number(last.value)];
  if ([first, last].every((box) => isCall(box.value)) && from < to) return setSegment(from, to);
  rangeNotice.show(
    `Not a range: calls are whole numbers from 0 to ${calls}, and the first is below the last.`,
  );
  redrawSoon();
}

/** The name of a phase; one of several with this name has its number. */
function phaseName(marks, number) {
  const { name } = marks[number];
  const isSame = (mark) => mark.name === name;
  const all = marks.filter(isSame).length;
  return all === 1 ? name : `${name} (${marks.slice(0, number + 1).filter(isSame).length} of ${all})`;
}

/** Chooses the segment of a phase, from its mark to the next one. */
function selectPhase(number) {
  const { marks, calls } = currentTrace();
  if (number < 0) setSegment(0, calls);
  else setSegment(marks[number].event, marks[number + 1]?.event ?? calls);
}

const axis = el(
  "select",
  {
    id: "axis",
    onchange: () => {
      view.axis = axis.value;
      changed();
    },
  },
  el("option", { value: "calls" }, "calls"),
  el("option", { value: "clock" }, "bytes allocated"),
);

if (sections.length)
  controls.append(
    el(
      "p",
      { class: "row" },
      model.traces.length > 1 ? el("label", {}, "Trace ", traces) : null,
      el("label", {}, "Phase ", phases),
      el("label", {}, "Calls ", first),
      el("label", {}, "to ", last),
      rangeNotice.element,
      button("Zoom in", "+", () => zoomBy(0.5)),
      button("Zoom out", "−", () => zoomBy(2)),
      button("Show the whole trace", "whole", () => setSegment(0, currentTrace().calls)),
      el("label", {}, "Across ", axis),
      el("label", {}, "Theme ", theme),
      linkButton,
      linkNotice.element,
    ),
    el(
      "fieldset",
      { class: "row" },
      el("legend", { class: "sr" }, "Backends"),
      ...chips.map((chip) => chip.label),
      button("Switch all backends on", "all", () => switchAll(true)),
      button("Switch all backends off", "none", () => switchAll(false)),
    ),
  );

function drawControls() {
  const trace = currentTrace();
  const [from, to] = segment();
  traces.value = view.trace;
  chips.forEach((chip, number) => (chip.box.checked = !view.hidden.has(number)));
  const marks = trace.marks.map((mark, number) =>
    el("option", { value: number }, phaseName(trace.marks, number)),
  );
  phases.replaceChildren(el("option", { value: -1 }, "all"), ...marks);
  const isPhase = (mark, number) =>
    mark.event === from && (trace.marks[number + 1]?.event ?? trace.calls) === to;
  phases.value = view.segment ? trace.marks.findIndex(isPhase) : -1;
  phases.closest("label").hidden = !trace.marks.length;
  first.max = last.max = trace.calls;
  [first.value, last.value] = [from, to];
  axis.value = view.axis;
  axis.closest("label").hidden = !trace.heaps.length;
}

let built = "";

/** On each answer, and below them: they are of all backends, also where some are switched off. */
const ofAllBackends = sections.flatMap((section) => {
  const text = "Some backends are switched off. The answers and verdicts above are of all backends.";
  const below = el("p", { class: "soft of-all" }, text);
  section.querySelector("details.verdicts").after(below);
  const cards = [...section.querySelectorAll(".answers > div")];
  const notes = cards.map((card) => {
    const note = el("dd", { class: "soft of-all" }, "Of all backends measured.");
    card.querySelector("dt").after(note);
    return note;
  });
  return [...notes, below];
});

const runTables = [...document.querySelectorAll(".run table[data-name]")];

redrawAll = () => {
  applyTheme();
  sections.forEach((section, number) => (section.hidden = number !== view.trace));
  const holder = sections[view.trace].querySelector(".explorer");
  if (explorer.parentElement !== holder) holder.replaceChildren(explorer);
  drawControls();
  ofAllBackends.forEach((note) => (note.hidden = !view.hidden.size));
  // Colours are read when elements are made, so a theme makes them anew.
  const key = JSON.stringify([view.trace, [...view.hidden], view.memory, view.moment, isDark()]);
  if (key !== built) views.forEach((one) => one.build());
  built = key;
  views.forEach((one) => one.draw());
  for (const table of [...sections[view.trace].querySelectorAll(".tables table"), ...runTables]) {
    if (!table.apply) enhance(table);
    else table.apply();
  }
  chips.forEach((chip, number) => {
    chip.label.querySelector(".swatch").style.background = backendColour(number);
  });
};

/** Reads the address: a view, or the section of a trace. */
function readAddress() {
  const text = location.hash.slice(1);
  const section = text.match(/^trace-(\d+)$/);
  if (section && model.traces[section[1] - 1]) readFragment(`trace=${section[1]}`);
  else if (!section && text && !text.includes("=")) return false;
  else readFragment(text);
  return true;
}

if (sections.length) {
  document.querySelectorAll("details.pictures").forEach((pictures) => (pictures.open = false));
  const links = document.getElementById("trace-links");
  if (links) links.hidden = true;
  readAddress();
  document.documentElement.classList.add("explored");
  redrawAll();
  followTheWindow(readAddress);
}

// One visit of the page: what each step shows is returned by its name.
const found = {};
const canvases = (section) => all(`#${section} canvas`);
const state = () => ({
  address: location.hash,
  trace: one("#trace").value,
  calls: [one("#first-call").value, one("#last-call").value],
  axis: one("#axis").value,
  memory: one("#memory-mode").value,
  moment: one("#moment").value,
  off: all(".chip")
    .filter((chip) => !chip.querySelector("input").checked)
    .map((chip) => chip.textContent),
  heap: textOf("#heap-detail"),
  latency: textOf("#latency-map .detail"),
  lines: rowsOf(visibleTable("lines")),
  find: visibleTable("lines").closest("section").querySelector("input[type=search]").value,
  theme: document.documentElement.dataset.theme,
});

// As it opens.
found.sections = all("section.trace").map((section) => !section.hidden);
found.panels = all("#memory figcaption .backend").map((name) => name.textContent);
found.canvases = all("canvas").map((canvas) => [
  canvas.tabIndex,
  canvas.getAttribute("aria-label"),
  canvas.getAttribute("role"),
]);
found.unnamed = all("input, select, button")
  .filter((node) => !node.getAttribute("aria-label") && !node.labels?.length && !node.textContent.trim())
  .map((node) => node.outerHTML);
found.answers = all("section.trace")[0].querySelector(".answers").textContent;
found.pictures = all("details.pictures").map((pictures) => pictures.open);

found.legend = textOf("#memory .legend");

// A reading moves nothing; entries and buttons have messages.
const placeOfLines = () => one("#lines").getBoundingClientRect().top + scrollY;
const before = placeOfLines();
await press(canvases("memory")[0], "ArrowRight");
found.moved = Math.round(placeOfLines() - before);
const typedRange = async (first) => {
  await type(one("#first-call"), first);
  return { message: one(".notice:not(:empty)").textContent, calls: state().calls };
};
found.badRange = await typedRange("2000000");
found.emptyRange = await typedRange("");
await click(one("button[aria-label='Copy a link to this view']"));
// The clipboard answers when it likes.
for (let frames = 0; frames < 300 && !found.linkMessage; frames += 1) {
  await frame();
  const messages = all(".notice").map((message) => message.textContent);
  found.linkMessage = messages.find((text) => /link|address/.test(text));
}
const allPercentiles = all("#percentiles button").find((button) => button.textContent === "All percentiles");
await click(allPercentiles);
found.percentilesMessage = one("#percentiles .notice").textContent;

// Sentences of the zoom and the theme.
const widths = () => all("p.width").map((sentence) => sentence.textContent);
const isOfWhole = () => isVisible(one(".of-whole"));
found.widths = { whole: widths(), ofWhole: [isOfWhole()] };
await type(one("#last-call"), "10");
found.widths.zoomed = widths();
found.widths.ofWhole.push(isOfWhole());
await press(canvases("memory")[0], "0");
found.shades = {};
for (const shade of ["dark", "light", "auto"]) {
  await choose("#theme", shade);
  found.shades[shade] = textOf("#latency-map .read");
}

// A cell takes the focus, Escape closes it.
const opened = async () => {
  const panel = document.activeElement;
  const box = panel.getBoundingClientRect();
  const text = panel.textContent;
  const isInWindow = box.top >= 0 && box.top < innerHeight - 20;
  const id = panel.id;
  panel.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true, cancelable: true }));
  await frame();
  const focusAfter = document.activeElement.tagName;
  return { id, text, isInWindow, afterEscape: textOf("#heap-detail"), focusAfter };
};
found.focus = {};
await tap(canvases("heap-map")[0], 0.2, 0.5);
found.focus.pointer = await opened();
await press(canvases("heap-map")[1], "ArrowUp");
await press(canvases("heap-map")[1], "Enter");
found.focus.keyboard = await opened();

// All backends are off.
const switchTo = (name) => click(all("#controls button").find((button) => button.textContent === name));
await switchTo("none");
const tablesOf = (name) => all(`table[data-name="${name}"]`);
const rowsIn = (name) => tablesOf(name).filter((table) => !table.closest("section").hidden);
found.none = { note: isVisible(one("section.trace:not([hidden]) .of-all")), rows: {} };
for (const name of ["time", "comparisons", "memory", "percentiles", "lines", "slow-calls"])
  found.none.rows[name] = rowsIn(name).flatMap(rowsOf).length;
await switchTo("all");

// The first click on a column.
const sortOf = (name) => columnOf(visibleTable("lines"), name).closest("th").getAttribute("aria-sort");
found.firstClick = {};
for (const name of ["live", "line"]) {
  await click(columnOf(visibleTable("lines"), name));
  found.firstClick[name] = sortOf(name);
}
await click(columnOf(visibleTable("lines"), "line"));
await click(columnOf(visibleTable("lines"), "line"));
await click(columnOf(visibleTable("slow-calls"), "operation"));
found.bySize = rowsOf(visibleTable("slow-calls"));
await click(columnOf(visibleTable("slow-calls"), "operation"));
await click(columnOf(visibleTable("slow-calls"), "operation"));

// Pictures: the page is by itself.
const pictures = one("section.trace:not([hidden]) details.pictures");
pictures.open = true;
for (const picture of all("section.trace:not([hidden]) details.pictures img")) picture.loading = "eager";
await new Promise((done) => setTimeout(done, 500));
found.missing = {
  images: pictures.querySelectorAll("img").length,
  text: pictures.querySelector("figure")?.textContent ?? "no picture",
};
pictures.open = false;

// A segment is dragged.
await drag(canvases("memory")[0], 0.25, 0.5);
found.dragged = { state: state(), memory: csvOf("#memory button.csv") };
found.dragged.sentence = textOf("#highest-sentence");
found.dragged.highest = rowsOf(one("table.highest"));
found.dragged.lines = textOf("#highest-lines");
found.dragged.latency = csvOf("#latency-map button.csv");
found.dragged.heap = csvOf("#heap-map button.csv");

// The keyboard: closer, a reading, the whole.
await press(canvases("memory")[0], "+");
found.closer = state().calls;
await press(canvases("memory")[0], "0");
found.whole = state();
found.latency = csvOf("#latency-map button.csv");
for (let step = 0; step < 3; step += 1) await press(canvases("memory")[1], "ArrowRight", true);
found.reading = {
  rows: rowsOf(one("#memory table.readings")),
  text: canvases("memory")[1].getAttribute("aria-valuetext"),
};

// A phase by its name, and the axis of allocated bytes.
await choose("#phase", "2");
found.phase = state();
await choose("#axis", "clock");
await drag(canvases("memory")[0], 0.5, 0.75);
found.clock = { state: state(), memory: csvOf("#memory button.csv") };
await choose("#axis", "calls");
await press(canvases("memory")[0], "0");

// A backend is switched off and on.
await click(chipOf("bump"));
found.off = {
  state: state(),
  panels: all("#memory figcaption .backend").map((name) => name.textContent),
  maps: all("#heap-map figcaption .backend").map((name) => name.textContent),
  memory: csvOf("#memory button.csv"),
  rows: rowsOf(visibleTable("memory")).map((row) => row[0]),
};
await click(chipOf("bump"));
found.on = all("#memory figcaption .backend").map((name) => name.textContent);
await choose("#memory-mode", "resident");
found.resident = canvases("memory").length;
await choose("#memory-mode", "cause");

// The percentiles.
await press(canvases("percentiles")[1], "Home");
found.percentiles = csvOf("#percentiles button.csv");
await drag(canvases("percentiles")[0], 0.5, 0.9);
found.rare = { state: state(), rows: csvOf("#percentiles button.csv") };

// A cell of the heap map by the pointer, and one by the keyboard.
await tap(canvases("heap-map")[0], 0.995, 0.5);
found.tapped = state();
await press(canvases("heap-map")[1], "End");
for (let step = 0; step < 7; step += 1) await press(canvases("heap-map")[1], "ArrowUp");
found.described = all("#heap-map .cell-text")[1].textContent;
await press(canvases("heap-map")[1], "Enter");
found.opened = state();

// A cell of the latency map.
await tap(canvases("latency-map")[0], 0.505, 0.3);
found.slow = state();

// Tables.
const live = visibleTable("lines");
await click(columnOf(live, "live"));
await click(columnOf(visibleTable("lines"), "live"));
found.rising = rowsOf(visibleTable("lines"));
await click(columnOf(visibleTable("lines"), "live"));
await click(columnOf(visibleTable("lines"), "live"));
found.falling = {
  rows: rowsOf(visibleTable("lines")),
  sort: one("#lines th[aria-sort=descending]").textContent,
};
found.falling.csv = csvOf("#lines button.csv");
await type(one("#lines input[type=search]"), "json/");
found.filtered = rowsOf(visibleTable("lines"));
await click(columnOf(visibleTable("memory"), "peak"));
await click(columnOf(visibleTable("memory"), "peak"));
found.peaks = rowsOf(visibleTable("memory"));
found.peaksCsv = csvOf(
  visibleTable("memory").closest(".scroll").previousElementSibling.querySelector("button.csv"),
);

// The theme, another moment, another trace.
const ground = () => getComputedStyle(document.body).backgroundColor;
await choose("#theme", "dark");
found.dark = ground();
await choose("#theme", "light");
found.light = ground();
await choose("#theme", "dark");
await choose("#moment", "peak");
await drag(canvases("memory")[0], 0.1, 0.8);
await click(chipOf("pymalloc"));
found.last = state();
await choose("#trace", "1");
found.other = { sections: all("section.trace").map((section) => !section.hidden), state: state() };
found.otherMemory = csvOf("#memory button.csv");
return found;

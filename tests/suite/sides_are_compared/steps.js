// One visit of the page of two sides: what each step shows is returned by its name.
const found = {};
const shownMeasures = () =>
  all("section.measure")
    .filter(isVisible)
    .map((section) => section.dataset.name);
const tableOf = (start) =>
  all("section.measure table").find((table) => isVisible(table) && table.dataset.name.startsWith(start));
const csvOfTable = (table) =>
  csvOf(table.closest(".scroll").previousElementSibling.querySelector("button.csv"));

// As it opens.
found.verdict = textOf(".verdict");
found.summary = rowsOf(one(".summary table"));
found.measures = shownMeasures();
found.unnamed = all("input, select, button")
  .filter((node) => !node.getAttribute("aria-label") && !node.labels?.length && !node.textContent.trim())
  .map((node) => node.outerHTML);
found.lines = csvOfTable(tableOf("line"));
found.total = [...tableOf("line").tFoot.rows[0].cells].map((cell) => cell.dataset.value);

// Another measure, sorted by the difference, and filtered.
await choose("#measure", "2");
found.other = { measures: shownMeasures(), classes: csvOfTable(tableOf("size-class")) };
await click(columnOf(tableOf("line"), "difference"));
found.falling = rowsOf(tableOf("line"));
const find = tableOf("line").closest(".scroll").previousElementSibling.querySelector("input");
await type(find, "b.py");
found.filtered = rowsOf(tableOf("line"));
await choose("#theme", "dark");
found.dark = document.documentElement.dataset.theme;

// The address has the view.
found.address = location.hash;
await choose("#measure", "0");
await type(find, "");
location.hash = found.address;
await frame();
await frame();
found.restored = { measures: shownMeasures(), lines: rowsOf(tableOf("line")) };
return found;

// Puts the page of two sides together: one part and one measure are shown at a time.

const parts = [...document.querySelectorAll("section.part")];
const measuresOf = (part) => [...parts[part].querySelectorAll("section.measure")];

/** A choice of the view as a number from 0; 0 for a number that names nothing. */
function chosen(name, count) {
  const number = Number(view.choices.get(name) || 1) - 1;
  return number >= 0 && number < count && Number.isInteger(number) ? number : 0;
}

function choose(name, number) {
  if (number) view.choices.set(name, String(number + 1));
  else view.choices.delete(name);
  changed();
}

const partSelect = el(
  "select",
  { id: "part", onchange: () => choose("part", Number(partSelect.value)) },
  ...parts.map((part, number) => el("option", { value: number }, part.dataset.name)),
);
const measureSelect = el("select", {
  id: "measure",
  onchange: () => choose("measure", Number(measureSelect.value)),
});

redrawAll = () => {
  applyTheme();
  const part = chosen("part", parts.length);
  const measures = measuresOf(part);
  const measure = chosen("measure", measures.length);
  parts.forEach((section, number) => (section.hidden = number !== part));
  partSelect.value = part;
  measureSelect.replaceChildren(
    ...measures.map((section, number) => el("option", { value: number }, section.dataset.name)),
  );
  measureSelect.value = measure;
  measures.forEach((section, number) => (section.hidden = number !== measure));
  const shownTables = parts[part].querySelectorAll("section.measure:not([hidden]) table, .summary table");
  for (const table of shownTables) {
    if (table.apply) table.apply();
    else enhance(table);
  }
};

/** Reads the address: a view; an address without one is left to the browser. */
function readView() {
  const text = location.hash.slice(1);
  if (text && !text.includes("=")) return false;
  readFragment(text);
  return true;
}

if (parts.length) {
  document.getElementById("controls").append(
    el(
      "p",
      { class: "row" },
      parts.length > 1 ? el("label", {}, "Compared ", partSelect) : null,
      el("label", {}, "Measure ", measureSelect),
      el("label", {}, "Theme ", theme),
      linkButton,
      linkNotice.element,
    ),
  );
  document.querySelectorAll("details.pictures").forEach((pictures) => (pictures.open = false));
  readView();
  document.documentElement.classList.add("explored");
  redrawAll();
  followTheWindow(readView);
}

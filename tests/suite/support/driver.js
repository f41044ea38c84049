// What a person does in the page, and what a person sees.

const all = (selector) => [...document.querySelectorAll(selector)];
const one = (selector) => document.querySelector(selector);
const isVisible = (node) => node.checkVisibility();
const textOf = (selector) => one(selector).textContent;

/** After the next redraw. */
const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));

/** The file that a button saves, as text: taken where the file is made. */
let saved = null;
window.Blob = class extends Blob {
  constructor(parts, options) {
    super(parts, options);
    saved = parts.join("");
  }
};
URL.createObjectURL = () => "#";
const follow = HTMLAnchorElement.prototype.click;
HTMLAnchorElement.prototype.click = function click() {
  if (this.download) savedName = this.download;
  if (!this.download) follow.call(this);
};
let savedName = null;
function csvOf(buttonOrSelector) {
  saved = null;
  const button = typeof buttonOrSelector === "string" ? one(buttonOrSelector) : buttonOrSelector;
  button.click();
  return saved;
}

async function press(node, key, shiftKey = false) {
  node.focus();
  node.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  await frame();
}

/** Sends an event of the pointer to a place of a canvas, in shares of the plot within its margins. */
function point(canvas, kind, across, upwards = 0.5) {
  const box = canvas.getBoundingClientRect();
  const [left, right, top, bottom] = [58, 10, 12, 22];
  canvas.dispatchEvent(
    new PointerEvent(kind, {
      bubbles: true,
      pointerId: 1,
      clientX: box.left + left + across * (box.width - left - right),
      clientY: box.bottom - bottom - upwards * (box.height - top - bottom),
    }),
  );
}

async function drag(canvas, from, to) {
  point(canvas, "pointerdown", from);
  point(canvas, "pointermove", (from + to) / 2);
  point(canvas, "pointermove", to);
  point(canvas, "pointerup", to);
  await frame();
}

async function tap(canvas, across, upwards) {
  point(canvas, "pointerdown", across, upwards);
  point(canvas, "pointerup", across, upwards);
  await frame();
}

async function choose(selector, value) {
  const select = one(selector);
  select.value = value;
  select.dispatchEvent(new Event("change", { bubbles: true }));
  await frame();
}

async function type(input, value) {
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  input.dispatchEvent(new Event("change", { bubbles: true }));
  await frame();
}

async function click(node) {
  node.click();
  await frame();
}

/** The visible rows of a table, as text by cell. */
const rowsOf = (table) =>
  [...table.tBodies[0].rows]
    .filter((row) => !row.hidden)
    .map((row) => [...row.cells].map((cell) => cell.textContent));

/** The button of the column of that name. */
const columnOf = (table, name) =>
  [...table.querySelectorAll("th button")].find((button) => button.textContent === name);

/** The box that switches a backend. */
const chipOf = (name) =>
  all(".chip")
    .find((chip) => chip.textContent === name)
    .querySelector("input");

const visibleTable = (name) =>
  all(`table[data-name="${name}"]`).find((table) => !table.closest("section").hidden);

// A plot whose area is cells: columns of equal numbers of calls, and rows of any height. The pointer
// or the arrow keys choose a cell, a click or Enter opens it.

const MAP_KEYS =
  "Arrow keys choose a cell, Enter opens it, Escape closes it, plus and minus zoom, 0 shows the whole trace.";

class CellMap extends Plot {
  /**
   * Beside the options of a plot: `calls` that the columns cover, `columns`, `rows`, `rowBox(row)` has
   * the lower and the upper value of a row, `rowAt(value)` the row at a value or `null`,
   * `describe(row, column)` is the reading of a cell, `onOpen(row, column)` opens it, and `onClose()`
   * closes the open one.
   */
  constructor(options) {
    super({ ...options, role: "application" });
    this.chosen = null;
    this.outline = el("div", { class: "cell", hidden: true });
    this.opened = el("div", { class: "cell opened", hidden: true });
    this.text = el("p", { class: "cell-text", "aria-live": "polite" }, options.hint || "\u00a0");
    this.element.append(this.outline, this.opened);
    this.options.onPick = (x, y) => this.openAt(x, y);
    this.options.onRead = (x, y) => this.chooseAt(x, y);
    this.options.onLeave = () => this.choose(null);
  }

  /** The calls that the columns cover. */
  calls() {
    return Math.max(this.options.calls ?? currentTrace().calls, 1);
  }

  callsOfColumn(column) {
    const calls = this.calls();
    return [(column * calls) / this.options.columns, ((column + 1) * calls) / this.options.columns];
  }

  columnAt(x) {
    const share = eventAt(x) / this.calls();
    return Math.min(this.options.columns - 1, Math.max(0, Math.floor(share * this.options.columns)));
  }

  /** The columns of the segment: first, and one after the last. */
  columnsShown() {
    const [from, to] = segment();
    const calls = this.calls();
    const { columns } = this.options;
    return [Math.floor((from / calls) * columns), Math.min(columns, Math.ceil((to / calls) * columns))];
  }

  /** How wide a cell is, and that a segment of few cells is not exact. */
  widthText() {
    const [first, last] = this.columnsShown();
    const [from, to] = segment();
    const text = `One cell covers ${count(this.calls() / this.options.columns)} calls.`;
    if (last - first > 20) return text;
    const cells = last - first === 1 ? "1 cell" : `${last - first} cells`;
    return `${text} The segment of ${count(to - from)} calls touches ${cells}; no cell is split.`;
  }

  /** Left and right pixel of a column. */
  columnBox(column) {
    return this.callsOfColumn(column).map((event) => this.px(onAxis(event)));
  }

  chooseAt(x, y) {
    const row = y == null ? (this.chosen?.row ?? 0) : this.options.rowAt(y);
    this.choose(row == null ? null : { row, column: this.columnAt(x) });
  }

  openAt(x, y) {
    const row = this.options.rowAt(y);
    if (row != null) this.options.onOpen(row, this.columnAt(x));
  }

  choose(cell) {
    this.chosen = cell;
    this.place(this.outline, cell);
    this.text.textContent = cell
      ? this.options.describe(cell.row, cell.column)
      : this.options.hint || "\u00a0";
  }

  /** Shows which cell is open; `null` for none. */
  showOpened(cell) {
    this.place(this.opened, cell);
  }

  place(box, cell) {
    const [first, last] = this.columnsShown();
    const isIn = cell && cell.column >= first && cell.column < last && cell.row < this.options.rows;
    box.hidden = !isIn;
    if (!isIn) return;
    const [left, right] = this.columnBox(cell.column);
    const [low, high] = this.options.rowBox(cell.row).map((value) => this.py(value));
    box.style.left = `${left - 1}px`;
    box.style.width = `${Math.max(right - left, 2) + 2}px`;
    box.style.top = `${high - 1}px`;
    box.style.height = `${Math.max(low - high, 2) + 2}px`;
  }

  key(event) {
    const [first, last] = this.columnsShown();
    const { row, column } = this.chosen || { row: 0, column: first };
    const stride = event.shiftKey ? 10 : 1;
    const move = (rows, columns) => {
      this.choose({
        row: Math.min(this.options.rows - 1, Math.max(0, row + rows)),
        column: Math.min(last - 1, Math.max(first, column + columns)),
      });
      return true;
    };
    switch (event.key) {
      case "ArrowLeft":
        return move(0, -stride);
      case "ArrowRight":
        return move(0, stride);
      case "ArrowUp":
        return move(stride, 0);
      case "ArrowDown":
        return move(-stride, 0);
      case "Home":
        return move(0, -this.options.columns);
      case "End":
        return move(0, this.options.columns);
      case "Enter":
      case " ":
        this.options.onOpen(row, column);
        return true;
      case "Escape":
        this.options.onClose();
        return true;
      case "+":
      case "=":
        zoomBy(0.5, this.callsOfColumn(column)[0]);
        return true;
      case "-":
        zoomBy(2, this.callsOfColumn(column)[0]);
        return true;
      case "0":
        setSegment(0, currentTrace().calls);
        return true;
      default:
        return false;
    }
  }
}

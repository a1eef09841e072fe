// The front end of every panel: native controls, so that names, keys and focus are the browser's own.
// The kernel owns the state. One request is under way at a time; while it is, only the newest change waits.

const LATE_MS = 150; // after which the panel says that it is at work
const LOST_MS = 15000; // after which it says what may be wrong

// JupyterLab takes single keys for commands (b inserts a cell) unless the focused element itself carries this.
function own(element) {
  element.setAttribute("data-lm-suppress-shortcuts", "true");
  return element;
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

let made = 0;

function labelled(text, control) {
  const box = make("div", "xaiteach-field");
  const label = make("label", "", text);
  control.id = `xaiteach-${Date.now().toString(36)}-${(made += 1)}`;
  label.htmlFor = control.id;
  box.append(label, control);
  return box;
}

function rangeField(field, change) {
  const input = own(make("input"));
  Object.assign(input, { type: "range", min: 0, max: field.options.length - 1, step: 1 });
  const box = labelled(field.label, input);
  const shown = make("output", "xaiteach-value");
  box.append(shown);
  const show = () => {
    shown.textContent = field.options[input.value].label;
    input.setAttribute("aria-valuetext", shown.textContent);
  };
  input.addEventListener("input", () => { show(); change(field.options[input.value].value); });
  const set = (value) => {
    input.value = Math.max(0, field.options.findIndex((option) => option.value === value));
    show();
  };
  return { box, set };
}

function choiceField(field, change) {
  const select = own(make("select"));
  for (const option of field.options) select.append(make("option", "", option.label));
  select.addEventListener("change", () => change(field.options[select.selectedIndex].value));
  const set = (value) => { select.selectedIndex = field.options.findIndex((option) => option.value === value); };
  return { box: labelled(field.label, select), set };
}

function toggleField(field, change) {
  const input = own(make("input"));
  input.type = "checkbox";
  input.addEventListener("change", () => change(input.checked));
  return { box: labelled(field.label, input), set: (value) => { input.checked = value; } };
}

// A few chosen numbers: each is a button that takes it out again.
function chosenField(field, change) {
  const box = make("div", "xaiteach-field");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", field.label);
  const set = (value) => {
    const focused = box.contains(document.activeElement);
    box.replaceChildren(make("span", "xaiteach-label", value.length ? field.label : `${field.label} none`));
    for (const each of value) {
      const button = own(make("button", "xaiteach-chip", `${each} ×`));
      button.setAttribute("aria-label", `drop ${each}`);
      button.addEventListener("click", () => change(value.filter((other) => other !== each)));
      box.append(button);
    }
    if (focused) box.querySelector("button")?.focus();
  };
  return { box, set };
}

// A grid to paint on. Its value is a text of hexadecimal digits, row by row, a bit for each cell.
function cellsField(field, change) {
  const [rows, columns] = field.shape;
  const box = make("div", "xaiteach-paint");
  const grid = own(make("div", "xaiteach-grid"));
  grid.tabIndex = 0;
  grid.setAttribute("role", "application");
  grid.setAttribute("aria-label", `${field.label}: ${rows} rows of ${columns} cells`);
  grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  const told = make("span", "xaiteach-value");
  told.setAttribute("aria-live", "polite");
  const cells = [];
  for (let i = 0; i < rows * columns; i += 1) cells.push(make("div", "xaiteach-cell"));
  grid.append(...cells);
  box.append(make("span", "xaiteach-label", `${field.label} (arrows move, space paints)`), grid, told);
  let bits = new Array(rows * columns).fill(false);
  let at = 0;
  let brush = null;

  const text = () => {
    let hex = "";
    for (let i = 0; i < bits.length; i += 4) {
      hex += bits.slice(i, i + 4).reduce((sum, bit) => sum * 2 + (bit ? 1 : 0), 0).toString(16);
    }
    return hex;
  };
  const draw = () => {
    cells.forEach((cell, i) => {
      cell.classList.toggle("xaiteach-on", bits[i]);
      cell.classList.toggle("xaiteach-at", i === at);
    });
    told.textContent = `row ${Math.floor(at / columns)}, column ${at % columns}: ${bits[at] ? "painted" : "empty"}`;
  };
  const paint = (i, value) => {
    at = i;
    if (bits[i] !== value) { bits[i] = value; change(text()); }
    draw();
  };
  grid.addEventListener("keydown", (event) => {
    const row = Math.floor(at / columns);
    const column = at % columns;
    const moves = {
      ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1], ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column], Home: [0, 0], End: [rows - 1, columns - 1],
    };
    if (event.key in moves) {
      const [r, c] = moves[event.key];
      if (r >= 0 && r < rows && c >= 0 && c < columns) at = r * columns + c;
      draw();
    } else if (event.key === " " || event.key === "Enter") {
      paint(at, !bits[at]);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  const place = (event) => {
    const found = document.elementFromPoint(event.clientX, event.clientY);
    return cells.indexOf(found);
  };
  grid.addEventListener("pointerdown", (event) => {
    const i = place(event);
    if (i < 0) return;
    brush = !bits[i];
    paint(i, brush);
    grid.focus();
    event.preventDefault();
  });
  grid.addEventListener("pointermove", (event) => {
    if (brush === null) return;
    if (!(event.buttons & 1)) { brush = null; return; }
    const i = place(event);
    if (i >= 0) paint(i, brush);
  });
  grid.addEventListener("pointerup", () => { brush = null; });
  const set = (value) => {
    bits = [...value].flatMap((digit) => [8, 4, 2, 1].map((bit) => Boolean(parseInt(digit, 16) & bit)));
    draw();
  };
  return { box, set };
}

const FIELDS = {
  range: rangeField, choice: choiceField, toggle: toggleField, chosen: chosenField, cells: cellsField,
};

function render({ model, el }) {
  const spec = model.get("spec");
  const root = make("div", "xaiteach-panel");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.title);
  const busy = make("span", "xaiteach-busy", "");
  busy.setAttribute("role", "status");
  const token = Math.random().toString(36).slice(2);
  const fields = {};
  let values = {};
  let count = 0;
  let underway = null;
  let waiting = null;
  let timer = null;

  const send = (request) => {
    underway = `${token}:${(count += 1)}`;
    root.dataset.asked = underway; // with `answered`, so that a script can see when a panel has settled
    clearTimeout(timer);
    timer = setTimeout(() => {
      busy.textContent = "working …";
      root.setAttribute("aria-busy", "true");
      timer = setTimeout(() => {
        busy.textContent = "No answer yet. Is the kernel busy? If it was restarted, run this panel's cell again.";
      }, LOST_MS);
    }, LATE_MS);
    model.set("request", { ...request, id: underway });
    model.save_changes();
  };
  const ask = (request) => { if (underway) waiting = request; else send(request); };
  const change = (name, value) => { values = { ...values, [name]: value }; ask({ values }); };

  const actions = (list, className, label) => {
    const box = make("div", `xaiteach-actions ${className}`);
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", label);
    for (const action of list) {
      const button = own(make("button", "xaiteach-button", action.label));
      button.addEventListener("click", () => ask({ values, action: action.name }));
      box.append(button);
    }
    return box;
  };

  const controls = make("div", "xaiteach-controls");
  for (const field of spec.fields) {
    fields[field.name] = FIELDS[field.kind](field, (value) => change(field.name, value));
    controls.append(fields[field.name].box);
  }
  const task = make("p", "xaiteach-task", spec.task);
  const picture = make("img", "xaiteach-picture");
  const html = make("div", "xaiteach-html");
  const reading = make("p", "xaiteach-reading");
  const note = make("p", "xaiteach-note");
  for (const live of [reading, note, html]) live.setAttribute("role", "status");
  const error = make("p", "xaiteach-error");
  error.setAttribute("role", "alert");
  const state = make("code", "xaiteach-state");
  if (spec.heading) root.append(make("p", "xaiteach-title", spec.title));
  if (spec.task) root.append(task);
  if (spec.fields.length) root.append(controls);
  if (spec.presets.length) root.append(actions(spec.presets, "xaiteach-presets", "Try these"));
  root.append(picture, reading, html, note, error);
  const foot = make("div", "xaiteach-foot");
  foot.append(actions(spec.actions, "", "Actions"), busy, state);
  root.append(foot);

  const show = () => {
    const frame = model.get("frame");
    const answered = !underway || frame.id === underway;
    if (answered) {
      clearTimeout(timer);
      underway = null;
      busy.textContent = "";
      root.removeAttribute("aria-busy");
      if (root.dataset.asked) root.dataset.answered = frame.id;
    }
    picture.hidden = !frame.picture;
    if (frame.picture) { picture.src = frame.picture; picture.alt = frame.reading; }
    reading.textContent = frame.reading;
    note.textContent = frame.note;
    note.classList.toggle("xaiteach-solved", Boolean(frame.solved));
    if (html.innerHTML !== frame.html) html.innerHTML = frame.html; // made and escaped by the package
    error.textContent = frame.error;
    state.textContent = frame.state;
    for (const box of [reading, html, note, error]) box.hidden = !box.textContent;
    if (answered && waiting) {
      const next = waiting;
      waiting = null;
      send(next);
    } else if (answered) {
      values = frame.values;
      for (const [name, field] of Object.entries(fields)) field.set(values[name]);
    }
  };
  model.on("change:frame", show);
  show();
  el.append(root);
  return () => { clearTimeout(timer); model.off("change:frame", show); };
}

export default { render };

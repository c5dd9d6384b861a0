// The view of learners that go through contexts: what each knows, and what it believes of a test image that the reader
// chooses. It stands behind scrubber.js in one module, and uses its `make`, `place`, `number`, `addUp`, `panel`, `bars`.

const LEARN_CSS = `
.gbi .gbi-pick { flex: 1 1 100%; display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; }
.gbi .gbi-pick canvas { width: 84px; margin: 0; flex: none; }
.gbi .gbi-pick > div { flex: 1 1 200px; min-width: 0; }
.gbi .gbi-pick p { margin: 4px 0 0; font-size: 12px; color: var(--soft); }
.gbi .gbi-choices { display: flex; flex-wrap: wrap; gap: 4px; }
.gbi .gbi-choices button { min-width: 30px; justify-content: center; padding: 0 6px; }
.gbi .gbi-choices button[aria-pressed=true] { font-weight: 700; border: 2px solid currentColor; padding: 0 5px; }
.gbi .gbi-learner { flex: 1 1 100%; min-width: 0; border-top: 1px solid var(--line); padding-top: 6px; }
.gbi .gbi-learner > strong { display: block; margin: 0 0 4px; }
.gbi .gbi-learner > div { display: flex; flex-wrap: wrap; gap: 10px 18px; align-items: flex-start; }
.gbi .gbi-right { flex: 1 1 max(230px, var(--wide)); min-width: 0; margin: 0; }
.gbi .gbi-right table { width: 100%; table-layout: fixed; border-collapse: separate; border-spacing: 2px; margin: 0; }
.gbi .gbi-right :is(th, td) { padding: 0; height: 26px; text-align: center; font-size: 12px; overflow: hidden;
  white-space: nowrap; }
.gbi .gbi-right.gbi-many td { font-size: 11px; }
.gbi .gbi-right th { font-weight: 400; font-size: 11px; color: var(--soft); }
.gbi .gbi-right td { border-radius: 3px; }
.gbi .gbi-right .gbi-told { border: 1px solid var(--line);
  background: color-mix(in srgb, var(--blue) var(--share), transparent); }
.gbi .gbi-right .gbi-later { border: 1px dashed var(--line); background: repeating-linear-gradient(135deg,
  var(--ground) 0 3px, transparent 3px 7px); }
.gbi .gbi-right .gbi-now :is(th, td) { font-weight: 700; color: currentColor; }
.gbi .gbi-right .gbi-now .gbi-told { border: 2px solid currentColor; }
.gbi svg .gbi-truth { fill: none; stroke: currentColor; stroke-dasharray: 4 2; }
.gbi svg .gbi-unheard { font-weight: 700; fill: currentColor; }
.gbi .gbi-side { flex: 1 1 190px; min-width: 0; }
.gbi .gbi-kept > div { display: grid; grid-template-columns: repeat(auto-fill, minmax(max(30px, 17%), 1fr)); gap: 3px 5px;
  max-width: 240px; }
.gbi .gbi-mean { text-align: center; font-size: 11px; color: var(--soft); position: relative; }
.gbi .gbi-mean canvas { width: 100%; margin: 0; }
.gbi .gbi-mean.gbi-absent canvas { visibility: hidden; }
.gbi .gbi-mean.gbi-absent::before { content: "?"; position: absolute; inset: 0 0 1.4em; display: grid;
  place-items: center; border: 1px dashed var(--line); }
.gbi .gbi-gates p { display: flex; gap: 6px; align-items: center; margin: 0 0 3px; font-size: 11px;
  color: var(--soft); }
.gbi .gbi-gates span { flex: 0 0 3.6em; text-align: right; overflow: hidden; white-space: nowrap; }
.gbi .gbi-gates canvas { flex: 1 1 0; min-width: 0; width: 0; height: 16px; margin: 0; opacity: .45; }
.gbi .gbi-gates .gbi-now { font-weight: 700; color: currentColor; }
.gbi .gbi-gates .gbi-now canvas { opacity: 1; border: 2px solid currentColor; }
@media print { .gbi .gbi-learner, .gbi .gbi-pick { break-inside: avoid; } }
`;

function unpackLearning({ entries, learners, contexts, classes, frame: [tall, wide], y, kept, units, ...header }, take) {
  const each = learners.length * y.length * classes.length;
  const pictures = classes.length * tall * wide;
  const record = { learners, contexts, classes, y, units, ...header,
    r: take(Float32Array, entries * learners.length * contexts.length),
    q: addUp(take(Uint8Array, entries * each), each),
    known: take(Uint8Array, entries * classes.length),
    pictures: take(Uint8Array, y.length * tall * wide),
    means: kept ? addUp(take(Uint8Array, entries * pictures), pictures) : null,
    gates: units ? take(Uint8Array, contexts.length * units) : null,
    beliefs: learners.map(() => new Float32Array(entries * classes.length)), // of the image that is looked at
    entries, dim: classes.length, labels: classes, noun: "class", simplex: true, range: [0, 1] };
  look(record, header.image);
  return record;
}

function look(record, image) {
  const { q, beliefs, learners, y, dim, entries } = record;
  record.image = image;
  for (const [k, belief] of beliefs.entries()) {
    for (let step = 0; step < entries; step++) {
      const from = ((step * learners.length + k) * y.length + image) * dim;
      for (let i = 0; i < dim; i++) belief[step * dim + i] = q[from + i] / 255;
    }
  }
}

// The next image of a class; false where there is none.
function lookAtNext(record, k) {
  const { y, image } = record;
  const own = y.flatMap((of, n) => (of === k ? [n] : []));
  if (own.length) look(record, own[(own.indexOf(image) + 1) % own.length]);
  return own.length > 0;
}

// A digit is a class's name, or where none has that name, its number.
function chooseByKey(record, key) {
  if (!/^\d$/.test(key)) return false;
  const named = record.classes.indexOf(key);
  return lookAtNext(record, named < 0 ? +key : named);
}

const rightOf = ({ r, learners, contexts }, step, k, j) => r[(step * learners.length + k) * contexts.length + j];
const heardOf = ({ known, dim }, step, k) => known[step * dim + k] === 1;
const says = (record, k, step) => {
  const { best, value } = largest({ ...record, z: record.beliefs[k] }, step);
  return best < 0 ? `any, each at ${number(value)}` : `${record.classes[best]} at ${number(value)}`;
};

function sayLearning(record, step) {
  const { contexts, context, at, learners, classes, y, image } = record;
  const now = context[step];
  const sofar = learners.map((name, k) => {
    const each = contexts.slice(0, now + 1).map((_, j) => rightOf(record, step, k, j));
    return `${name} ${number(each.reduce((sum, value) => sum + value) / (now + 1))} %`;
  });
  const unheard = heardOf(record, step, y[image]) ? "" : " (not heard of yet)";
  return `context ${now + 1} of ${contexts.length} (${contexts[now]}), step ${at[step]}; right so far: `
    + `${sofar.join(", ")}; the ${classes[y[image]]} shown${unheard} is read as: `
    + learners.map((name, k) => `${name} ${says(record, k, step)}`).join(", ");
}

function paint(canvas, values, from) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set([...Array(3).fill(values[from + i]), 255], 4 * i);
  context.putImageData(image, 0, 0);
}

// ---- the panels ----

function picker(parent, record, refresh) {
  const { frame: [height, width], classes, pictures, y } = record;
  const box = make("div", { class: "gbi-pick" }, parent);
  const canvas = make("canvas", { width, height, role: "img" }, box);
  const side = make("div", {}, box);
  const row = make("div", { class: "gbi-choices", role: "group", "aria-label": "Next test image of a class" }, side);
  const buttons = classes.map((name, k) => {
    const label = `Next test image of ${name}`;
    const node = make("button", { type: "button", "aria-label": label, title: label,
      "data-lm-suppress-shortcuts": "true" }, row, name);
    node.disabled = !y.includes(k);
    node.addEventListener("click", () => { lookAtNext(record, k); refresh(); });
    return node;
  });
  const told = make("p", {}, side);
  let shown = -1;
  return {
    draw() {
      const { image } = record;
      if (image === shown) return;
      shown = image;
      paint(canvas, pictures, image * width * height);
      const own = y.flatMap((of, n) => (of === y[image] ? [n] : []));
      const which = `a test image of ${classes[y[image]]} (${own.indexOf(image) + 1} of ${own.length})`;
      canvas.setAttribute("aria-label", which);
      told.textContent = `${which}; a digit key or a button shows the next. Below, a dashed box stands around its class, `
        + "and ? at classes not heard of yet.";
      for (const [k, node] of buttons.entries()) node.setAttribute("aria-pressed", k === y[image]);
    },
  };
}

// Percent right, a row for each context that is learned. Rows before the current one keep what they ended with.
function rightPanel(parent, record, k) {
  const { contexts, context } = record;
  const box = make("figure", { class: `gbi-right ${contexts.length > 7 ? "gbi-many" : ""}`,
    style: `--wide: ${32 * contexts.length + 32}px` }, parent);
  make("figcaption", { class: "gbi-head" }, box, "% right: row, learning; column, asked");
  const table = make("table", { "aria-label": `${record.learners[k]}: percent right. Rows: the context that is `
    + "learned. Columns: the context that is asked" }, box);
  const head = make("tr", {}, table);
  make("td", {}, head);
  for (const name of contexts) make("th", { scope: "col", title: name }, head, name);
  const rows = contexts.map((name) => {
    const row = make("tr", {}, table);
    make("th", { scope: "row", title: name }, row, name);
    return { row, cells: contexts.map(() => make("td", {}, row)) };
  });
  return {
    draw(step) {
      const now = context[step];
      for (const [i, { row, cells }] of rows.entries()) {
        row.className = i === now ? "gbi-now" : "";
        const seen = i < now ? context.lastIndexOf(i) : i === now ? step : -1;
        for (const [j, cell] of cells.entries()) {
          const value = seen < 0 ? NaN : rightOf(record, seen, k, j);
          cell.textContent = Number.isNaN(value) ? "" : toDecimals(value, 0);
          cell.className = !Number.isNaN(value) ? "gbi-told" : i <= now ? "gbi-later" : "";
          cell.style.setProperty("--share", `${(value || 0) * 0.5}%`);
        }
      }
    },
  };
}

// The bars of every scrubber, with a box around the right class, and a question mark at those not heard of yet.
function beliefPanel(parent, record, k) {
  const { classes, learners, y } = record;
  const drawn = bars(parent, { ...record, z: record.beliefs[k], words: { z: "belief" } });
  const { svg } = drawn;
  let truth, unheard, spots;
  function layout(width) {
    drawn.layout(width);
    spots = Array.from(svg.querySelectorAll(".gbi-bar"), (bar) => [+bar.getAttribute("x"), +bar.getAttribute("width")]);
    const bottom = Math.max(...Array.from(svg.querySelectorAll("line"), (line) => +line.getAttribute("y1")));
    truth = make("rect", { class: "gbi-truth", y: 2, height: bottom + 20, rx: 4 }, svg);
    unheard = spots.map(([x, wide]) => make("text", { class: "gbi-unheard", x: x + wide / 2, y: bottom - 5,
      "text-anchor": "middle" }, svg));
  }
  function draw(step) {
    drawn.draw(step);
    const [x, wide] = spots[y[record.image]];
    place(truth, { x: x - wide * 0.1, width: wide * 1.2 });
    for (const [i, node] of unheard.entries()) node.textContent = heardOf(record, step, i) ? "" : "?";
    const missing = classes.filter((_, i) => !heardOf(record, step, i));
    svg.setAttribute("aria-label", `Belief of ${learners[k]}: ${says(record, k, step)}; the right class is `
      + `${classes[y[record.image]]}. Not heard of yet: ${missing.join(", ") || "none"}.`);
  }
  return { svg, layout, draw };
}

function meansPanel(parent, record) {
  const { frame: [height, width], classes, means, dim } = record;
  const box = panel(parent, "mean pictures kept", "gbi-kept");
  const grid = make("div", { role: "img" }, box);
  const each = classes.map((name) => {
    const cell = make("div", { class: "gbi-mean" }, grid);
    const canvas = make("canvas", { width, height, "aria-hidden": "true" }, cell);
    make("span", {}, cell, name);
    return { cell, canvas };
  });
  return {
    draw(step) {
      for (const [k, { cell, canvas }] of each.entries()) {
        cell.className = `gbi-mean ${heardOf(record, step, k) ? "" : "gbi-absent"}`;
        paint(canvas, means, (step * dim + k) * width * height);
      }
      const kept = classes.filter((_, k) => heardOf(record, step, k));
      grid.setAttribute("aria-label", `Mean pictures kept so far: of ${kept.join(", ")}.`);
    },
  };
}

// Units that are on, in the colour of the text, a row for each context.
function gatesPanel(parent, record) {
  const { contexts, context, gates, units } = record;
  const box = panel(parent, `gates of ${units} units by context`, "gbi-gates");
  const rows = contexts.map((name, i) => {
    const row = make("p", {}, box);
    make("span", { title: name }, row, name);
    const on = gates.subarray(i * units, (i + 1) * units).filter((value) => value > 127).length;
    const canvas = make("canvas", { width: units, height: 1, role: "img",
      "aria-label": `${on} of ${units} units on in context ${name}` }, row);
    return { row, canvas };
  });
  return {
    draw(step) {
      const ink = (getComputedStyle(box).color.match(/\d+/g) || [128, 128, 128]).slice(0, 3).map(Number);
      for (const [i, { row, canvas }] of rows.entries()) {
        row.className = i === context[step] ? "gbi-now" : "";
        const drawing = canvas.getContext("2d");
        const image = drawing.createImageData(units, 1);
        for (let u = 0; u < units; u++) image.data.set([...ink, gates[i * units + u]], 4 * u);
        drawing.putImageData(image, 0, 0);
      }
    },
  };
}

function learningPanels(parent, record, go, refresh) {
  const panels = [picker(parent, record, refresh)];
  parent.parentElement.addEventListener("keydown", ({ key, ctrlKey, metaKey, altKey }) => {
    if (!ctrlKey && !metaKey && !altKey && chooseByKey(record, key)) refresh();
  });
  for (const [k, name] of record.learners.entries()) {
    const own = make("div", { class: "gbi-learner", role: "group", "aria-label": name }, parent);
    make("strong", {}, own, name);
    const row = make("div", {}, own);
    panels.push(rightPanel(row, record, k), beliefPanel(row, record, k));
    if (!record.gates && !record.means) continue;
    const side = make("div", { class: "gbi-side" }, row); // empty, it keeps the learners' panels below each other
    if (record.gates && k === 0) panels.push(gatesPanel(side, record));
    if (record.means && k === record.learners.length - 1) panels.push(meansPanel(side, record));
  }
  return panels;
}

KINDS.learning = { css: LEARN_CSS, unpack: unpackLearning, panels: learningPanels, words: sayLearning,
  place: ({ contexts, context, at }, step) => `context ${context[step] + 1} of ${contexts.length}, step ${at[step]}`,
  name: "Learners that go through contexts", slider: "Moment of training" };

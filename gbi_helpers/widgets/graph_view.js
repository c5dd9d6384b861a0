// The view of any model: it infers in the page, from a start that the reader moves. It stands behind scrubber.js,
// engine.js and graph.js in one module. The entries that the frame's slider scrubs through are the fifty steps.

const GRAPH_CSS = `
.gbi .gbi-start { flex: 1 1 100%; display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; }
.gbi .gbi-start label { display: flex; align-items: center; gap: 8px; }
.gbi .gbi-start label:last-child { flex: 1 1 260px; }
.gbi .gbi-start select { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: 6px; height: 30px; padding: 0 4px; max-width: 100%; }
.gbi .gbi-start option { color: #000; background: #fff; }
@media print { .gbi .gbi-start { display: none; } }
`;
const STEPS = 50;
const SLICE = 8; // ms of the fifty steps between two frames

function unpackGraph({ told, bytes, sha256: wanted, dim, z0, every, step_size }, take) {
  const all = take(Uint8Array, told + bytes);
  if (sha256(all) !== wanted) throw damaged("by their SHA-256");
  const lossFn = graphModel(JSON.parse(new TextDecoder().decode(all.subarray(0, told))), all.subarray(told));
  const record = { lossFn, simplex: true, range: [0, 1], words: { z: "z" }, lean: 0, sure: 0, q: zeros(dim),
    z: zeros((STEPS + 1) * dim), loss: zeros(STEPS + 1), turn: 0, exact: every ? enumerateTasks(lossFn, dim).q : null };
  Object.assign(record, { dim, z0, step_size });
  begin(record);
  return record;
}

// One step from the start that is chosen now; returns the fifty, which are still to be walked.
function begin(record) {
  const { lossFn, dim, z0, lean, sure, step_size } = record;
  const start = Float64Array.from(z0, (share, k) => (1 - sure) * share + (k === lean ? sure : 0));
  record.q.set(oneStep(lossFn, start, step_size).q);
  return walk(lossFn, start, { steps: STEPS });
}

function takePath(record, path) {
  for (const [step, { z, loss }] of path.entries()) {
    record.z.set(z, step * record.dim);
    record.loss[step] = loss;
  }
  record.turn += 1; // none while the first is being walked
}

// In slices, so that the slider never waits; what was begun for an older start is dropped.
function follow(record, refresh) {
  const steps = begin(record);
  const path = [];
  record.walking = steps;
  refresh();
  const go = () => {
    const until = performance.now() + SLICE;
    while (path.length <= STEPS && performance.now() < until) path.push(steps.next().value);
    if (record.walking !== steps) return;
    if (path.length <= STEPS) return void requestAnimationFrame(go);
    takePath(record, path);
    refresh();
  };
  go();
}

const saidOf = ({ dim, noun, labels }, z, step = 0) => {
  const { best, value } = largest({ dim, z }, step);
  return best < 0 ? `all ${dim} equal at ${number(value)}` : sayTask({ noun, labels }, best, value);
};

function sayGraph(record, step) {
  const every = record.exact ? `; every task tried: ${saidOf(record, record.exact)}` : "";
  const walked = `; step ${step} of ${STEPS}: ${saidOf(record, record.z, step)}, loss ${number(record.loss[step])} nats`;
  return `One step: ${saidOf(record, record.q)}${record.turn ? walked : ""}${every}`;
}

// Bars of one belief, whatever the step, or of that at each step.
function belief(parent, record, z, name) {
  const { dim } = record;
  const entries = z.length / dim;
  const drawn = bars(parent, { ...record, z, entries, words: { z: name } });
  return { ...drawn, draw(step) {
    const at = entries > 1 ? step : 0;
    drawn.draw(at);
    const said = sayBars(record, z.subarray(at * dim, (at + 1) * dim));
    drawn.svg.setAttribute("aria-label", `Bars of ${name}. ${said}.`);
  } };
}

// The loss over the steps, drawn anew for each path.
function lossCurve(parent, record, go) {
  const drawOne = () => curve(parent, { heading: "loss (nats) over fifty steps", lines: [{ values: record.loss }],
    at: Array.from(record.loss, (_, step) => step), say: (step) => `Curve of the loss with the cursor at step ${step}: `
      + `${number(record.loss[step])} nats.` }, go);
  let [shown, drawn, width] = [drawOne(), record.turn, 320];
  return {
    get svg() { return shown.svg; },
    layout(wide) { shown.layout(width = wide); },
    draw(step) {
      if (drawn !== record.turn) {
        drawn = record.turn;
        const [old, { width: wide, height }] = [shown.svg, shown.svg.getBoundingClientRect()];
        shown = drawOne();
        old.parentElement.replaceWith(shown.svg.parentElement);
        shown.layout(wide || width);
        place(shown.svg, { viewBox: `0 0 ${wide || width} ${height || HEIGHT}`, preserveAspectRatio: "xMinYMin" });
      }
      shown.draw(step);
    },
  };
}

function startControls(parent, record, refresh) {
  const own = { "data-lm-suppress-shortcuts": "true" };
  const row = make("div", { class: "gbi-start", role: "group", "aria-label": "Where inference starts" }, parent);
  const choose = make("label", {}, row, "Start near");
  const select = make("select", own, choose);
  for (const [k, name] of record.labels.entries()) make("option", { value: k }, select, `${record.noun} ${name}`.trim());
  const how = make("label", {}, row, "by");
  const slider = make("input", { type: "range", min: 0, max: 99, step: 1, value: 0, class: "gbi-other", ...own }, how);
  const shown = make("span", { "aria-hidden": "true" }, how);
  const tell = () => {
    shown.textContent = `${slider.value} %`;
    const where = `${slider.value} % of the start on ${select.options[select.selectedIndex].textContent}`;
    place(slider, { "aria-valuetext": where, "aria-label": "Share of the start" });
  };
  const changed = () => {
    Object.assign(record, { lean: +select.value, sure: +slider.value / 100 });
    tell();
    follow(record, refresh);
  };
  tell();
  select.addEventListener("change", changed);
  slider.addEventListener("input", changed);
}

function graphPanels(parent, record, go, refresh) {
  startControls(parent, record, refresh);
  const panels = [belief(parent, record, record.q, "one step: q"),
    belief(parent, record, record.z, "z at the cursor")];
  if (record.exact) panels.push(belief(parent, record, record.exact, "every task tried: q"));
  requestAnimationFrame(() => follow(record, refresh));
  return [...panels, lossCurve(parent, record, go)];
}

KINDS.graph = { css: GRAPH_CSS, unpack: unpackGraph, panels: graphPanels, words: sayGraph,
  name: "A model that infers in this page", slider: "Gradient step" };

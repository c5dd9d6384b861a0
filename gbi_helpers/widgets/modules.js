// The modules view: hidden units x tasks of several networks over training. It stands behind scrubber.js in one module,
// and uses its `make`, `place`, `number`, `addUp`, `curve`.

const MODULES_CSS = `
.gbi .gbi-net { flex: 1 1 260px; min-width: 0; margin: 0; }
.gbi .gbi-net > figcaption { font-weight: 600; margin: 0 0 6px; }
.gbi .gbi-maps { display: flex; gap: 14px; }
.gbi .gbi-map { flex: 1 1 0; min-width: 0; }
.gbi .gbi-map.gbi-gate { flex-grow: .62; }
.gbi .gbi-columns { display: flex; gap: 3px; }
.gbi .gbi-column { flex: 1 1 0; min-width: 0; text-align: center; }
.gbi .gbi-column canvas { width: 100%; height: var(--tall); margin: 2px 0 3px; border: 0; border-radius: 2px;
  background: color-mix(in srgb, currentColor 6%, transparent); }
@media (forced-colors: active) { .gbi .gbi-column canvas { border: 1px solid CanvasText; } }
.gbi .gbi-column span { display: block; font-size: 11px; color: var(--soft); overflow: hidden;
  overflow-wrap: anywhere; }
.gbi .gbi-none { height: var(--tall); margin: 4px 0 3px; border: 1px dashed var(--line); border-radius: 2px;
  display: grid; place-items: center; font-size: 12px; color: var(--soft); }
.gbi .gbi-counts { font-size: 12px; color: var(--soft); margin: 4px 0 0; min-height: 1.4em; }
.gbi .gbi-panel.gbi-lines { flex: 1 1 100%; }
@media print { .gbi .gbi-net { break-inside: avoid; } }
`;

function unpackModules({ entries, tasks, units, nets }, take) {
  const size = tasks.length * units;
  const at = Array.from(take(Uint32Array, entries));
  const read = () => addUp(take(Uint8Array, entries * size), size);
  return { at, nets: nets.map((net) => ({ ...net,
    activation: read(),
    gate: net.gated ? read() : null,
    owned: take(Uint16Array, entries * tasks.length),
    metric: take(Float32Array, entries) })) };
}

function sayModules({ at, last, nets, curve }, step) {
  const each = nets.map(({ name, metric }) => `${name} ${curve} ${number(metric[step])}`).join(", ");
  return `training step ${count(at[step])} of ${count(at[last])}: ${each}`;
}

const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

function belongs({ tasks, units }, { owned }, step) {
  const mine = Array.from(tasks, (_, k) => owned[step * tasks.length + k]);
  const shared = units - mine.reduce((sum, n) => sum + n, 0);
  return `${mine.map((n, k) => `${tasks[k]}: ${n}`).join(", ")}, shared or silent: ${shared}`;
}

// Colours of the tasks' columns, read anew for every step: the theme may have changed from light to dark. In forced
// colours all are in the colour of the text: their names stand below.
function inks(node) {
  if (matchMedia("(forced-colors: active)").matches) return [grey(node)];
  const style = getComputedStyle(node);
  const named = ["--blue", "--mark", "--green"].map((name) => style.getPropertyValue(name).trim());
  return [...named, "#CC79A7", "#56B4E9", "#E69F00"].map(rgb);
}

function rgb(hex) {
  return [1, 3, 5].map((from) => parseInt(hex.slice(from, from + 2), 16));
}

function grey(node) {
  return (getComputedStyle(node).color.match(/\d+/g) || [128, 128, 128]).slice(0, 3).map(Number);
}

// One column of units for each task; the strength of a cell is the opacity of its ink.
function heatmap(parent, record, values, heading, classes) {
  const { tasks, units } = record;
  const box = make("div", { class: `gbi-map ${classes}` }, parent);
  make("div", { class: "gbi-head" }, box, heading);
  if (!values) {
    make("div", { class: "gbi-none" }, box, "no gate");
    return () => {};
  }
  const row = make("div", { class: "gbi-columns" }, box);
  const columns = Array.from(tasks, (name) => {
    const column = make("div", { class: "gbi-column" }, row);
    const context = make("canvas", { width: 1, height: units, "aria-hidden": "true" }, column).getContext("2d");
    make("span", { title: name }, column, name);
    return { context, image: context.createImageData(1, units) };
  });
  return (step, ink) => {
    for (const [k, { context, image }] of columns.entries()) {
      const [red, green, blue] = ink[k % ink.length];
      const start = (step * tasks.length + k) * units;
      for (let u = 0; u < units; u++) image.data.set([red, green, blue, values[start + u]], 4 * u);
      context.putImageData(image, 0, 0);
    }
  };
}

function network(parent, record, net) {
  const box = make("figure", { class: "gbi-net" }, parent);
  make("figcaption", {}, box, net.name);
  const maps = make("div", { class: "gbi-maps", role: "img" }, box);
  const gate = record.nets.some(({ gated }) => gated) ? heatmap(maps, record, net.gate, "gate", "gbi-gate") : null;
  const activation = heatmap(maps, record, net.activation, "drive on the output", "");
  const counts = make("p", { class: "gbi-counts" }, box);
  return {
    draw(step) {
      gate?.(step, [grey(box)]);
      activation(step, inks(box));
      const words = belongs(record, net, step);
      counts.textContent = `units for ${words}`;
      maps.setAttribute("aria-label", `${net.name}, ${record.units} units by ${record.tasks.length} tasks at training `
        + `step ${count(record.at[step])}. Units for ${words}.`);
    },
  };
}

function modules(parent, record, go) {
  parent.style.setProperty("--tall", `${Math.min(360, Math.max(150, record.units * 6))}px`);
  const lines = record.nets.map(({ name, metric }) => ({ name: record.nets.length > 1 ? name : "", values: metric }));
  return [
    ...record.nets.map((net) => network(parent, record, net)),
    curve(parent, { heading: `${record.curve} over training steps`, lines, at: record.at, classes: "gbi-lines",
      say: (step) => `Curve with the cursor there: ${sayModules(record, step)}.` }, go),
  ];
}

KINDS.modules = { css: MODULES_CSS, unpack: unpackModules, panels: modules, words: sayModules,
  place: ({ at, last }, step) => `training step ${count(at[step])} of ${count(at[last])}`,
  name: "Units and tasks over training", slider: "Moment of training" };

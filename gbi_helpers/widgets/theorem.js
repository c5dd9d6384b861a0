// One gradient step beside exact Bayes for a Gaussian decoder of z alone, computed here at every place of the sliders.
// It stands behind engine.js and slide.js, and draws what theorem_parts.py draws: the same panels, curves and numbers.

const POINTS = 25; // of the loss on the way to a task, and of a bell
const LONG = 0.6; // of a way, where each task has one of its own; the next begins at 1

// The setting with one number changed; other shares of z0 keep their proportions.
function withMoved(setting, { what, at }, value) {
  const [first, second] = at;
  const put = (list, k, each) => list.map((old, j) => (j === k ? each : old));
  const changed = {
    x: () => put(setting.x, first, value),
    patterns: () => put(setting.patterns, first, put(setting.patterns[first], second, value)),
    z0: () => leant(setting.z0, first, value),
  }[what]?.() ?? value;
  return { ...setting, [what]: changed };
}

function leant(z0, task, share) {
  const rest = z0.reduce((sum, each, k) => (k === task ? sum : sum + each), 0);
  return z0.map((each, k) => (k === task ? share
    : (1 - share) * (rest > 0 ? each / rest : 1 / (z0.length - 1))));
}

// What one step and exact Bayes say of a setting. `fixed`: with the gap put back.
export function theorem(setting, fixed = false) {
  const { patterns, x, spread, n, sd, z0, step_size: size } = setting;
  const [one, own] = [gaussianDecoder(patterns, sd).lossOf(x), spread / (2 * sd * sd)];
  const lossFn = (z) => {
    const { loss, grad } = one(z);
    return { loss: n * (loss + own), grad: grad.map((slope) => n * slope) };
  };
  const { loss: level, grad } = oneStep(lossFn, z0, size);
  const { loss, logQ: logP, q: p } = enumerateTasks(lossFn, z0.length);
  const flat = dot(grad, 0, z0, 0, z0.length);
  const rise = grad.map((slope) => slope - flat);
  const tangent = rise.map((nats) => level + size * nats);
  const read = tangent.map((nats, k) => nats + (fixed ? loss[k] - level - rise[k] : 0));
  const logQ = logSoftmax(read.map((nats) => -nats));
  const missed = loss.map((nats, k) => nats - read[k]);
  const rounding = 1e-12 * Math.max(1, ...loss.map(Math.abs), ...tangent.map(Math.abs));
  const [unequal, kl] = [Math.max(...missed) - Math.min(...missed),
    p.reduce((sum, share, k) => sum + share * (logP[k] - logQ[k]), 0)].map((nats) => (nats > rounding ? nats : 0));
  return { setting, lossFn, level, loss, tangent, read, q: logQ.map(Math.exp), p, unequal, kl };
}

const predicted = ({ patterns, z0 }) => Array.from(gaussianDecoder(patterns).decode(z0));
const along = (count, last = 1) => Array.from(Array(count), (_, i) => (last * i) / (count - 1));
// Lines one after the other, each a list of [x, y], with NaN behind each, where the pen is lifted.
const broken = (lines) => [0, 1].map((axis) => lines.flatMap((line) => [...line.map((point) => point[axis]), NaN]));

// Round limits around two values, so that they move in jumps; a difference that is only rounding counts as none.
export function nice(low, high) {
  const size = Math.max(1, Math.abs(low), Math.abs(high));
  const rough = (high - low > 1e-6 * size ? high - low : size) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const [bottom, top] = [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step];
  return [bottom, top > bottom ? top : bottom + step];
}

// ---- the panels: for each curve [x, y], in the order of theorem_parts.py ----

function ways({ setting: { z0 }, lossFn, level, loss, tangent, read }) {
  const [tasks, two] = [[...z0.keys()], z0.length === 2];
  const start = tasks.map((k) => (two ? z0[1] : k));
  const end = tasks.map((k) => (two ? k : k + LONG));
  const way = tasks.map((k) => along(POINTS).map((t) => [start[k] + t * (end[k] - start[k]),
    lossFn(z0.map((share, j) => share + t * ((j === k ? 1 : 0) - share))).loss]));
  const curves = [
    broken(way),
    broken(tasks.map((k) => [[start[k], level], [end[k], tangent[k]]])),
    ...(two ? [[[0, 1], [...loss]]] : []),
    broken(tasks.map((k) => [[end[k], tangent[k]], [end[k], loss[k]]])),
    [end, [...loss]],
    [end, [...read]],
    two ? [[z0[1]], [level]] : [start, tasks.map(() => level)],
  ];
  const values = [...way.flat().map(([, nats]) => nats), ...loss, ...tangent, ...read];
  const notes = tasks.map((k) => [end[k], (loss[k] + tangent[k]) / 2, loss[k] - tangent[k]]);
  return { curves, notes, ylim: nice(Math.min(...values), Math.max(...values)) };
}

// A circle, as far as it is seen.
function circle(hub, radius, seen) {
  const at = (angle) => [hub[0] + radius * Math.cos(angle), hub[1] + radius * Math.sin(angle)];
  const points = along(61, 2 * Math.PI).map(at);
  const isSeen = (point) => point.every((value, axis) => value >= seen[axis][0] && value <= seen[axis][1]);
  return [0, 1].map((axis) => points.map((point) => (isSeen(point) ? point[axis] : NaN)));
}

function plane({ setting }, seen) {
  const [{ patterns, x }, hub] = [setting, predicted(setting)];
  const radius = Math.max(...patterns.map(([across, up]) => Math.hypot(across - hub[0], up - hub[1])));
  return { curves: [
    circle(hub, radius, seen),
    broken(patterns.map((pattern) => [hub, pattern])),
    [[hub[0], x[0]], [hub[1], x[1]]],
    [0, 1].map((axis) => patterns.map((pattern) => pattern[axis])),
    [[hub[0]], [hub[1]]],
    [[x[0]], [x[1]]],
  ] };
}

function bells({ setting }, [[from, to]]) {
  const { patterns, x, sd } = setting;
  const [hub] = predicted(setting);
  const bell = ([mean]) => along(POINTS).map((t) => {
    const at = Math.min(Math.max(mean + sd * (8 * t - 4), from), to);
    return [at, Math.exp(-(((at - mean) / sd) ** 2) / 2)];
  });
  return { curves: [
    broken(patterns.map(bell)),
    [[hub, x[0]], [0, 0]],
    [patterns.map(([mean]) => mean), patterns.map(() => 1)],
    [[hub], [0]],
    [[x[0]], [0]],
  ] };
}

function beliefs({ q, p }) {
  const place = [...p.keys()];
  return { curves: [[place, [...q]], [place, [...p]]] };
}

// All panels and numbers of a setting.
export function theoremPanels(found, seen) {
  const { setting: { x }, read, loss, unequal, kl } = found;
  const data = { 1: bells, 2: plane }[x.length];
  const odds = loss.length === 2 ? [read[1] - read[0], loss[1] - loss[0]] : [];
  return { panels: [...(data ? [data(found, seen)] : []), ways(found), beliefs(found)], says: [...odds, unequal, kl] };
}

// ---- the record ----

export const knobPlaces = ({ low, high, step, digits, count, start, value }) => Array.from(Array(count), (_, i) => (
  i === start ? value : i === 0 ? low : i === count - 1 ? high : +(low + i * step).toFixed(digits)));

function unpackTheorem({ live, panels, says }) {
  const sliders = live.knobs.map((knob) => [knob.name, knobPlaces(knob), knob.step]);
  let [last, shown] = [];
  function moment({ at, fixed }, step) {
    const places = [step, ...at.slice(1)];
    const key = `${places} ${fixed}`;
    if (key === last) return shown;
    const setting = live.knobs.reduce((all, knob, k) => withMoved(all, knob, sliders[k][1][places[k]]), live);
    [last, shown] = [key, theoremPanels(theorem(setting, fixed), [panels[0].xlim, panels[0].ylim])];
    return shown;
  }
  return { sliders, moment, switches, fixed: false,
    named: ({ fixed }, name) => (fixed && name === "one step" ? "one step + \u03b4" : name),
    told: [...bests(panels.at(-1)), ...says.map((name, k) => [name, (now) => now.says[k]])],
    panels: panels.map((panel, p) => ({ ...panel, ...livePanel(panel, (now) => now.panels[p]),
      drag: p < panels.length - 2 && dragging(live.knobs) })) };
}

// What moves of a panel; `own` is its part of the moment.
function livePanel(panel, own) {
  return {
    limits: (now) => ({ ylim: panel.ylim, ...own(now) }),
    noted: (now) => own(now).notes.map(([x, y, nats]) => [x, y, number(nats)]),
    said: panel.notes && ((now) => sayMissed(panel, own(now))),
    curves: panel.curves.map((curve, c) => ({ ...curve,
      x: (now) => own(now).curves[c][0],
      y: (now) => own(now).curves[c][1],
      dots: curve.dots && { ...curve.dots, fill: () => curve.dots.fill } })),
  };
}

// Puts x where the pointer is, as far as sliders move it.
const dragging = (knobs) => ({ sliders, set }, ...where) => {
  for (const [k, { what, at: [axis] }] of knobs.entries()) {
    if (what !== "x") continue;
    const off = sliders[k][1].map((value) => Math.abs(value - where[axis]));
    set[k](off.indexOf(Math.min(...off)));
  }
};

// Of more than two tasks the read-out begins with what each way believes most.
function bests({ curves, labels }) {
  const best = (belief) => `${labels[argmax(belief)]} at ${number(Math.max(...belief))}`;
  return labels.length > 2 ? curves.map(({ name }, c) => [name, (now) => best(now.panels.at(-1).curves[c][1])]) : [];
}

const sayMissed = ({ marks }, { notes }) => (
  ` Missed by the tangent: ${marks.map(([, name], k) => `${name} ${number(notes[k][2])}`).join(", ")}.`);

function switches(parent, record, refresh) {
  const label = make("label", { class: "gbi-second gbi-switch" }, parent);
  const box = make("input", { type: "checkbox", class: "gbi-other", "data-lm-suppress-shortcuts": "true" }, label);
  make("span", {}, label, "put the gap \u03b4 back");
  box.addEventListener("change", () => { record.fixed = box.checked; refresh(); });
}

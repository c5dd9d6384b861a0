// The view in which one draws and the network says, while the pen moves, what it takes the drawing for. It stands
// behind scrubber.js, engine.js, images.js and strokes.js in one module. The entries that the frame's slider scrubs
// through are the fifty steps for what is on the pad.

const DRAW_CSS = `
.gbi .gbi-pad { flex: 0 1 auto; margin: 0; width: 190px; }
.gbi .gbi-pad canvas { width: 190px; height: 190px; margin: 4px 0 0; touch-action: none; cursor: crosshair;
  border: 1px solid var(--soft); border-radius: 6px; image-rendering: auto;
  accent-color: var(--mark); }
.gbi .gbi-pad-row { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; margin: 6px 0 0; }
.gbi .gbi-pad select { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line);
  border-radius: 6px; height: 30px; padding: 0 4px; flex: 1 1 90px; min-width: 0; }
.gbi .gbi-pad option, .gbi .gbi-pad optgroup { color: #000; background: #fff; }
.gbi .gbi-pad label { display: flex; gap: 6px; align-items: flex-start; font-size: 12px; margin: 6px 0 0; }
.gbi .gbi-pad input { -webkit-appearance: auto; appearance: auto; flex: none; min-width: 0; width: 16px; height: 16px;
  margin: 1px 0 0; accent-color: var(--blue); }
.gbi .gbi-pad p { margin: 6px 0 0; font-size: 12px; color: var(--soft); min-height: 2.8em; }
.gbi svg .gbi-way { fill: none; stroke: var(--soft); stroke-width: 1; opacity: .7; }
.gbi svg .gbi-way.gbi-best { stroke: var(--mark); stroke-width: 3; opacity: 1; }
.gbi .gbi-found { flex: 1 1 300px; min-width: 0; display: flex; flex-wrap: wrap; gap: 10px 18px; }
.gbi .gbi-seen { flex: 1 1 100%; flex-wrap: wrap; }
.gbi .gbi-seen canvas { width: 84px; margin-top: 2px; }
.gbi .gbi-seen .gbi-head { white-space: normal; width: 92px; min-height: 2.8em; }
@media (forced-colors: active) { .gbi .gbi-pad canvas { border: 2px solid CanvasText; } }
@media print { .gbi .gbi-pad :is(.gbi-pad-row, label, p) { display: none; } }
`;
const SLICE = 8; // ms of the fifty steps between two frames
const STEPS = 50;


function unpackDrawing({ network, bytes, count, dim, ...header }, take) {
  const net = imageModel(unpackWeights(network, take(Uint8Array, bytes)), network);
  const images = Array.from(Array(count), () => Float64Array.from(take(Uint8Array, SIDE * SIDE), (ink) => ink / 255));
  const record = { ...header, net, images, dim, simplex: true, entries: STEPS + 1, strokes: [], image: 0,
    prepared: true, q: zeros(dim), path: [] };
  judge(record);
  return record;
}

// ---- inference ----

// What one step says of the pad, or of the image that was chosen. An empty pad says nothing.
function judge(record) {
  const { net, image, images, strokes, prepared, dim } = record;
  const x = image === null ? (prepared ? likeMnist : asDrawn)(strokes) : images[image];
  const h = net.encode(x);
  record.empty = x.every((ink) => ink === 0);
  record.lossFn = record.empty ? () => ({ loss: 0, grad: zeros(dim) }) : net.lossOf(h, x);
  const { loss, grad, q } = oneStep(record.lossFn, maxEntropy(dim), record.step_size);
  record.q.set(q);
  record.score = logOdds(grad.map((slope) => -slope / loss));
  Object.assign(record, { x, draws: (z) => net.picture(h, z) });
}

// How far the largest entry of softmax(scores) is above all others together (gbi_helpers.metrics.log_odds).
function logOdds(scores) {
  const best = argmax(scores);
  return scores[best] - logSumExp(scores.filter((_, k) => k !== best));
}

// The fifty steps, in slices, so that the pen never waits. What has begun is walked to its end, and then begun again
// for what is on the pad by then: so the path keeps up with a pen that does not rest.
function follow(record, refresh) {
  record.late = record.walking;
  if (record.walking) return;
  const { lossFn, draws, dim } = record;
  const steps = walk(lossFn, maxEntropy(dim), { steps: STEPS });
  const path = [];
  record.walking = true;
  const go = () => {
    const until = performance.now() + SLICE;
    while (path.length <= STEPS && performance.now() < until) path.push(steps.next().value);
    if (path.length <= STEPS) return requestAnimationFrame(go);
    Object.assign(record, { path, walked: draws, walking: false });
    refresh();
    return record.late && follow(record, refresh);
  };
  go();
}

const saidOf = ({ dim, noun, labels }, z) => {
  const { best, value } = largest({ dim, z }, 0);
  return best < 0 ? `all ${dim} equal at ${number(value)}` : sayTask({ noun, labels }, best, value);
};

function sayDrawing(record, step) {
  const { empty, q, path, score, familiar } = record;
  if (empty) return "The pad is empty: draw, or choose below it";
  const at = path[step];
  const walked = at ? `; step ${step} of ${STEPS}: ${saidOf(record, at.z)}, loss ${number(at.loss)} nats` : "";
  const known = familiar === null ? "" : `; ${score < familiar ? "strange" : "familiar"}: score ${number(score)}, and `
    + `95 of 100 known images lie above ${number(familiar)}`;
  return `One step: ${saidOf(record, q)}${walked}${known}`;
}

// ---- the pad ----

const HELP = "Drawing pad. Arrow keys move the pen, with Shift further. Space puts it down or lifts it. "
  + "Backspace takes back the last stroke, Delete clears all.";
const HINT = "Keys: arrows, Space (pen), Backspace, Delete.";
const OFFERED = "Enter takes it, Escape leaves the pad as it is.";
const NO_POINTER = "This browser tells of no pointer: use the keys (arrows, Space), or choose.";
const KEY_MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// `changed` is called at most once a frame.
function pad(parent, record, changed) {
  const size = 380; // two pixels of the canvas for one of the page
  const canvas = make("canvas", { width: size, height: size, tabindex: 0, role: "application", class: "gbi-other",
    "aria-label": HELP, "data-lm-suppress-shortcuts": "true" }, parent);
  const context = canvas.getContext("2d");
  let pen = [0.5, 0.2]; // the keyboard's
  let down = false; // that one
  let drawing = null; // the pointer that does
  let waiting = 0;
  let say = () => {};
  let anew = () => {};

  function paint() {
    const ink = getComputedStyle(canvas).color;
    context.clearRect(0, 0, size, size);
    const round = { lineWidth: (size * 2 * PEN) / SIDE, lineCap: "round", lineJoin: "round" };
    Object.assign(context, { ...round, strokeStyle: ink, fillStyle: ink });
    for (const stroke of record.strokes) {
      context.beginPath();
      for (const [x, y] of stroke) context.lineTo(size * x, size * y);
      context.lineTo(size * stroke.at(-1)[0] + 0.1, size * stroke.at(-1)[1]); // one place alone is a dot
      context.stroke();
    }
    if (record.image !== null) paintImage(record.images[record.image]);
    if (canvas.matches(":focus-visible")) paintPen(ink);
  }
  function paintImage(image) {
    const wide = size / SIDE;
    for (const [i, share] of image.entries()) {
      context.globalAlpha = share;
      context.fillRect((i % SIDE) * wide, Math.floor(i / SIDE) * wide, wide + 0.5, wide + 0.5);
    }
    context.globalAlpha = 1;
  }
  function paintPen(ink) { // a ring: where there is ink already, a gap in it
    const { accentColor } = getComputedStyle(canvas);
    context.globalCompositeOperation = down ? "source-over" : "xor";
    context.beginPath();
    context.arc(size * pen[0], size * pen[1], size / 16, 0, 7);
    Object.assign(context, { lineWidth: down ? 8 : 4, strokeStyle: down ? accentColor : ink }).stroke();
    context.globalCompositeOperation = "source-over";
  }
  function later() {
    waiting ||= requestAnimationFrame(() => { waiting = 0; changed(); });
  }
  function begin(spot) {
    if (record.image !== null) record.strokes = [];
    record.image = record.written = null;
    record.strokes.push([spot]);
    anew();
    say("");
    later();
  }
  function draw(spot) {
    const [x, y] = record.strokes.at(-1).at(-1);
    if (Math.hypot(spot[0] - x, spot[1] - y) < 0.005) return; // a hand trembles hundreds of times a second
    record.strokes.at(-1).push(spot);
    later();
  }
  function put(strokes, image = null, told = "") {
    Object.assign(record, { strokes, image, written: null });
    [down, drawing] = [false, null];
    anew();
    say(told);
    later();
  }
  function write(digit, seed = (record.seed ?? 0) + 1) {
    put(written(digit, seeded(seed)));
    Object.assign(record, { seed, written: [digit, seed] });
  }

  // Beyond the pad the stroke ends; it goes on with another where the pen comes back.
  let outside = false;
  const spotOf = ({ clientX, clientY }) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || !event.isPrimary) return; // a second finger only rests there
    drawing = event.pointerId;
    outside = false;
    begin(spotOf(event));
    canvas.setPointerCapture(drawing);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing) return;
    if (!event.buttons) { drawing = null; return; } // it was lifted where nobody told of it
    for (const part of event.getCoalescedEvents?.() ?? [event]) {
      const spot = spotOf(part);
      const inside = spot.every((value) => value >= 0 && value <= 1);
      if (inside && outside) begin(spot);
      else if (inside) draw(spot);
      outside = !inside;
    }
  });
  const lift = ({ pointerId }) => { if (pointerId === drawing) drawing = null; };
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, lift);

  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const move = KEY_MOVES[event.key];
    if (move) {
      const by = event.shiftKey ? 0.12 : 0.04;
      pen = pen.map((value, axis) => Math.max(0.04, Math.min(0.96, value + by * move[axis])));
      if (down) draw(pen);
    } else if (event.key === " ") {
      down = !down;
      if (down) begin(pen);
      say(down ? "Pen down." : "Pen up.");
    } else if (event.key === "Backspace") put(record.strokes.slice(0, -1), null, "Last stroke taken back.");
    else if (event.key === "Delete") put([], null, "Pad cleared.");
    else return; // Tab leaves
    event.preventDefault();
    paint();
  });
  for (const seen of ["focus", "blur"]) canvas.addEventListener(seen, paint);
  // Its ink is a colour. The browser's list of listeners would keep a pad that is gone; an observer is told of that.
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  new ResizeObserver(() => {
    if (!canvas.isConnected) return scheme.removeEventListener("change", paint);
    scheme.addEventListener("change", paint);
    return paint();
  }).observe(canvas);
  canvas.pad = { record, put, write }; // for a page that keeps in its address what is drawn
  return { paint, put, write, tell(how, reset) { [say, anew] = [how, reset]; } };
}

// A choice made by pointer, or in an open list, is taken at once. Arrow keys on a closed list change its value with
// each press, on the way to the entry that is meant: that one is taken with Enter alone. `offer` is told whether one
// waits to be taken. Returned is what forgets the choice, for when something else is on the pad.
function choice(select, take, offer) {
  let keyed = false; // by a key that opens no list
  let waits = false;
  const wait = (yes) => { if (yes !== waits) offer(yes); waits = yes; };
  const forget = () => { waits = keyed = false; select.value = ""; };
  const drop = () => { wait(false); forget(); };
  const taken = () => {
    const { value } = select;
    wait(false);
    if (value) take(value);
    select.value = value; // the next arrow goes on from here
  };
  select.addEventListener("keydown", (event) => {
    const { key, altKey } = event;
    const done = { Enter: taken, Escape: drop }[key];
    if (waits && done) {
      event.preventDefault();
      done();
    }
    keyed = !altKey && ![" ", "Enter", "F4"].includes(key);
  });
  select.addEventListener("pointerdown", drop); // so that the same may be chosen again
  select.addEventListener("change", () => { if (keyed) wait(select.value !== ""); else taken(); });
  select.addEventListener("blur", drop);
  return forget;
}

// The pad with what stands below it: clear, choose, prepare or not, and what the keys do.
function padPanel(parent, record, refresh) {
  const box = panel(parent, "draw here", "gbi-pad");
  const changed = () => { judge(record); refresh(); follow(record, refresh); };
  const { paint, put, write, tell } = pad(box, record, changed);
  const own = { "data-lm-suppress-shortcuts": "true" };
  const row = make("div", { class: "gbi-pad-row" }, box);
  const clear = make("button", { type: "button", ...own }, row, "Clear");
  const select = make("select", { "aria-label": "Take a digit instead of drawing", ...own }, row);
  make("option", { value: "" }, select, "or take\u2026");
  const group = (label, names, kind) => {
    const node = make("optgroup", { label }, select);
    for (const [k, name] of names.entries()) make("option", { value: `${kind} ${k}` }, node, name);
  };
  group("written for you", SHAPES.map((_, digit) => `a ${digit}`), "written");
  group("a test image", record.names, "image");
  const label = make("label", {}, box);
  const check = make("input", { type: "checkbox", ...own }, label);
  check.checked = record.prepared;
  make("span", {}, label, "prepared as MNIST was (size, centre)");
  const usual = "PointerEvent" in window ? HINT : NO_POINTER;
  const hint = make("p", { role: "status" }, box, usual);
  const say = (text) => { hint.textContent = text || usual; };

  clear.addEventListener("click", () => put([], null, "Pad cleared."));
  check.addEventListener("change", () => { record.prepared = check.checked; changed(); });
  const take = (value) => {
    const [kind, k] = value.split(" ");
    if (kind === "image") put([], +k);
    else write(+k);
  };
  tell(say, choice(select, take, (waits) => say(waits ? OFFERED : "")));
  return { draw: paint };
}

// ---- what is drawn of the inference ----

function stepBars(parent, record) {
  const drawn = bars(parent, { ...record, z: record.q, entries: 1, range: [0, 1], words: { z: "one step: q" } });
  return { ...drawn, draw() {
    drawn.draw(0);
    drawn.svg.setAttribute("aria-label", `Bars of one step. ${sayBars(record, record.q)}.`);
  } };
}

// z over the steps: a line for each task, that of the last step's largest thick and with its name.
function ways(parent, record, go) {
  const box = panel(parent, `z over ${STEPS} steps`, "gbi-curve-box");
  const svg = make("svg", { role: "img" }, box);
  const bottom = HEIGHT - 24;
  let x, y, left, lines, cursor, name, width;

  function layout(wide) {
    width = wide;
    svg.replaceChildren();
    ({ y, left } = yAxis(svg, 0, 1, width, bottom));
    x = (step) => left + 6 + (step / STEPS) * (width - left - 16);
    for (const { at, text } of ticks(0, STEPS, 5)) {
      make("text", { x: x(at), y: bottom + 15, "text-anchor": "middle" }, svg, text);
    }
    lines = record.labels.map(() => make("path", {}, svg));
    cursor = make("line", { class: "gbi-cursor", y1: TOP - 6, y2: bottom }, svg);
    name = make("text", { class: "gbi-on", x: width - 18, "text-anchor": "end" }, svg);
  }

  function draw(step) {
    const { path, labels } = record;
    const end = path.at(-1)?.z ?? zeros(labels.length);
    const best = record.empty ? -1 : argmax(end);
    for (const [k, line] of lines.entries()) {
      const points = path.map(({ z }, at) => `${x(at).toFixed(1)} ${y(z[k]).toFixed(1)}`);
      const d = points.length ? `M${points.join("L")}` : "";
      place(line, { d, class: k === best ? "gbi-way gbi-best" : "gbi-way" });
    }
    place(cursor, { x1: x(step), x2: x(step) });
    name.textContent = path.length && best >= 0 ? labels[best] : "";
    place(name, { y: y(end[Math.max(best, 0)]) + (end[Math.max(best, 0)] > 0.5 ? 18 : -8) });
    svg.setAttribute("aria-label", `Lines of z over ${STEPS} steps. ${sayDrawing(record, step)}.`);
  }

  const point = ({ clientX }) => {
    const over = (clientX - svg.getBoundingClientRect().left - left - 6) / (width - left - 16);
    go(Math.round(over * STEPS));
  };
  dragged(svg, point);
  return { svg, layout, draw };
}

// `say` tells in a few words what is on the image.
function small(parent, heading, imageAt, say) {
  const box = make("figure", {}, parent);
  make("figcaption", { class: "gbi-head" }, box, heading);
  const canvas = make("canvas", { width: SIDE, height: SIDE, role: "img" }, box);
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIDE, SIDE);
  return {
    draw(step) {
      const values = imageAt(step) ?? zeros(SIDE * SIDE);
      for (const [i, share] of values.entries()) image.data.set([255 * share, 255 * share, 255 * share, 255], 4 * i);
      context.putImageData(image, 0, 0);
      canvas.setAttribute("aria-label", `${heading}: ${say(step)}`);
    },
  };
}

function sayPad({ empty, image, names, written: hand }) {
  return empty ? "nothing" : image !== null ? names[image] : hand ? `a ${hand[0]}, written` : "your drawing";
}

function drawPanels(parent, record, go, refresh) {
  const board = padPanel(parent, record, refresh);
  const found = make("div", { class: "gbi-found" }, parent);
  const panels = [board, stepBars(found, record), ways(found, record, go)];
  const row = make("div", { class: "gbi-pictures gbi-seen" }, found);
  const made = (heading, beliefAt, draws) => small(row, heading,
    (step) => (beliefAt(step) ? draws(beliefAt(step)) : null),
    (step) => (beliefAt(step) ? saidOf(record, beliefAt(step)) : "nothing"));
  panels.push(small(row, "what the network sees", () => record.x, () => sayPad(record)),
    made("drawn with q of one step", () => !record.empty && record.q, (q) => record.draws(q)),
    made("drawn with z at the cursor", (step) => !record.empty && record.path[step]?.z, (z) => record.walked(z)));
  requestAnimationFrame(() => follow(record, refresh));
  return panels;
}

KINDS.draw = { css: DRAW_CSS, unpack: unpackDrawing, panels: drawPanels, words: sayDrawing,
  name: "A pad to draw on, and what the network takes the drawing for", slider: "Gradient step" };

// Scrub through the steps of a record. `mount` is what a page calls: `decode` unpacks the data, `view` draws it. Another
// kind of record is another entry of KINDS. It stands behind looks.js in one module, and uses its `styles`.

const TOP = 22;

// ---- data ----

export async function decode(header, bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = await new Response(stream).arrayBuffer();
  let at = 0;
  const take = (Type, count) => {
    const end = at + count * Type.BYTES_PER_ELEMENT;
    const part = new Type(raw.slice(at, end));
    at = end;
    return part;
  };
  return { ...header, last: header.entries - 1, ...KINDS[header.kind].unpack(header, take) };
}

function unpackPath({ entries, dim, frame, range: [low, high], target }, take) {
  const size = frame ? frame.reduce((product, side) => product * side) : 0;
  const loss = take(Float32Array, entries);
  const z = Float32Array.from(addUp(take(Uint16Array, entries * dim), dim), (v) => low + (v / 65535) * (high - low));
  const frames = frame && addUp(take(Uint8Array, entries * size), size);
  return { loss, z, frames, target: target ? take(Uint8Array, size) : null };
}

// Each entry was stored as its change; unsigned arrays wrap around as they did in Python.
function addUp(values, width) {
  for (let i = width; i < values.length; i++) values[i] += values[i - width];
  return values;
}

function largest(record, step) {
  const { dim, z } = record;
  let best = 0;
  let least = Infinity;
  for (let k = 0; k < dim; k++) {
    const value = z[step * dim + k];
    if (value > z[step * dim + best]) best = k;
    if (value < least) least = value;
  }
  const value = z[step * dim + best];
  return { best: dim > 1 && value - least < 5e-4 ? -1 : best, value };
}

function words(record, step) {
  const { best, value } = largest(record, step);
  const top = best < 0 ? `all ${record.dim} equal at ${number(value)}`
    : sayTask(record, best, value) + ofGroup(record, step, best);
  const named = record.words;
  return `${named.step} ${step} of ${record.last}: ${top}, ${named.loss} ${number(record.loss[step])} nats`;
}

// The group of a task, with its total where z is a belief.
function ofGroup(record, step, task) {
  if (!record.groups) return "";
  const each = grouped(record);
  const own = each.findIndex(({ from, size }) => task < from + size);
  return ` (${each[own].name}${record.simplex ? `, ${number(totals(record, step)[own])} in all` : ""})`;
}

// What the axis names: groups, or each task as its own.
function grouped({ groups, labels }) {
  let from = 0;
  const each = groups ?? labels.map((name) => [name, 1]);
  return each.map(([name, size]) => ({ name, size, from: (from += size) - size }));
}

function totals(record, step) {
  const start = step * record.dim;
  return grouped(record).map(({ from, size }) =>
    record.z.subarray(start + from, start + from + size).reduce((sum, value) => sum + value, 0));
}

const sayTask = ({ noun = "", labels }, k, value) => `${noun} ${labels[k]} at ${number(value)}`.trim();

const ROOM = 12; // bars that are all named: on the axis, and by a screen reader

// What is heard of bars: all of them, or of many the five that stand out most.
function sayBars(record, values) {
  const order = [...values.keys()];
  if (order.length > ROOM) order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).splice(5);
  return order.map((k) => sayTask(record, k, values[k])).join(", ");
}

const minus = (text) => String(text).replaceAll("-", "\u2212");

// As Python writes it: of two that are equally near the even one, where `toFixed` takes the larger. Only odd multiples
// of a power of two lie in the middle of two, and these products are exact.
function toDecimals(value, decimals) {
  const text = value.toFixed(decimals);
  const isTie = Math.abs(value * 2 ** (decimals + 1)) % 2 === 1;
  return isTie && text.at(-1) % 2 ? text.slice(0, -1) + (text.at(-1) - 1) : text;
}

const twoDigits = (value) => 1 - Math.floor(Math.log10(Math.abs(value)));
const stepDigits = (step) => Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9)));

// Two decimals below 10, one below 1,000, then none; of a small number two digits, down to a millionth. Which, the
// rounded number decides: 9.999 is 10.0.
function number(value) {
  if (Math.abs(value) < 1e-6) return "0.00";
  const decimals = (of) => (Math.abs(of) < 0.01 ? twoDigits(of) : Math.abs(of) < 10 ? 2 : Math.abs(of) < 1000 ? 1 : 0);
  const rounded = +toDecimals(value, decimals(value));
  return minus(toDecimals(rounded, decimals(rounded)));
}

// ---- drawing ----

function make(tag, attributes = {}, parent = null, text = "") {
  const svg = /^(svg|g|path|rect|line|circle|text|pattern|defs)$/.test(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  place(node, attributes);
  if (text) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function place(node, attributes) {
  for (const name in attributes) node.setAttribute(name, attributes[name]);
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const out = [];
  for (let t = Math.ceil(low / step - 1e-9); t <= high / step + 1e-9; t++) out.push(t * step);
  return out.map((at) => ({ at, text: minus(at.toFixed(stepDigits(step))) }));
}

function panel(parent, heading, classes) {
  const box = make("figure", { class: `gbi-panel ${classes}` }, parent);
  make("figcaption", { class: "gbi-head" }, box, heading);
  return box;
}

// Draws the axis and returns the scale, and where the plot begins: as far right as the longest number asks for.
function yAxis(svg, low, high, width, bottom) {
  const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - TOP);
  let marks = ticks(low, high, 4);
  if (marks.length < 3) marks = ticks(low, high, 8);
  const left = 8 + 6.6 * Math.max(3, ...marks.map(({ text }) => text.length));
  for (const { at, text } of marks) {
    make("line", { class: at === 0 ? "gbi-zero" : "gbi-grid", x1: left, x2: width, y1: y(at), y2: y(at) }, svg);
    make("text", { x: left - 6, y: y(at) + 4, "text-anchor": "end" }, svg, text);
  }
  return { y, left };
}

function bars(parent, record) {
  const { dim, labels, noun, simplex, z } = record;
  const named = grouped(record);
  const summed = record.groups && simplex;
  const box = panel(parent, `${record.words.z} of each ${noun || "task"}${summed ? " (line: sum of its group)" : ""}`,
    record.groups ? "gbi-wide gbi-grouped" : "gbi-wide");
  const svg = make("svg", { role: "img" }, box);
  const height = record.groups ? HEIGHT + 72 : HEIGHT;
  const hatch = `gbi-hatch-${Math.random().toString(36).slice(2)}`;  // each view brings its own copy of this code
  const steps = Array.from(Array(record.entries).keys());
  const top = summed ? steps.reduce((most, step) => Math.max(most, ...totals(record, step)), 0) : record.range[1];
  let low = Math.min(0, record.range[0]);
  let high = simplex && top > 0.5 ? 1 : Math.max(0, top);
  if (high === low) high = low + 1;
  let rects, names, value, y, x, left, slot, every, width, lines, on = -1;
  const groupOf = (k) => (record.groups ? named.findIndex(({ from, size }) => k < from + size) : k);

  function layout(wide) {
    width = wide;
    svg.replaceChildren();
    const pattern = make("pattern", { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)" }, make("defs", {}, svg));
    make("rect", { class: "gbi-stripe", width: 5, height: 5 }, pattern);
    make("rect", { class: "gbi-gap", width: 1.5, height: 5 }, pattern);
    slot = ((width - 34) / dim) * Math.min(...named.map(({ size }) => size));
    const letters = Math.max(...named.map(({ name }) => name.length)) * 6.6 + 6;
    const steep = record.groups && slot < 26;
    const tilt = letters > slot && letters > 26 && (slot >= 13 || record.groups) && (steep ? 90 : 40);
    every = tilt ? Math.ceil(13 / slot) : [1, 2, 5, 10, 20, 25, 50, 100].find((n) => n * slot >= letters) || dim;
    const bottom = height - (tilt ? Math.min(steep ? 96 : 70, letters * (steep ? 1 : 0.7) + 10) : 24);
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    slot = (width - left) / dim;
    x = (k) => left + (k + 0.5) * slot;
    if (record.groups) shade(bottom);
    rects = labels.map((_, k) => make("rect", { class: "gbi-bar", x: x(k) - slot * 0.39, width: slot * 0.78 }, svg));
    lines = summed && named.map(({ from, size }) => make("rect", { class: "gbi-sum", x: left + from * slot + 0.5,
      width: size * slot - 1, height: 2 }, svg));
    names = named.map(({ name, from, size }, k) => {
      if (k % every) return null;
      const middle = x(from + (size - 1) / 2);
      const at = tilt ? { transform: `translate(${middle + 4} ${bottom + (steep ? 8 : 13)}) rotate(-${tilt})`,
        "text-anchor": "end" } : { x: Math.max(middle, name.length * 3.2), y: bottom + 15, "text-anchor": "middle" };
      const most = tilt === 40 ? Math.min(14, Math.floor((middle + 4) / 5)) : 12;
      return make("text", at, svg, tilt && name.length > most ? `${name.slice(0, most - 1)}\u2026` : name);
    });
    value = make("text", { class: "gbi-on", "text-anchor": "middle" }, svg);
    on = -1;
  }

  // Every other group on a darker ground, and a line between any two.
  function shade(bottom) {
    for (const [k, { from, size }] of named.entries()) {
      const start = left + from * slot;
      if (k % 2) make("rect", { class: "gbi-shade", x: start, y: TOP, width: size * slot, height: bottom - TOP }, svg);
      make("line", { class: "gbi-grid", x1: start, x2: start, y1: TOP, y2: bottom + 5 }, svg);
    }
  }

  function mark(best) {
    if (best === on) return;
    if (on >= 0) { rects[on].removeAttribute("style"); names[groupOf(on)]?.removeAttribute("class"); }
    if (best >= 0) { rects[best].style.fill = `url(#${hatch})`; names[groupOf(best)]?.setAttribute("class", "gbi-on"); }
    on = best;
  }

  function draw(step) {
    const base = y(0);
    for (let k = 0; k < dim; k++) {
      const top = y(z[step * dim + k]);
      rects[k].setAttribute("y", Math.min(top, base));
      rects[k].setAttribute("height", Math.abs(top - base));
    }
    const sums = lines ? totals(record, step).map(y) : [];
    for (const [k, at] of sums.entries()) place(lines[k], { y: at - 1, height: base - at < 1 ? 0 : 2 });
    const { best, value: most } = largest(record, step);
    mark(best);
    const text = best < 0 ? "" : every > 1 || record.groups ? `${labels[best]}: ${number(most)}` : number(most);
    const half = text.length * 3.3;
    value.textContent = text;
    const middle = Math.min(Math.max(x(Math.max(best, 0)), left + half), width - half);
    const under = sums.filter((_, k) => Math.abs(x(named[k].from + (named[k].size - 1) / 2) - middle)
      < half + (named[k].size * slot) / 2); // the sums that the text would cover
    place(value, { x: middle, y: Math.min(y(most), base, ...under) - 6 });
    const all = sayBars(record, z.subarray(step * dim, (step + 1) * dim));
    svg.setAttribute("aria-label", `Bars of ${record.words.z}. ${KINDS[record.kind].words(record, step)}. ${all}.`);
  }
  return { svg, layout, draw };
}

// Lines over the steps with one cursor. `lines`: values (and a name) of each; `at`: where on the x axis each entry lies.
function curve(parent, { heading, lines, at, classes = "", say }, go) {
  const box = panel(parent, heading, `gbi-curve-box ${classes}`);
  const svg = make("svg", { role: "img" }, box);
  const last = at.length - 1;
  const [from, to] = [at[0], at[last]];
  // Sorted, as Math.min(...all) stops at some hundred thousand entries: no call can take so many arguments.
  const all = Float64Array.from(lines.flatMap(({ values }) => Array.from(values))).sort();
  let low = all[0];
  let high = all.at(-1);
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  low -= room;
  high += room;
  const bottom = HEIGHT - 24;
  let x, y, left, cursor, dots, value, width;

  function layout(wide) {
    width = wide;
    svg.replaceChildren();
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    x = (place) => left + 6 + (last ? (place - from) / (to - from) : 0.5) * (width - left - 16);
    for (const { at: mark } of ticks(from, to, Math.max(2, Math.min(5, width / 60)))) {
      const spot = { x: x(mark), y: bottom + 15, "text-anchor": "middle" };
      if (Number.isInteger(mark)) make("text", spot, svg, String(mark));
    }
    for (const [line, { values }] of lines.entries()) {
      const points = Array.from(values, (v, s) => `${x(at[s]).toFixed(1)} ${y(v).toFixed(1)}`);
      make("path", { class: `gbi-curve gbi-curve-${line}`, d: `M${points.join("L")}` }, svg);
    }
    names();
    cursor = make("line", { class: "gbi-cursor", y1: TOP - 6, y2: bottom }, svg);
    dots = lines.map(() => make("circle", { class: "gbi-dot", r: 5 }, svg));
    value = make("text", { class: "gbi-on", y: TOP - 10 }, svg);
  }

  // Each line's name at its end, pushed apart where two would cover each other.
  function names() {
    let free = Infinity;
    const ends = lines.filter(({ name }) => name).map(({ name, values }) => ({ name,
      from: Math.min(...Array.from(values).slice(-Math.ceil(at.length / 8)).map(y)) - 7 }));
    for (const { name, from: wanted } of ends.sort((one, other) => other.from - one.from)) {
      free = Math.min(wanted, free - 13);
      make("text", { class: "gbi-name", x: width - 10, y: free, "text-anchor": "end" }, svg, name);
    }
  }

  function draw(step) {
    const spot = x(at[step]);
    place(cursor, { x1: spot, x2: spot });
    for (const [line, { values }] of lines.entries()) place(dots[line], { cx: spot, cy: y(values[step]) });
    value.textContent = lines.map(({ values }) => number(values[step])).join(" \u00b7 ");
    const half = value.textContent.length * 3.3;
    place(value, { x: Math.min(Math.max(spot, left + half), width - half), "text-anchor": "middle" });
    svg.setAttribute("aria-label", say(step));
  }

  // The entry that lies nearest to the pointer.
  const point = (event) => {
    const over = (event.clientX - svg.getBoundingClientRect().left - left - 6) / (width - left - 16);
    const wanted = from + over * (to - from);
    go(at.reduce((best, place, entry) => (Math.abs(place - wanted) < Math.abs(at[best] - wanted) ? entry : best), 0));
  };
  dragged(svg, point);
  return { svg, layout, draw };
}

function picture(parent, record, values, heading) {
  const [tall, wide, colours = 1] = record.frame;
  const box = make("figure", {}, parent);
  make("figcaption", { class: "gbi-head" }, box, heading);
  const canvas = make("canvas", { width: wide, height: tall, role: "img" }, box);
  const context = canvas.getContext("2d");
  const image = context.createImageData(wide, tall);
  const pixels = new Uint32Array(image.data.buffer);
  const [green, blue] = colours === 3 ? [pixels.length, 2 * pixels.length] : [0, 0];
  function draw(step) {
    let at = values === record.target ? 0 : step * pixels.length * colours;
    for (let i = 0; i < pixels.length; i++, at++) {
      pixels[i] = 0xff000000 | (values[at + blue] << 16) | (values[at + green] << 8) | values[at];
    }
    context.putImageData(image, 0, 0);
    const { frames: shown, step: entry } = record.words;
    canvas.setAttribute("aria-label", values === record.target ? "Target image" : `Image ${shown} at ${entry} ${step}`);
  }
  if (values !== record.target) return { draw };
  draw(0);
  return { draw() {} };
}

function path(parent, record, go) {
  const { loss, words: named } = record;
  const losses = { heading: `${named.loss} (nats) over ${named.step}s`, lines: [{ values: loss }], at: Array.from(loss, (_, s) => s),
    say: (step) => `Curve of the ${named.loss} with the cursor at ${named.step} ${step}: ${number(loss[step])} nats.` };
  const panels = [bars(parent, record), curve(parent, losses, go)];
  if (record.frames) {
    const pair = make("div", { class: "gbi-pictures" }, parent);
    panels.push(picture(pair, record, record.frames, named.frames));
    if (record.target) panels.push(picture(pair, record, record.target, "target"));
  }
  return panels;
}

// Where the slider stands, in short: what is there, the read-out says.
function whichStep({ words: named, last }, step) {
  return `${named?.step ?? "step"} ${step} of ${last}`;
}

// What the frame asks of a kind of record: its arrays, its panels, the read-out, and names for the screen reader; and
// where its slider stands, if that is not a step of so many.
const KINDS = {
  path: { unpack: unpackPath, panels: path, words, name: "Steps of an inference", slider: "Gradient step" },
};

// ---- the view: panels, slider, buttons, keys ----

const ICONS = { first: "M2 1h2v10H2zM11 1v10L4.5 6z", last: "M8 1h2v10H8zM1 1v10l6.5-5z", play: "M2 1l9 5-9 5z",
  pause: "M2 1h3v10H2zM7 1h3v10H7z" };

// Calls `point` where a chart is pressed, and on while it stays so. A finger may only be scrolling by: what it touches
// counts once it goes sideways, or lifts without the page having moved.
function dragged(svg, point) {
  let resting = null; // a finger that may only be scrolling
  const on = (name, does) => svg.addEventListener(`pointer${name}`, does);
  const follow = (event) => !resting && svg.hasPointerCapture(event.pointerId) && point(event);
  on("down", (event) => {
    if (event.button || !event.isPrimary) return;
    svg.setPointerCapture(event.pointerId);
    resting = event.pointerType === "touch" && event;
    follow(event);
  });
  on("move", (event) => {
    if (resting && Math.abs(event.x - resting.x) > Math.abs(event.y - resting.y)) resting = null;
    follow(event);
  });
  on("up", (event) => { resting = null; follow(event); });
}

function button(parent, icon, text = "") {
  const node = make("button", { type: "button" }, parent);
  make("path", { d: ICONS[icon] }, make("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, node));
  if (text) make("span", {}, node, text);
  return node;
}

const entitle = (node, text) => place(node, { "aria-label": text, title: text });

const REST = 700; // ms without a change, after which a screen reader may speak

// What changes with every press of a key, every move of a pen, or every letter, a screen reader hears once it has come
// to rest, if it is not what was last heard. What stands there when the view opens is not heard.
function calm(readout) {
  let [resting, heard] = [0, null];
  function speak() {
    const said = readout.textContent;
    readout.setAttribute("aria-live", "polite");
    if (heard !== null && heard !== said) {
      readout.textContent = "";
      readout.textContent = said;
    }
    heard = said;
  }
  return (plays) => {
    readout.setAttribute("aria-live", "off");
    clearTimeout(resting);
    if (!plays) resting = setTimeout(speak, REST);
  };
}

// What a page keeps of its views must not keep them alive: an output that is run again drops its view without a word.
const HELD = new WeakMap(); // a view's element -> its methods, which live as long
const GONE = new FinalizationRegistry((leave) => leave());

// When it is told of a print, the page has the paper's width already. Canvases hold colours: themes change these.
function listen(held) {
  const view = new WeakRef(held);
  const fit = () => view.deref()?.fit();
  const media = ["print", "(forced-colors: active)"].map((query) => matchMedia(query));
  for (const each of media) each.addEventListener("change", fit);
  const theme = new MutationObserver(() => view.deref()?.again());
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
  const leave = () => {
    theme.disconnect();
    for (const each of media) each.removeEventListener("change", fit);
  };
  GONE.register(held, leave);
  return leave;
}

export function view(host, record) {
  const root = make("div", { class: "gbi gbi-own", role: "group" }, host);
  make("style", {}, root, styles(Object.values(KINDS).map(({ css }) => css ?? "")));
  const title = make("div", { class: "gbi-title" }, root);
  const box = make("div", { class: "gbi-panels" }, root);
  const row = make("div", { class: "gbi-bar-row" }, root);
  const first = button(row, "first");
  const play = button(row, "play", "Play");
  entitle(play, "Play");
  play.className = "gbi-play";
  const end = button(row, "last");
  const caption = make("span", { "aria-hidden": "true" }, row);
  const slider = make("input", { type: "range", min: 0, step: 1 }, row);
  const readout = make("p", { class: "gbi-readout", role: "status" }, root);
  const hush = calm(readout);
  const note = make("p", { class: "gbi-say", role: "alert", hidden: "" }, root);
  const written = make("p", { class: "gbi-written", "aria-live": "polite" }, root); // by a model, in a live view
  let panels = [];
  let now = 0;
  let timer = 0;
  let drawn = 0;

  function show(step) {
    now = Math.min(step, record.last);
    for (const each of panels) each.draw(now);
    const { words: said, place: stands = whichStep } = KINDS[record.kind];
    slider.value = now;
    if (!timer) slider.setAttribute("aria-valuetext", stands(record, now)); // while it plays: too many to read out
    hush(timer);
    readout.textContent = said(record, now);
  }
  function go(step) {
    stop();
    const to = Math.min(Math.max(step, 0), record.last);
    if (to !== now) show(to);
  }
  function stop() {
    if (!timer) return;
    clearInterval(timer);
    timer = 0;
    label("play", "Play");
    show(now);
  }
  function label(icon, text) {
    play.querySelector("path").setAttribute("d", ICONS[icon]);
    play.querySelector("span").textContent = text;
    entitle(play, text);
  }
  function start() {
    if (now === record.last) show(0);
    const slow = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const stride = Math.ceil(record.last / (slow ? 12 : 120));
    label("pause", "Pause");
    timer = setInterval(() => {
      if (!root.isConnected) return stop();
      show(now + stride);
      if (now === record.last) stop();
    }, slow ? 700 : 90);
    hush(timer); // steps too many to read out: the screen reader hears where the play stops
  }
  const toggle = () => (timer ? stop() : start());

  const KEYS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
  function press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    // The page's own shortcuts must not see what is meant for the slider, except to run the cell.
    if (!(event.key === "Enter" && event.shiftKey)) event.stopPropagation();
    if (event.target.matches("select, .gbi-other")) return; // its keys are its own
    const page = Math.max(1, Math.round(record.last / 10));
    const to = event.key in KEYS ? now + KEYS[event.key] : { Home: 0, End: record.last, PageUp: now + page,
      PageDown: now - page }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      go(to);
    } else if (event.key === " " && event.target === slider) {
      event.preventDefault();
      toggle();
    }
  }
  root.addEventListener("keydown", press);
  for (const node of [first, play, end, slider]) node.setAttribute("data-lm-suppress-shortcuts", "true");
  first.addEventListener("click", () => go(0));
  end.addEventListener("click", () => go(record.last));
  play.addEventListener("click", toggle);
  slider.addEventListener("input", () => go(+slider.value));

  // A chart is laid out for the width it has; where a printer gives it another, it is drawn smaller, not cut off.
  function lay({ svg, layout }) {
    if (!layout) return;
    const { width, height } = svg.getBoundingClientRect();
    layout(width || 320);
    place(svg, { viewBox: `0 0 ${width || 320} ${height || HEIGHT}`, preserveAspectRatio: "xMinYMin" });
  }
  function fit() {
    if (!box.clientWidth) return;
    drawn = box.clientWidth;
    panels.forEach(lay);
    show(now);
  }
  const held = { fit, again: () => show(now) };
  HELD.set(root, held);
  const leave = listen(held);
  const watch = new ResizeObserver(() => { if (box.clientWidth !== drawn) fit(); });
  watch.observe(box);

  function update(next) {
    stop();
    record = next;
    const kind = KINDS[record.kind];
    root.setAttribute("aria-label", record.title || kind.name);
    const entry = record.words?.step ?? "step";
    const named = typeof kind.slider === "string" ? kind.slider : kind.slider(record);
    slider.setAttribute("aria-label", entry === "step" ? named : `Place in the record, by ${entry}`);
    caption.textContent = named === kind.slider ? "" : named;
    const one = record.words?.step ?? (caption.textContent ? `place of ${named}` : named.toLowerCase());
    entitle(first, `First ${one}`);
    entitle(end, `Last ${one}`);
    title.textContent = record.title;
    title.hidden = !record.title;
    slider.max = record.last;
    now = Math.min(record.start ?? now, record.last);
    const stood = box.querySelector(":focus")?.classList[0]; // of what will be there again
    box.replaceChildren();
    panels = kind.panels(box, record, go, () => show(now));
    if (stood) box.querySelector(`.${stood}`)?.focus({ preventScroll: true });
    row.hidden = !panels.length;
    panels.forEach(lay);
    drawn = box.clientWidth;
    show(now);
  }
  update(record);
  return {
    root,
    update,
    say(text) { note.textContent = text; note.hidden = !text; },
    write(text) { written.textContent = text ?? ""; },
    busy(yes) { root.setAttribute("aria-busy", yes); },
    destroy() {
      stop();
      watch.disconnect();
      leave();
      root.remove();
    },
  };
}

// ---- hosts on the page with this key that stand there and are not mounted yet ----

export async function mount(key) {
  for (let tries = 0; tries < 20; tries++) {
    const hosts = document.querySelectorAll(`[data-gbi-key="${key}"]:not([data-gbi-mounted])`);
    if (hosts.length) return Promise.all(Array.from(hosts, raise));
    if (document.querySelector(`[data-gbi-key="${key}"]`)) return null;
    await wait(100);
  }
  return null;
}

const wait = (milliseconds) => new Promise((then) => setTimeout(then, milliseconds));

async function raise(host) {
  host.setAttribute("data-gbi-mounted", "");
  if ("gbiCopy" in host.dataset) { // of a live view, which may be about to take its place
    host.style.display = "none";
    await wait(600);
    host.style.display = "";
    if ("gbiLive" in host.dataset) return;
  }
  const fallback = host.querySelector(".gbi-fallback");
  try {
    const [, held] = Array.from(host.childNodes).filter(({ nodeType }) => nodeType === Node.COMMENT_NODE);
    const { header, data } = JSON.parse(held.data);
    const record = await decode(header, Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
    const space = make("div");
    fallback.after(space);
    view(space, record);
    fallback.hidden = true;
  } catch (error) {
    host.dataset.gbiFailed = "";
    make("p", {}, fallback, `This view did not open (${error.message}): run the cell, or use a newer browser.`);
  }
}

// The sliders' view: panels that were computed for every place of one or two sliders, or that theorem.js computes. It
// stands behind scrubber.js in one module, and uses its `make`, `place`, `number`, `addUp`, `yAxis`, `ticks`, `panel`,
// `sayBars`.

const SLIDE_CSS = `
.gbi .gbi-panel.gbi-slide { flex: 1 1 220px; min-width: 0; }
.gbi .gbi-legend { display: flex; flex-wrap: wrap; gap: 0 12px; font-size: 12px; color: var(--soft); margin: 2px 0 0; }
.gbi .gbi-legend span { display: inline-flex; align-items: center; gap: 5px; }
.gbi .gbi-legend svg { width: 26px; height: 10px; flex: none; }
.gbi .gbi-knobs { flex: 1 1 100%; display: grid; gap: 2px 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.gbi .gbi-second { display: flex; flex-wrap: wrap; align-items: center; gap: 0 8px; min-width: 0; }
.gbi .gbi-second span { flex: none; max-width: 100%; }
.gbi .gbi-second input[type=range] { flex: 1 1 80px; min-width: 80px; }
.gbi .gbi-second .gbi-value { min-width: 3.2em; text-align: right; }
.gbi svg .gbi-spot { fill: var(--blue); stroke: var(--paper); stroke-width: 1.5; }
.gbi svg .gbi-spot-1 { fill: var(--mark); }
.gbi svg .gbi-spot-2 { fill: var(--green); }
.gbi svg .gbi-spot-3 { fill: currentColor; }
.gbi .gbi-second input[type=checkbox] { appearance: auto; flex: none; width: 18px; min-width: 0; height: 18px;
  accent-color: var(--blue); }
.gbi .gbi-moves { cursor: move; touch-action: pan-y pinch-zoom; }
.gbi .gbi-panel.gbi-quarter { flex-basis: max(220px, 36%); }
.gbi svg .gbi-thick { stroke-width: 5; stroke-dasharray: none; opacity: .75; }
.gbi svg .gbi-hollow { fill: color-mix(in srgb, var(--mark) 18%, transparent); stroke: var(--mark); stroke-width: 1.5;
  stroke-dasharray: 4 2; }
.gbi svg .gbi-full { fill: var(--blue); stroke: var(--blue); stroke-width: 1.25; }
.gbi svg .gbi-full-1 { fill: var(--mark); stroke: var(--mark); }
.gbi svg .gbi-full-2 { fill: var(--green); stroke: var(--green); }
.gbi svg .gbi-full-3 { fill: currentColor; stroke: currentColor; }
@media (forced-colors: active) {
  .gbi svg .gbi-spot { fill: Canvas; stroke: CanvasText; stroke-width: 2; }
  .gbi svg .gbi-spot-1 { fill: Highlight; }
  .gbi svg .gbi-spot-2 { fill: CanvasText; }
  .gbi svg .gbi-bar { stroke: CanvasText; }
  .gbi svg .gbi-hollow { fill: Canvas; }
  .gbi svg .gbi-full-3 { fill: Canvas; stroke-width: 2.5; }
}
`;

// What both kinds of record give: curves with x and y, limits and the read-out's numbers, each as a function of the
// moment, which is what `moment` makes of the places of the sliders. Here it is the number of a place.
function unpackSlides(header, take) {
  if (header.live) return unpackTheorem(header);
  const { sliders, panels, says } = header;
  const places = sliders.reduce((product, [, values]) => product * values.length, 1);
  const read = (fixed, n, [low, high]) => {
    if (fixed) return () => fixed;
    const levels = addUp(take(Uint16Array, places * n), n);
    const values = Float32Array.from(levels, (v) => low + ((v - 2000) / 2000) * (high - low));
    return (at) => values.subarray(at * n, (at + 1) * n);
  };
  return {
    moment: placeOf,
    panels: panels.map((each) => ({ ...each, limits: () => each, curves: each.curves.map((curve) => (
      { ...curve, x: read(curve.x, curve.n, each.xlim), y: read(curve.y, curve.n, each.ylim),
        dots: curve.dots && { ...curve.dots, fill: read(curve.dots.fill, curve.n, [0, 1]) } })) })),
    told: says.map((name) => {
      const values = take(Float32Array, places);
      return [name, (at) => values[at]];
    }),
  };
}

// The number of the place at which the sliders stand; the first slider is the view's own.
function placeOf({ sliders, at }, step) {
  return sliders.slice(1).reduce((all, [, values], k) => all * values.length + at[k + 1], step);
}

// Two decimals say nothing of a small number, and none are needed for a whole one. What 32 bits can hardly tell from 0
// is written so, as in slide_view.py.
function short({ whole }, name, value) {
  if (typeof value === "string") return value;
  if (whole.includes(name)) return minus(toDecimals(value, 0));
  if (Math.abs(value) < 1e-5) return number(0);
  return Math.abs(value) < 0.1 ? minus(+toDecimals(value, twoDigits(value))) : number(value);
}

// The value at which a slider stands: one that has many, by its step, so that each press is seen.
function valueAt(record, k, at) {
  const [name, values, step] = record.sliders[k];
  return step ? minus(toDecimals(values[at], stepDigits(step))) : short(record, name, values[at]);
}

// Where a slider stands. The first is the view's own.
const sayPlace = (record, k, at) => `${record.sliders[k][0]} ${valueAt(record, k, at)}`;

// Where there are more than two, each tells its own place.
function saySlides(record, step) {
  const { told, sliders, at } = record;
  const where = sliders.slice(0, sliders.length > 2 ? 1 : 2).map((_, k) => sayPlace(record, k, k ? at[k] : step));
  const now = record.moment(record, step);
  return `${where.join(", ")}: ${told.map(([name, value]) => `${name} ${short(record, name, value(now))}`).join(", ")}`;
}

const lookOf = ({ look, thick }, k) => `${look ?? k % 4}${thick ? " gbi-thick" : ""}`;

// How tall the panels are: those of a plane more, and of those that the page computes all alike.
function heightOf({ live, panels }, { equal }) {
  return HEIGHT * (live ? (panels.some((each) => each.equal) ? 1.4 : 1) : equal ? 1.6 : 1);
}

// Four panels stand two by two, where there is room for two.
const slideBox = (parent, { panels }, { title, wide }) => (
  panel(parent, title, `gbi-slide${panels.length === 4 ? " gbi-quarter" : wide ? " gbi-wide" : ""}`));

// What is heard of dots: how many are full, or of those with names where the fullest lie.
function sayDots({ name, x, y, dots: { fill, names } }, at) {
  const [across, up, full] = [x(at), y(at), fill(at)];
  if (!names.length) return ` ${full.filter((f) => f > 0.5).length} of ${full.length} dots "${name}" are filled.`;
  const least = Math.max(...full) / 10;
  const order = [...names.keys()].sort((a, b) => full[b] - full[a]).filter((k) => full[k] >= least).slice(0, 5);
  return ` ${name}: ${order.map((k) => `${names[k]} at ${number(across[k])}, ${number(up[k])}`).join("; ")}.`;
}

// Dots, and a function that puts them where they belong. Names stand on the right of each, or of every other kind of
// dots of a panel on the left, as two kinds often lie in the same places.
function scatter(parent, curve, k) {
  const { n, dots: { names, fill, size } } = curve;
  const [off, anchor] = k % 2 ? [size + 2, "start"] : [-size - 2, "end"];
  const dot = { class: `gbi-full gbi-full-${lookOf(curve, k)}`, r: size };
  const nodes = Array.from(Array(n), () => make("circle", dot, parent));
  const texts = names.map((name) => make("text", { "text-anchor": anchor }, parent, name));
  return (at, across, up) => {
    const full = fill(at);
    for (const [i, node] of nodes.entries()) {
      place(node, { cx: across[i], cy: up[i], "fill-opacity": +full[i].toFixed(2) });
      if (!names.length) continue;
      place(texts[i], { x: across[i] + off, y: up[i] - 2, class: full[i] > 0.5 ? "gbi-name" : "" });
    }
  };
}

// The points of a curve as a path; NaN lifts the pen.
function pathOf(across, up, x, y) {
  let [d, pen] = ["", "M"];
  for (let i = 0; i < up.length; i++) {
    const lifted = Number.isNaN(up[i]);
    if (!lifted) d += `${pen}${x(across[i]).toFixed(1)} ${y(up[i]).toFixed(1)}`;
    pen = lifted ? "M" : "L";
  }
  return d;
}

// Curves; with one point a dot. What does not move is drawn again with the rest: a panel has few points. `marks` stand
// under the axis in place of numbers, `notes` beside what they tell.
function plot(parent, record, drawn) {
  const box = slideBox(parent, record, drawn);
  const svg = make("svg", { role: "img" }, box);
  const { curves, xlim: [from, to], xlabel, equal, marks } = drawn;
  const height = heightOf(record, drawn);
  const bottom = height - (xlabel ? 36 : 24);
  let [low, high] = drawn.limits(record.moment(record, record.at[0])).ylim;
  let x, y, shapes, notes, width;
  svg.style.height = `${height}px`;
  const name = legend(box, curves);
  if (drawn.drag) {
    svg.classList.add("gbi-moves");
    const value = (scale, at) => (at - scale(0)) / (scale(1) - scale(0));
    const point = ({ clientX, clientY }) => {
      const { left, top } = svg.getBoundingClientRect();
      drawn.drag(record, value(x, clientX - left), value(y, clientY - top));
    };
    dragged(svg, point);
  }

  function layout(all) {
    width = all;
    svg.replaceChildren();
    let left;
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    const wide = width - left - 16;
    const scale = equal ? Math.min(wide / (to - from), (bottom - TOP) / (high - low)) : wide / (to - from);
    x = (value) => left + 6 + (value - from) * scale;
    if (equal) y = (value) => bottom - (value - low) * scale;
    const named = marks?.map(([at, text]) => ({ at, text })) ?? ticks(from, to, Math.max(2, Math.min(5, width / 60)));
    for (const { at, text } of named) make("text", { x: x(at), y: bottom + 15, "text-anchor": "middle" }, svg, text);
    if (xlabel) make("text", { x: left + 6 + wide / 2, y: bottom + 31, "text-anchor": "middle" }, svg, xlabel);
    shapes = curves.map((curve, k) => (curve.dots ? scatter(svg, curve, k)
      : curve.n === 1 ? make("circle", { class: `gbi-spot gbi-spot-${lookOf(curve, k)}`, r: 5 }, svg)
      : make("path", { class: `gbi-curve gbi-curve-${lookOf(curve, k)}` }, svg)));
    notes = drawn.notes?.map(() => make("text", { class: "gbi-name" }, svg)) ?? [];
  }

  function draw(step) {
    const now = record.moment(record, step);
    const { ylim } = drawn.limits(now);
    if (ylim[0] !== low || ylim[1] !== high) {
      [low, high] = ylim;
      layout(width);
    }
    for (const [k, curve] of curves.entries()) {
      const [across, up] = [curve.x(now), curve.y(now)];
      if (curve.dots) shapes[k](now, Array.from(across, x), Array.from(up, y));
      else if (curve.n === 1) place(shapes[k], { cx: x(across[0]), cy: y(up[0]) });
      else shapes[k].setAttribute("d", pathOf(across, up, x, y));
    }
    for (const [k, note] of notes.entries()) {
      const [across, up, text] = drawn.noted(now)[k];
      place(note, { x: x(across) + 6, y: y(up) + 4 });
      note.textContent = text;
    }
    name(record);
    const dots = drawn.said?.(now) ?? curves.filter(({ dots }) => dots).map((curve) => sayDots(curve, now)).join("");
    svg.setAttribute("aria-label", `${drawn.title}. ${saySlides(record, step)}.${dots}`);
  }
  return { svg, layout, draw };
}

// Returns what names the curves as they are now.
function legend(parent, curves) {
  const row = make("div", { class: "gbi-legend", "aria-hidden": "true" }, parent);
  const names = Array.from(curves.entries(), ([k, curve]) => {
    const { n, dots, bar } = curve;
    const [entry, look] = [make("span", {}, row), lookOf(curve, k)];
    const sign = make("svg", { viewBox: "0 0 26 10" }, entry);
    const dot = { cx: 13, cy: 5, r: Math.min(4, dots?.size ?? 4) };
    if (bar) make("rect", { x: 7, y: 1, width: 12, height: 8, class: bar }, sign);
    else if (dots) make("circle", { ...dot, class: `gbi-full gbi-full-${look}`, "fill-opacity": mostly(dots) }, sign);
    else if (n === 1) make("circle", { ...dot, class: `gbi-spot gbi-spot-${look}` }, sign);
    else make("path", { class: `gbi-curve gbi-curve-${look}`, d: "M1 5H25" }, sign);
    return entry.appendChild(document.createTextNode(curve.name));
  });
  return (record) => names.forEach((node, k) => {
    node.data = record.named?.(record, curves[k].name) ?? curves[k].name;
  });
}

// Whether the legend shows a full dot or a ring: rings where none is ever full.
const mostly = ({ fill }) => (fill(0).some((f) => f > 0.5) ? 1 : 0);

// Of more labels than fit every 2nd, 5th, 10th ... is written.
function everyOf(count) {
  let every = 1;
  for (let k = 0; count / every > ROOM; k += 1) every *= k % 3 === 1 ? 2.5 : 2;
  return every;
}

// Bars; of several kinds side by side, those of one step are hollow.
function columns(parent, record, drawn) {
  const box = slideBox(parent, record, drawn);
  const svg = make("svg", { role: "img" }, box);
  const { labels, ylim: [low, high] } = drawn;
  const kinds = drawn.curves.map((curve) => ({ ...curve, bar: `gbi-bar${curve.look === 1 ? " gbi-hollow" : ""}` }));
  const height = heightOf(record, drawn);
  const bottom = height - 24;
  svg.style.height = `${height}px`;
  const name = kinds.length > 1 ? legend(box, kinds) : () => {};
  let y, rects, numbers, room;

  function layout(width) {
    svg.replaceChildren();
    let left;
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    const slot = (width - left) / labels.length;
    const wide = (slot * 0.78) / kinds.length;
    room = kinds.length > 1 ? wide : slot;
    const middle = (k) => left + (k + 0.5) * slot;
    const start = (k, s) => middle(k) - slot * 0.39 + s * wide;
    const every = everyOf(labels.length);
    const shape = { width: wide * (kinds.length > 1 ? 0.9 : 1) };
    const bars = ({ bar }, s) => labels.map((_, k) => make("rect", { class: bar, x: start(k, s), ...shape }, svg));
    rects = kinds.map(bars);
    for (const [k, text] of labels.entries()) {
      if (k % every === 0) make("text", { x: middle(k), y: bottom + 15, "text-anchor": "middle" }, svg, text);
    }
    const on = { class: "gbi-on", "text-anchor": "middle" };
    numbers = kinds.map((_, s) => labels.map((_, k) => make("text", { ...on, x: start(k, s) + shape.width / 2 }, svg)));
  }

  function draw(step) {
    const [now, base] = [record.moment(record, step), y(Math.max(low, 0))];
    const each = kinds.map((curve) => curve.y(now));
    for (const [s, values] of each.entries()) {
      for (const [k, value] of values.entries()) {
        const top = y(value);
        place(rects[s][k], { y: Math.min(top, base), height: Math.abs(top - base) });
        place(numbers[s][k], { y: Math.min(top, base) - 5 });
        numbers[s][k].textContent = number(value);
      }
    }
    const all = numbers.flat();
    if (all.some((text) => text.getComputedTextLength() + 2 > room)) all.forEach((text) => { text.textContent = ""; });
    name(record);
    const named = kinds.length > 1 ? (s) => `${kinds[s].name}: ` : () => "";
    const said = each.map((values, s) => `${named(s)}${sayBars(drawn, values)}`).join("; ");
    svg.setAttribute("aria-label", `${drawn.title}. ${said}.`);
  }
  return { svg, layout, draw };
}

// Sliders behind the first are the view's own keys' business no more than a select is: arrows move the one in focus.
function second(parent, record, k, refresh) {
  const [name, values] = record.sliders[k];
  const row = make("label", { class: "gbi-second" }, parent);
  make("span", {}, row, name);
  const input = make("input", { type: "range", min: 0, max: values.length - 1, step: 1, class: "gbi-other",
    "data-lm-suppress-shortcuts": "true" }, row);
  input.value = record.at[k];
  const value = make("span", { class: "gbi-value", "aria-hidden": "true" }, row);
  const tell = () => {
    input.setAttribute("aria-valuetext", sayPlace(record, k, record.at[k]));
    value.textContent = valueAt(record, k, record.at[k]);
  };
  tell();
  const set = (at) => { record.at[k] = input.value = at; tell(); refresh(); };
  input.addEventListener("input", () => set(+input.value));
  return set;
}

function slidePanels(parent, record, go, refresh) {
  const panels = record.panels.map((each) => (each.kind === "bars" ? columns : plot)(parent, record, each));
  const knobs = make("div", { class: "gbi-knobs" }, parent);
  record.set = [go];
  for (let k = 1; k < record.sliders.length; k++) record.set.push(second(knobs, record, k, refresh));
  record.switches?.(knobs, record, refresh);
  return panels;
}

KINDS.slides = { css: SLIDE_CSS, unpack: unpackSlides, panels: slidePanels, words: saySlides,
  place: (record, step) => sayPlace(record, 0, step),
  name: "A picture that sliders move", slider: ({ sliders }) => sliders[0][0] };

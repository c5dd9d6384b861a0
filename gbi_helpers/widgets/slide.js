// The sliders' view: panels that were computed for every place of one or two sliders. It stands behind scrubber.js in
// one module, and uses its `make`, `place`, `number`, `addUp`, `yAxis`, `ticks`, `panel`.

const SLIDE_CSS = `
.gbi .gbi-panel.gbi-slide { flex: 1 1 220px; min-width: 0; }
.gbi .gbi-legend { display: flex; flex-wrap: wrap; gap: 0 12px; font-size: 12px; color: var(--soft); margin: 2px 0 0; }
.gbi .gbi-legend span { display: inline-flex; align-items: center; gap: 5px; }
.gbi .gbi-legend svg { width: 26px; height: 10px; flex: none; }
.gbi .gbi-second { display: flex; flex: 1 1 100%; align-items: center; gap: 8px; }
.gbi .gbi-second span { flex: none; }
.gbi svg .gbi-spot { fill: var(--blue); stroke: var(--paper); stroke-width: 1.5; }
.gbi svg .gbi-spot-1 { fill: var(--mark); }
.gbi svg .gbi-spot-2 { fill: var(--green); }
.gbi svg .gbi-spot-3 { fill: currentColor; }
.gbi .gbi-panel.gbi-quarter { flex-basis: max(220px, 36%); }
.gbi svg .gbi-full { fill: var(--blue); stroke: var(--blue); stroke-width: 1.25; }
.gbi svg .gbi-full-1 { fill: var(--mark); stroke: var(--mark); }
.gbi svg .gbi-full-2 { fill: var(--green); stroke: var(--green); }
.gbi svg .gbi-full-3 { fill: currentColor; stroke: currentColor; }
@media (forced-colors: active) {
  .gbi svg .gbi-spot { fill: Canvas; stroke: CanvasText; stroke-width: 2; }
  .gbi svg .gbi-spot-1 { fill: Highlight; }
  .gbi svg .gbi-spot-2 { fill: CanvasText; }
  .gbi svg .gbi-bar { stroke: CanvasText; }
}
`;

function unpackSlides({ sliders, panels, says }, take) {
  const places = sliders.reduce((product, [, values]) => product * values.length, 1);
  const read = (fixed, n, [low, high]) => {
    if (fixed) return () => fixed;
    const levels = addUp(take(Uint16Array, places * n), n);
    const values = Float32Array.from(levels, (v) => low + ((v - 2000) / 2000) * (high - low));
    return (at) => values.subarray(at * n, (at + 1) * n);
  };
  return {
    panels: panels.map((each) => ({ ...each, curves: each.curves.map(({ name, x, y, n, dots }) => (
      { name, n, x: read(x, n, each.xlim), y: read(y, n, each.ylim),
        dots: dots && { ...dots, fill: read(dots.fill, n, [0, 1]) } })) })),
    told: says.map((name) => [name, take(Float32Array, places)]),
  };
}

// The number of the place at which the sliders stand; the first slider is the view's own.
function placeOf({ sliders, at }, step) {
  return sliders.slice(1).reduce((all, [, values], k) => all * values.length + at[k + 1], step);
}

// Two decimals say nothing of a small number, and none are needed for a whole one.
function short({ whole }, name, value) {
  if (whole.includes(name)) return String(Math.round(value)).replace("-", "\u2212");
  return Math.abs(value) < 0.1 && value ? String(+value.toPrecision(2)).replace("-", "\u2212") : number(value);
}

function saySlides(record, step) {
  const where = record.sliders.map(([name, values], k) => `${name} ${short(record, name, values[k ? record.at[k] : step])}`);
  const told = record.told.map(([name, values]) => `${name} ${short(record, name, values[placeOf(record, step)])}`);
  return `${where.join(", ")}: ${told.join(", ")}`;
}

// Four panels stand two by two, where there is room for two.
const slideBox = (parent, { panels }, title) => (
  panel(parent, title, panels.length === 4 ? "gbi-slide gbi-quarter" : "gbi-slide"));

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
function scatter(parent, { n, dots: { names, fill, size } }, k) {
  const [off, anchor] = k % 2 ? [size + 2, "start"] : [-size - 2, "end"];
  const nodes = Array.from(Array(n), () => make("circle", { class: `gbi-full gbi-full-${k % 4}`, r: size }, parent));
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

// Curves; with one point a dot. What does not move is drawn again with the rest: a panel has few points.
function plot(parent, record, drawn) {
  const box = slideBox(parent, record, drawn.title);
  const svg = make("svg", { role: "img" }, box);
  const { curves, xlim: [from, to], ylim: [low, high], xlabel, equal } = drawn;
  const height = equal ? HEIGHT * 1.6 : HEIGHT;
  const bottom = height - (xlabel ? 36 : 24);
  let x, y, shapes;
  svg.style.height = `${height}px`;
  legend(box, curves);

  function layout(width) {
    svg.replaceChildren();
    let left;
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    const wide = width - left - 16;
    const scale = equal ? Math.min(wide / (to - from), (bottom - TOP) / (high - low)) : wide / (to - from);
    x = (value) => left + 6 + (value - from) * scale;
    if (equal) y = (value) => bottom - (value - low) * scale;
    for (const { at, text } of ticks(from, to, Math.max(2, Math.min(5, width / 60)))) {
      make("text", { x: x(at), y: bottom + 15, "text-anchor": "middle" }, svg, text);
    }
    if (xlabel) make("text", { x: left + 6 + wide / 2, y: bottom + 31, "text-anchor": "middle" }, svg, xlabel);
    shapes = curves.map((curve, k) => (curve.dots ? scatter(svg, curve, k)
      : curve.n === 1 ? make("circle", { class: `gbi-spot gbi-spot-${k % 4}`, r: 5 }, svg)
      : make("path", { class: `gbi-curve gbi-curve-${k % 4}` }, svg)));
  }

  function draw(step) {
    const at = placeOf(record, step);
    for (const [k, curve] of curves.entries()) {
      const [across, up] = [curve.x(at), curve.y(at)];
      if (curve.dots) shapes[k](at, Array.from(across, x), Array.from(up, y));
      else if (curve.n === 1) place(shapes[k], { cx: x(across[0]), cy: y(up[0]) });
      else {
        const points = Array.from(up, (v, i) => `${x(across[i]).toFixed(1)} ${y(v).toFixed(1)}`);
        shapes[k].setAttribute("d", `M${points.join("L")}`);
      }
    }
    const dots = curves.filter(({ dots }) => dots).map((curve) => sayDots(curve, at));
    svg.setAttribute("aria-label", `${drawn.title}. ${saySlides(record, step)}.${dots.join("")}`);
  }
  return { svg, layout, draw };
}

function legend(parent, curves) {
  const row = make("div", { class: "gbi-legend", "aria-hidden": "true" }, parent);
  for (const [k, { name, n, dots }] of curves.entries()) {
    const entry = make("span", {}, row);
    const sign = make("svg", { viewBox: "0 0 26 10" }, entry);
    const dot = { cx: 13, cy: 5, r: Math.min(4, dots?.size ?? 4) };
    if (dots) make("circle", { ...dot, class: `gbi-full gbi-full-${k % 4}`, "fill-opacity": mostly(dots) }, sign);
    else if (n === 1) make("circle", { ...dot, class: `gbi-spot gbi-spot-${k % 4}` }, sign);
    else make("path", { class: `gbi-curve gbi-curve-${k % 4}`, d: "M1 5H25" }, sign);
    entry.append(name);
  }
}

// Whether the legend shows a full dot or a ring: rings where none is ever full.
const mostly = ({ fill }) => (fill(0).some((f) => f > 0.5) ? 1 : 0);

const ROOM = 12; // labels that fit under the bars

// Of more labels than fit every 2nd, 5th, 10th ... is written.
function everyOf(count) {
  let every = 1;
  for (let k = 0; count / every > ROOM; k += 1) every *= k % 3 === 1 ? 2.5 : 2;
  return every;
}

// What is heard of bars: all of them, or of many the five that stand out most.
function sayBars(labels, values) {
  const order = [...labels.keys()];
  const said = labels.length > ROOM
    ? order.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a])).slice(0, 5)
    : order;
  return said.map((k) => `${labels[k]} ${number(values[k])}`).join(", ");
}

function columns(parent, record, drawn) {
  const box = slideBox(parent, record, drawn.title);
  const svg = make("svg", { role: "img" }, box);
  const { labels, curves: [{ y: valuesAt }], ylim: [low, high] } = drawn;
  const bottom = HEIGHT - 24;
  let y, rects, numbers;

  function layout(width) {
    svg.replaceChildren();
    let left;
    ({ y, left } = yAxis(svg, low, high, width, bottom));
    const slot = (width - left) / labels.length;
    const middle = (k) => left + (k + 0.5) * slot;
    const wide = { class: "gbi-bar", width: slot * 0.78 };
    const every = everyOf(labels.length);
    rects = labels.map((_, k) => make("rect", { ...wide, x: middle(k) - slot * 0.39 }, svg));
    numbers = labels.map((name, k) => {
      if (k % every === 0) make("text", { x: middle(k), y: bottom + 15, "text-anchor": "middle" }, svg, name);
      return make("text", { class: "gbi-on", x: middle(k), "text-anchor": "middle" }, svg);
    });
  }

  function draw(step) {
    const [values, base] = [valuesAt(placeOf(record, step)), y(Math.max(low, 0))];
    for (const [k, value] of values.entries()) {
      const top = y(value);
      place(rects[k], { y: Math.min(top, base), height: Math.abs(top - base) });
      place(numbers[k], { y: Math.min(top, base) - 5 });
      numbers[k].textContent = labels.length > 8 ? "" : number(value);
    }
    svg.setAttribute("aria-label", `${drawn.title}. ${sayBars(labels, values)}.`);
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
  const tell = () => input.setAttribute("aria-valuetext", `${name} ${short(record, name, values[record.at[k]])}`);
  tell();
  input.addEventListener("input", () => { record.at[k] = +input.value; tell(); refresh(); });
}

function slidePanels(parent, record, go, refresh) {
  const panels = record.panels.map((each) => (each.kind === "bars" ? columns : plot)(parent, record, each));
  for (let k = 1; k < record.sliders.length; k++) second(parent, record, k, refresh);
  return panels;
}

KINDS.slides = { css: SLIDE_CSS, unpack: unpackSlides, panels: slidePanels, words: saySlides,
  name: "A picture that sliders move", slider: ({ sliders }) => sliders[0][0] };

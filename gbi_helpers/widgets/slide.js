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
    panels: panels.map((each) => ({ ...each, curves: each.curves.map(({ name, x, y, n }) => (
      { name, n, x: read(x, n, each.xlim), y: read(y, n, each.ylim) })) })),
    told: says.map((name) => [name, take(Float32Array, places)]),
  };
}

// The number of the place at which the sliders stand; the first slider is the view's own.
function placeOf({ sliders, at }, step) {
  return sliders.slice(1).reduce((all, [, values], k) => all * values.length + at[k + 1], step);
}

// Two decimals say nothing of a small number.
function short(value) {
  return Math.abs(value) < 0.1 && value ? String(+value.toPrecision(2)).replace("-", "\u2212") : number(value);
}

function saySlides(record, step) {
  const where = record.sliders.map(([name, values], k) => `${name} ${short(values[k ? record.at[k] : step])}`);
  const told = record.told.map(([name, values]) => `${name} ${short(values[placeOf(record, step)])}`);
  return `${where.join(", ")}: ${told.join(", ")}`;
}

// Curves; with one point a dot. What does not move is drawn again with the rest: a panel has few points.
function plot(parent, record, drawn) {
  const box = panel(parent, drawn.title, "gbi-slide");
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
    shapes = curves.map(({ n }, k) => (n === 1 ? make("circle", { class: `gbi-spot gbi-spot-${k % 4}`, r: 5 }, svg)
      : make("path", { class: `gbi-curve gbi-curve-${k % 4}` }, svg)));
  }

  function draw(step) {
    const at = placeOf(record, step);
    for (const [k, curve] of curves.entries()) {
      const [across, up] = [curve.x(at), curve.y(at)];
      if (curve.n === 1) place(shapes[k], { cx: x(across[0]), cy: y(up[0]) });
      else {
        const points = Array.from(up, (v, i) => `${x(across[i]).toFixed(1)} ${y(v).toFixed(1)}`);
        shapes[k].setAttribute("d", `M${points.join("L")}`);
      }
    }
    svg.setAttribute("aria-label", `${drawn.title}. ${saySlides(record, step)}.`);
  }
  return { svg, layout, draw };
}

function legend(parent, curves) {
  const row = make("div", { class: "gbi-legend", "aria-hidden": "true" }, parent);
  for (const [k, { name, n }] of curves.entries()) {
    const entry = make("span", {}, row);
    const sign = make("svg", { viewBox: "0 0 26 10" }, entry);
    if (n === 1) make("circle", { class: `gbi-spot gbi-spot-${k % 4}`, cx: 13, cy: 5, r: 4 }, sign);
    else make("path", { class: `gbi-curve gbi-curve-${k % 4}`, d: "M1 5H25" }, sign);
    entry.append(name);
  }
}

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
  const box = panel(parent, drawn.title, "gbi-slide");
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
  const tell = () => input.setAttribute("aria-valuetext", `${name} ${short(values[record.at[k]])}`);
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

// The words view: a text, what each word speaks for, and the belief it leads to. It stands behind scrubber.js in one
// module, and uses its `make`, `place`, `number`, `addUp`, `largest`, `panel`, `ticks`, `bars`.

const LEVELS = 4;
const OWN_SLOT = LEVELS + 1; // no level of evidence: the word has the colour of its slot

const WORDS_CSS = `
.gbi .gbi-reading { flex: 1 1 100%; min-width: 0; }
.gbi .gbi-choose { display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center; font-size: 12px;
  color: var(--soft); margin: 0 0 8px; }
.gbi select { font: inherit; color: inherit; background: transparent; border: 1px solid var(--line); border-radius: 6px;
  height: 28px; padding: 0 4px; margin-left: 4px; max-width: 210px; }
.gbi option { color: #000; background: #fff; }
.gbi .gbi-scale { display: inline-flex; gap: 2px; align-items: center; white-space: nowrap; }
.gbi .gbi-scale .gbi-word { width: 15px; height: 15px; padding: 0; }
.gbi .gbi-scale .gbi-word:first-of-type { margin-left: 4px; }
.gbi .gbi-scale .gbi-word:last-of-type { margin-right: 4px; }
.gbi .gbi-text { position: relative; max-height: 14.5em; overflow-y: auto; overflow-wrap: anywhere; font-size: 15px;
  line-height: 2.05; padding: 4px 10px 6px; border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
.gbi .gbi-word { padding: 2px 2px 1px; border-radius: 3px 3px 0 0; }
.gbi .gbi-word.gbi-now { outline: 2px solid currentColor; outline-offset: 1px; border-radius: 3px; }
.gbi .gbi-source { font-size: 11px; font-weight: 700; padding: 1px 7px; margin: 0 4px 0 2px; white-space: nowrap;
  border: 1px solid currentColor; border-radius: 9px; cursor: default; }
.gbi .gbi-slot { border-color: transparent; background: hsl(var(--hue) 75% 50% / 34%); }
.gbi .gbi-word.gbi-slotted { background: hsl(var(--hue) 75% 50% / 22%); border-bottom: 3px solid var(--rail); }
.gbi .gbi-word.gbi-slotted.gbi-even { border-bottom-style: double; }
.gbi .gbi-readout { overflow-wrap: anywhere; }
.gbi .gbi-panel.gbi-ridges { flex: 1.7 1 260px; }
.gbi svg .gbi-ridge { fill: color-mix(in srgb, var(--blue) 45%, transparent); stroke: var(--blue); stroke-width: 1.5;
  stroke-linejoin: round; }
.gbi svg .gbi-true { fill: color-mix(in srgb, currentColor 9%, transparent); stroke: currentColor; stroke-width: 1; }
${Array.from(Array(LEVELS), (_, n) => `
.gbi .gbi-for-${n + 1} { background: color-mix(in srgb, var(--blue) ${12 * n + 10}%, transparent) !important;
  border-bottom: 3px solid var(--blue); }
.gbi .gbi-against-${n + 1} { background: color-mix(in srgb, var(--mark) ${12 * n + 10}%, transparent) !important;
  border-bottom: 3px dotted var(--mark); }
@media (forced-colors: active) { .gbi .gbi-for-${n + 1}, .gbi .gbi-against-${n + 1} {
  border-bottom-color: CanvasText; border-bottom-width: ${[1, 2, 4, 6][n]}px; } }`).join("")}
@media (forced-colors: active) {
  .gbi .gbi-word.gbi-now { outline: 3px double Highlight; outline-offset: 2px; }
  .gbi svg .gbi-ridge { fill: color-mix(in srgb, CanvasText 45%, transparent); }
  .gbi svg .gbi-true { fill: none; stroke-width: 2; stroke-dasharray: 3 2; }
  .gbi .gbi-slot { border-color: CanvasText; border-radius: 0; }
}
@media print { .gbi .gbi-text { max-height: none; overflow: visible; } .gbi .gbi-reading { break-inside: auto; } }
`;

function unpackWords({ entries, tasks, span: [low, high], known, sources }, take) {
  const dim = tasks.length;
  const loss = take(Float32Array, entries);
  const z = Float32Array.from(addUp(take(Uint16Array, entries * dim), dim), (v) => v / 65535);
  const evidence = Float32Array.from(take(Uint16Array, entries * dim), (v) => low + (v / 65535) * (high - low));
  let sum = 0;
  return { loss, z, evidence, truth: known ? take(Uint16Array, entries) : null,
    mean: loss.map((nats, t) => (sum += nats) / (t + 1)), // of the words so far
    dim, labels: tasks, sources: sources ?? tasks, slots: Boolean(sources), noun: sources ? "slot" : "task", simplex: true, range: [0, 1], words: { z: "belief", loss: "loss", step: "word" } };
}

function sayWord(record, step) {
  const { text, truth, labels, sources, loss, mean, entries } = record;
  const { best, value } = largest(record, step);
  const task = record.chosen(step);
  const belief = best < 0 ? `all ${record.dim} equal at ${number(value)}` : `${labels[best]} at ${number(value)}`;
  const truly = truth ? ` (true: ${sources[truth[step]]})` : "";
  const evidence = `${signed(evidenceOf(record, step, task))} nats for ${labels[task]}`;
  return `word ${step + 1} of ${entries}, \u201c${text[step]}\u201d: ${evidence}; belief ${belief}${truly}; `
    + `loss ${number(loss[step])} nats, ${number(mean[step])} a word so far`;
}

const evidenceOf = ({ evidence, dim }, word, task) => evidence[word * dim + task];
const signed = (value) => (value >= 0.005 ? "+" : "") + number(value);

// ---- the text ----

function level(nats, scale) {
  const size = Math.min(LEVELS, Math.round((LEVELS * Math.abs(nats)) / scale));
  return nats < 0 ? -size : size;
}

function ink(size) {
  return size ? `gbi-${size > 0 ? "for" : "against"}-${Math.abs(size)}` : "";
}

// Which task the words' colours speak of; for slots at first of the slot of each word, which has no number: -1.
// The choice outlives a repaint, for a text that is being typed.
function choose(parent, record, refresh) {
  const row = make("div", { class: "gbi-choose" }, parent);
  const label = make("label", {}, row, record.slots ? "colours:" : "colours: evidence for");
  const select = make("select", { class: "gbi-what", "data-lm-suppress-shortcuts": "true" }, label);
  const what = record.slots ? "evidence for " : "";
  if (record.slots) make("option", { value: "own" }, select, "the slot of each word");
  else if (record.truth) make("option", { value: "true" }, select, "the true task");
  make("option", { value: "top" }, select, `${what}the ${record.noun} on top at the cursor`);
  for (const [k, name] of record.labels.entries()) make("option", { value: k }, select, what + name);
  const kept = parent.parentElement.dataset.choice;
  if (kept !== undefined && select.querySelector(`[value="${kept}"]`)) select.value = kept;
  select.addEventListener("change", () => { parent.parentElement.dataset.choice = select.value; refresh(); });
  const scale = make("span", { class: "gbi-scale", role: "img", "aria-label": "Scale: dotted below is "
    + `evidence against, a line below is evidence for, up to ${record.scale} nats` }, row, `\u2212${record.scale}`);
  for (let n = -LEVELS; n <= LEVELS; n++) make("i", { class: `gbi-word ${ink(n)}` }, scale);
  scale.append(`+${record.scale} nats`);
  const key = "filled: slot" + (record.truth ? "; outlined, and line below: true source" : "");
  if (record.slots) make("span", {}, row, key);
  const own = () => select.value === "own";
  const show = () => { scale.hidden = own(); };
  select.addEventListener("change", show);
  show();
  const taskOf = (word, top) => (
    select.value === "true" ? record.truth[word] : select.value === "top" || own() ? top : +select.value);
  return { taskOf, own };
}

// A hue for each slot that is believed most anywhere, in the order in which they come: neighbours are far apart.
function hues(slotOf) {
  const seen = [...new Set(slotOf)];
  return slotOf.map((slot) => Math.round(seen.indexOf(slot) * 137.5 + 210) % 360);
}

// The words as inline elements, with a sign where a stretch of another true task begins, or of another slot.
function spell(parent, record, slotOf) {
  const { text, truth, labels, sources } = record;
  const hue = hues(slotOf);
  let stretch = 0;
  return text.map((word, t) => {
    const begins = truth && (t === 0 || truth[t] !== truth[t - 1]);
    const turns = record.slots && (t === 0 || slotOf[t] !== slotOf[t - 1]);
    const close = /^[.,;:!?)\]\u2019%]+$/.test(word) || /^[(\[]$/.test(text[t - 1] ?? "");
    if (t && (begins || turns || !close)) parent.append(" ");
    if (begins) make("span", { class: "gbi-source" }, parent, sources[truth[t]]);
    const style = record.slots ? { style: `--hue: ${hue[t]}` } : {};
    if (turns) make("span", { class: "gbi-source gbi-slot", ...style }, parent, labels[slotOf[t]]);
    if (begins) stretch += 1;
    const node = make("span", { class: "gbi-word", "data-at": t, ...style }, parent, word);
    node.plain = `gbi-slotted${stretch % 2 ? "" : " gbi-even"}`;
    return node;
  });
}

function reading(parent, record, go, refresh) {
  const box = make("div", { class: "gbi-reading" }, parent);
  const { taskOf, own } = choose(box, record, refresh);
  const text = make("div", { class: "gbi-text", role: "group", dir: "auto", tabindex: 0, "data-lm-suppress-shortcuts": "true",
    "aria-label": "The text; arrow keys move from word to word" }, box);
  const topAt = (step) => Math.max(0, largest(record, step).best);
  const words = spell(text, record, Array.from(Array(record.entries).keys(), topAt));
  const levels = new Int8Array(words.length);
  let on = 0;
  record.chosen = (step) => taskOf(step, topAt(step));
  text.addEventListener("click", ({ target }) => {
    const word = target.closest("[data-at]");
    if (word) go(+word.dataset.at);
  });

  function draw(step) {
    const top = topAt(step);
    words[on].classList.remove("gbi-now");
    for (const [t, node] of words.entries()) {
      const size = own() ? OWN_SLOT : level(evidenceOf(record, t, taskOf(t, top)), record.scale);
      if (size === levels[t]) continue;
      levels[t] = size;
      node.className = `gbi-word ${size === OWN_SLOT ? node.plain : ink(size)}`;
    }
    words[step].classList.add("gbi-now");
    on = step;
    follow(words[step]);
  }

  function follow({ offsetTop: from, offsetHeight: tall }) {
    const seen = text.clientHeight;
    if (from < text.scrollTop || from + tall > text.scrollTop + seen) text.scrollTop = from - seen / 3;
  }
  return { draw };
}

// ---- belief over the words: a row for each task, or for each slot that is in use ----

function rowsOf({ z, dim, entries, truth, slots }) {
  const most = 14;
  const every = Array.from(Array(dim).keys());
  if (dim <= most && !slots) return every;
  const weight = every.map((k) => { let sum = 0; for (let t = 0; t < entries; t++) sum += z[t * dim + k]; return sum; });
  const all = slots ? every.filter((k) => weight[k] > 0.01 * entries) : every; // most slots stay empty
  const wanted = new Set(slots ? [] : truth ?? []);
  const rank = (k) => weight[k] + (wanted.has(k) ? entries : 0);
  return all.sort((one, other) => rank(other) - rank(one)).slice(0, most).sort((one, other) => one - other);
}

function ridges(parent, record, go) {
  const { z, dim, entries, labels, truth, sources, slots, noun } = record;
  const rows = rowsOf(record);
  const last = slots && truth ? 1 : 0; // a row more, for the true sources
  const some = rows.length < dim ? `, ${rows.length} of ${dim} ${noun}s` : "";
  const heading = `belief after each word${some}${last ? " (last row: true source)" : truth ? " (box: true task)" : ""}`;
  const box = panel(parent, heading, "gbi-curve-box gbi-ridges");
  const svg = make("svg", { role: "img" }, box);
  const tall = Math.max(14, Math.min(44, (HEIGHT - TOP - 24) / (rows.length + last)));
  const bottom = TOP - 8 + (rows.length + last) * tall;
  svg.style.height = `${bottom + 24}px`;
  let names, cursor, left, width, on = -1;
  const x = (word) => left + (word / entries) * (width - left - 4);

  function layout(wide) {
    width = wide;
    svg.replaceChildren();
    const most = Math.max(4, Math.floor((width * 0.36) / 6.6));
    const short = rows.map((k) => (labels[k].length > most ? `${labels[k].slice(0, most - 1)}\u2026` : labels[k]));
    left = 10 + 6.6 * Math.max(...short.map((name) => name.length));
    names = rows.map((k, row) => {
      const base = bottom - (rows.length + last - 1 - row) * tall;
      if (!last) boxes(k, base);
      make("path", { class: "gbi-ridge", d: ridge(k, base) }, svg);
      make("line", { class: "gbi-grid", x1: left, x2: width - 4, y1: base, y2: base }, svg);
      return make("text", { x: left - 6, y: base - tall / 2 + 5, "text-anchor": "end" }, svg, short[row]);
    });
    for (const k of last ? sources.keys() : []) boxes(k, bottom, sources[k]);
    for (const { at } of ticks(1, entries, Math.max(2, Math.min(5, width / 90)))) {
      if (Number.isInteger(at) && at >= 1) {
        make("text", { x: x(at - 0.5), y: bottom + 15, "text-anchor": "middle" }, svg, String(at));
      }
    }
    cursor = make("line", { class: "gbi-cursor", y1: TOP - 10, y2: bottom }, svg);
    on = -1;
  }

  function ridge(k, base) {
    const steps = Array.from(Array(entries).keys(), (t) =>
      `V${(base - z[t * dim + k] * (tall - 3)).toFixed(1)}H${x(t + 1).toFixed(1)}`);
    return `M${x(0).toFixed(1)} ${base}${steps.join("")}V${base}`;
  }

  function boxes(k, base, name = "") {
    for (let t = 0, from = 0; truth && t < entries; t++) {
      if (truth[t] !== k) from = t + 1;
      else if (t === entries - 1 || truth[t + 1] !== k) {
        const wide = x(t + 1) - x(from);
        make("rect", { class: "gbi-true", x: x(from), width: wide, y: base - tall + 2, height: tall - 2 }, svg);
        if (name.length * 6.6 < wide) make("text", { x: x(from) + 3, y: base - tall / 2 + 5 }, svg, name);
      }
    }
  }

  function draw(step) {
    const spot = x(step + 0.5);
    place(cursor, { x1: spot, x2: spot });
    const row = rows.indexOf(largest(record, step).best);
    if (row !== on) {
      names[on]?.removeAttribute("class");
      names[row]?.setAttribute("class", "gbi-on");
      on = row;
    }
    svg.setAttribute("aria-label", `Belief in each ${noun} after each word, with the cursor at ${sayWord(record, step)}.`);
  }

  const point = (event) => {
    const over = (event.clientX - svg.getBoundingClientRect().left - left) / (width - left - 4);
    go(Math.floor(over * entries));
  };
  dragged(svg, point);
  return { svg, layout, draw };
}

function wordPanels(parent, record, go, refresh) {
  return [reading(parent, record, go, refresh), bars(parent, record), ridges(parent, record, go)];
}

KINDS.words = { css: WORDS_CSS, unpack: unpackWords, panels: wordPanels, words: sayWord,
  place: ({ entries }, step) => `word ${step + 1} of ${entries}`,
  name: "A text and what its words speak for", slider: "Word of the text" };

// A text box in which nothing has been typed yet.
KINDS.blank = { unpack: () => ({}), panels: () => [], words: () => "", name: "No text yet",
  slider: "Word of the text" };

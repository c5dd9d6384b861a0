// The view in which one types, and the belief follows word by word. It stands behind scrubber.js, words.js, engine.js
// and reading.js in one module. Its own part is the box and what stands below it; what was read is shown by the words
// view, as another view inside this one.

const TYPE_CSS = `
.gbi .gbi-typing { flex: 1 1 100%; min-width: 0; }
.gbi .gbi-typing textarea { display: block; width: 100%; min-height: 76px; margin: 4px 0 0; padding: 6px 10px;
  font: 15px/1.5 var(--jp-ui-font-family, system-ui, sans-serif); color: inherit; background: transparent;
  border: 1px solid var(--soft); border-radius: 8px; resize: vertical; }
.gbi .gbi-typing .gbi-knobs { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: center; margin: 8px 0 0; }
.gbi .gbi-knobs label { flex: 0 1 340px; display: flex; gap: 8px; align-items: center; }
.gbi .gbi-knobs b { min-width: 3em; }
.gbi .gbi-knobs p { flex: 1 1 260px; margin: 0; font-size: 12px; color: var(--soft); }
.gbi .gbi-typing .gbi { padding: 14px 0 0; }
@media print { .gbi .gbi-typing > :is(label, .gbi-knobs) { display: none; } }
`;
const SLICE = 8; // ms of reading between two frames
const REPAINT = 150; // ms between two pictures of a text that is still being read
const SIGNS = 8000; // that are looked at of a text: a whole book may have been pasted
const WRITTEN = 25; // words that are written on
const TEMPERATURE = 0.7;
const HAZARDS = [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];
const SAID_NEVER = 2; // <unk> and <bos> are the first words of a vocabulary
const EMPTY = "Type a few words: the belief follows each of them.";
const NO_WORD = "There is no word to read in this text: write at least one.";
const STRANGE = "No word of this text is in the model's vocabulary, so it says little: try others.";
const NO_SPACES = "which is written without spaces, so it cannot be cut into words: put a space between its words.";
const BLANK = { kind: "blank", entries: 1, last: 0, title: "" };

function unpackTyping({ network, bytes, deltas, vocabulary, ...header }, take) {
  const model = wordModel(unpackWeights(network, take(Uint8Array, bytes)), network);
  return { ...header, model, vocabulary, read: wordReader(model, deltas),
    idOf: new Map(vocabulary.map((word, id) => [word, id])) };
}

// ---- what is read of a text, and what is said of it ----

function understand({ idOf, unspaced }, text) {
  if (!text.trim()) return { ids: [], told: EMPTY };
  const cleaned = clean(text.slice(0, SIGNS));
  const script = unspaced.find(([, letter, longest]) => isUnspaced(cleaned, letter, longest));
  if (script) return { ids: [], told: `This text is ${script[0]}, ${NO_SPACES}` };
  const tokens = cleaned.split(" ").filter(Boolean);
  if (text.length > SIGNS) tokens.pop(); // it may have been cut
  const ids = tokens.slice(0, LONGEST).map((token) => idOf.get(token) ?? 0);
  const cut = text.length > SIGNS || tokens.length > LONGEST;
  const told = [cut && ids.length ? `This text is long: its first ${ids.length} words are read, and no more.` : "",
    ids.length ? "" : NO_WORD, ids.length && ids.every((id) => id === 0) ? STRANGE : ""];
  return { ids, told: told.filter(Boolean).join(" ") };
}

// gbi_helpers.data.vocabulary.unspaced, for one script: most letters are of it, and its words longer than words are.
function isUnspaced(cleaned, letter, longest) {
  const found = cleaned.match(new RegExp(letter, "gu"))?.length ?? 0;
  const words = cleaned.split(" ").filter((word) => new RegExp(letter, "u").test(word)).length;
  return 2 * found > [...cleaned.replaceAll(" ", "")].length && found > longest * words;
}

// What the words view shows of a text that was read. With a hazard the evidence of each word goes through the filter of
// a stream that may switch; without one that is the sum over words, which is the reader's own belief.
function wordsOf({ tasks, vocabulary }, ids, { logQ, evidence, loss }, hazard) {
  const flat = (rows) => Float32Array.from(rows.flatMap((row) => Array.from(row)));
  const belief = hazard ? bayesFilter(evidence, hazard) : logQ;
  const nats = flat(evidence);
  let sum = 0;
  return { kind: "words", entries: ids.length, last: ids.length - 1, title: "", text: ids.map((id) => vocabulary[id]),
    tasks, labels: tasks, sources: tasks, dim: tasks.length, noun: "task", truth: null, slots: false, simplex: true,
    range: [0, 1], words: { z: "belief", loss: "loss", step: "word" }, z: flat(belief).map(Math.exp), evidence: nats,
    scale: scaleOf(nats), loss, mean: loss.map((each, t) => (sum += each) / (t + 1)) };
}

// The next of ..., 0.1, 0.2, 0.5, 1, 2, ... nats above all but 2 % of the evidence.
function scaleOf(nats) {
  const sizes = nats.map(Math.abs).sort();
  const at = 0.98 * (sizes.length - 1);
  const [below, above] = [sizes[Math.floor(at)], sizes[Math.ceil(at)]];
  const most = Math.max(0.1, below + (at % 1) * (above - below));
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((m) => +(m * power).toPrecision(1)).find((step) => step >= most * 0.999);
}

// ---- work in slices: generators that rest after each word ----

// What was read before stays read, up to the first word that is another one.
function* readOn({ read }, ids, before) {
  let same = 0;
  while (same < ids.length && before[same] === ids[same]) same += 1;
  const result = (count) => ({ ids: ids.slice(0, count), found: read(ids.slice(0, count)) });
  for (let count = same + 1; count < ids.length; count++) yield result(count);
  return result(ids.length);
}

// Words that go on from a text, sampled with z (gbi_helpers.experiments.language.reading.continue_text).
function* writeOn({ model, vocabulary }, ids, z) {
  const said = [];
  let [state, word] = [null, START];
  for (let t = 0; t < ids.length + WRITTEN; t++) {
    const ahead = model.expect(state, word, z, false);
    state = ahead.state;
    const share = (_, v) => (v < SAID_NEVER ? 0 : Math.exp(-model.lossAt(ahead, v) / TEMPERATURE));
    word = ids[t] ?? sampled(vocabulary.map(share));
    if (t >= ids.length) said.push(vocabulary[word]);
    yield said.join(" ");
  }
}

function sampled(shares) {
  let left = Math.random() * shares.reduce((sum, share) => sum + share, 0);
  return Math.max(SAID_NEVER, shares.findIndex((share) => (left -= share) < 0));
}

// One work at a time: each begun ends the one before. `seen` is told of the last result of each slice, and of the end.
function worker() {
  let current = null;
  return function begin(work, seen) {
    current = work;
    let last = null;
    const go = () => {
      if (work !== current) return;
      const until = performance.now() + SLICE;
      let step = null;
      do {
        step = work.next();
        last = step.value ?? last;
      } while (!step.done && performance.now() < until);
      if (last !== null) seen(last, step.done);
      if (!step.done) requestAnimationFrame(go);
    };
    go();
  };
}

// ---- the box, and the words view below it ----

const LEAK = "Hazard 0: the text has one source. Above: before each word it may have changed. What each word "
  + "speaks for, and its loss, stay those of 0.";

function knobs(parent, record, changed) {
  const own = { "data-lm-suppress-shortcuts": "true", class: "gbi-other" };
  const label = make("label", {}, parent);
  make("span", { class: "gbi-head" }, label, "Type or paste a text");
  const area = make("textarea", { rows: 3, dir: "auto", maxlength: 1.25 * SIGNS, ...own }, label);
  area.value = record.text;
  const row = make("div", { class: "gbi-knobs" }, parent);
  const write = make("button", { type: "button", ...own }, row, "Write on");
  const named = make("label", {}, row);
  make("span", { class: "gbi-head" }, named, "hazard");
  const slider = make("input", { type: "range", min: 0, max: HAZARDS.length - 1, step: 1, value: 0, ...own }, named);
  const value = make("b", { "aria-hidden": "true" }, named);
  make("p", {}, row, LEAK);
  slider.dataset.values = HAZARDS; // for a page that keeps in its address what is set
  const hazard = () => HAZARDS[slider.value];
  const show = () => {
    value.textContent = hazard();
    slider.setAttribute("aria-valuetext", `${hazard()} a word`);
  };
  show();
  area.addEventListener("input", changed.text);
  slider.addEventListener("input", () => { show(); changed.hazard(); });
  write.addEventListener("click", changed.write);
  return { area, hazard, write };
}

function typePanels(parent, record) {
  parent.parentElement.querySelector(":scope > .gbi-readout").hidden = true; // the view inside has one that speaks
  const box = make("div", { class: "gbi-typing" }, parent);
  const { area, hazard, write } = knobs(box, record, { text: readAgain, hazard: () => paint(), write: goOn });
  const shown = view(make("div", {}, box), BLANK);
  const begin = worker();
  let [ids, found, said, painted] = [[], null, "", 0];

  function tell(text) { // an alert that is told again is heard again
    if (text !== said) shown.say(text);
    said = text;
  }

  // At the last word, or where the cursor is. A view that showed nothing has no cursor yet.
  function paint(start) {
    shown.update(ids.length ? { ...wordsOf(record, ids, found, hazard()), start } : BLANK);
    painted = performance.now();
  }

  function busy(yes) {
    shown.busy(yes);
    write.disabled = yes;
  }

  function readAgain() {
    const next = understand(record, area.value);
    tell(next.told);
    shown.write("");
    busy(false);
    const same = next.ids.length === ids.length && next.ids.every((id, t) => id === ids[t]);
    if (next.ids.length && !same) return begin(readOn(record, next.ids, ids), keep);
    begin([][Symbol.iterator](), keep); // ends what is under way
    if (!same) { ids = []; paint(); }
    return null;
  }

  function keep(result, ended) {
    ({ ids, found } = result);
    busy(!ended);
    if (ended || performance.now() - painted > REPAINT) paint(ids.length - 1);
  }

  // With the belief at the end as z, as it is shown.
  function goOn() {
    const { tasks } = record.model;
    const { z } = ids.length ? wordsOf(record, ids, found, hazard()) : { z: maxEntropy(tasks) };
    shown.write("");
    begin(writeOn(record, ids, z.slice(-tasks)), (text, ended) => { if (ended) shown.write(text); });
  }

  requestAnimationFrame(readAgain);
  return [];
}

KINDS.type = { css: TYPE_CSS, unpack: unpackTyping, panels: typePanels, words: () => "", place: () => "",
  name: "A text box, and what is believed of its text", slider: "Word of the text" };

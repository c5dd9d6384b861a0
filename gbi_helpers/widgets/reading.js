// The word model of gbi_helpers.models.language (WordLSTM, "both", with or without a plane), and the text as it is told
// it. It stands behind engine.js.

// ---- text: gbi_helpers.data.vocabulary.clean, to the letter ----

const LETTER = "[\\p{L}\\p{Nl}\\p{No}]";
const MARK = "[\\p{M}\\u200d]";
const ENDS = "(?![\\p{L}\\p{N}_])";
const GOES_ON = `${MARK}|['\\u05f3\\u05f4](?=${LETTER})|\\u200c(?=${LETTER}|${MARK})`;
const TOKEN = new RegExp(`${LETTER}+(?:(?:${GOES_ON})${LETTER}*)*|\\p{Nd}|[.,;:?!()]`, "gu");
const UNSEEN = new RegExp("[\\u00ad\\u034f\\u061c\\u180b-\\u180f\\u200e\\u200f\\u202a-\\u202e\\u2060\\u2066-\\u2069"
  + "\\ufe00-\\ufe0f\\ufeff\\u{e0100}-\\u{e01ef}]|(?<![\\u0620-\\u180a\\u1810-\\u1cff])[\\u200c\\u200d]", "gu");
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\u1680\\u2028\\u2029]"; // after NFKC
const TORN = new RegExp(` (?:(n't)|'${SPACE}?(s|t|re|ve|ll|d|m))${ENDS}`, "gu");
const STILL_TORN = new RegExp(`(?<=${LETTER}|${MARK}) (?=n't${ENDS})`, "gu");

export function clean(text) {
  let seen = text.normalize("NFKC").toLowerCase().normalize("NFKC").replace(/[\u2018\u2019`\x91\x92]/g, "'");
  for (let before = ""; before !== seen;) { // what is taken away may bring others together
    before = seen;
    seen = seen.replace(UNSEEN, "").normalize("NFKC");
  }
  const mended = seen.replace(TORN, (_, not, tail) => not ?? `'${tail}`);
  return (mended.match(TOKEN) ?? []).join(" ").replace(STILL_TORN, "");
}

// ---- the network ----

const START = 1; // <bos>
const LONGEST = 400; // words that are read: each keeps its state and tangents, some 30 kB
const sigmoid = (value) => 1 / (1 + Math.exp(-value));

// The slope of each word's loss to z goes FORWARD with the state, a tangent for each direction of z. So what was read
// stays read: a further word costs one step, where a backward pass would go through the whole text again.
export function wordModel(weights, { tasks }) {
  const { shape: [vocabulary, size], values: embedding } = tensor(weights, "embedding.weight");
  const plane = weights["sources.weight"]?.values;
  const dims = plane ? tensor(weights, "sources.weight", 0, tasks).shape[0] : tasks;
  const wide = size + dims;
  const get = (name, ...sizes) => tensor(weights, name, ...sizes).values;
  const bias = get("bias", vocabulary);
  const [input, recurrent] = [get("lstm.weight_ih_l0", 4 * size, wide), get("lstm.weight_hh_l0", 4 * size, size)];
  const constant = Float64Array.from(get("lstm.bias_ih_l0"), (value, i) => value + get("lstm.bias_hh_l0")[i]);
  const [gate, gateBias] = [get("gate.weight", size, dims), plane && get("gate.bias", size)];
  const [token, drive, slopes] = [zeros(size), zeros(4 * size), zeros(4 * size * dims)];
  const [logits, back] = [zeros(vocabulary), zeros(size)];
  const start = { h: zeros(size), c: zeros(size), dh: zeros(dims * size), dc: zeros(dims * size) };
  const place = (z) => (plane ? times(plane, z, null, zeros(dims)) : z);

  // One step of the LSTM; with `tangents`, also of dh / d place and dc / d place (dims, size).
  function step({ h, c, dh, dc }, word, at, tangents) {
    token.set(embedding.subarray(word * size, word * size + size));
    const next = { h: zeros(size), c: zeros(size) };
    if (tangents) Object.assign(next, { dh: zeros(dims * size), dc: zeros(dims * size) });
    for (let i = 0; i < 4 * size; i++) {
      const [x, r] = [i * wide, i * size];
      drive[i] = constant[i] + dot(input, x, token, 0, size) + dot(recurrent, r, h, 0, size)
        + dot(input, x + size, at, 0, dims);
      for (let k = 0; tangents && k < dims; k++) {
        slopes[k * 4 * size + i] = input[x + size + k] + dot(recurrent, r, dh, k * size, size);
      }
    }
    for (let j = 0; j < size; j++) {
      const [i, f, o] = [sigmoid(drive[j]), sigmoid(drive[size + j]), sigmoid(drive[3 * size + j])];
      const g = Math.tanh(drive[2 * size + j]);
      next.c[j] = f * c[j] + i * g;
      const squashed = Math.tanh(next.c[j]);
      next.h[j] = o * squashed;
      for (let k = 0; tangents && k < dims; k++) {
        const [b, s] = [k * size + j, k * 4 * size + j];
        next.dc[b] = f * dc[b] + f * (1 - f) * slopes[s + size] * c[j] + i * (1 - i) * slopes[s] * g
          + i * (1 - g * g) * slopes[s + 2 * size];
        next.dh[b] = o * (1 - o) * slopes[s + 3 * size] * squashed + o * (1 - squashed * squashed) * next.dc[b];
      }
    }
    return next;
  }

  // All that can be known before a word is, told z: the state, what the network expects, and how z would change that.
  function expect(before, word, z, tangents = true) {
    const at = place(z);
    const state = step(before ?? start, word, at, tangents);
    const open = times(gate, at, gateBias, zeros(size));
    const output = state.h.map((value, j) => value * open[j]);
    const norm = logSumExp(times(embedding, output, bias, logits));
    if (!tangents) return { state, output, norm };
    for (let v = 0; v < vocabulary; v++) logits[v] = Math.exp(logits[v] - norm);
    timesBack(embedding, logits, back);
    const moved = state.dh.map((value, b) => {
      const [k, j] = [Math.floor(b / size), b % size];
      return value * open[j] + state.h[j] * gate[j * dims + k];
    });
    return { state, output, norm, moved, base: zeros(dims).map((_, k) => dot(moved, k * size, back, 0, size)) };
  }

  // The loss of a word, and its gradient to z: while a word is typed, letter by letter, only this runs again.
  const lossAt = ({ output, norm }, word) => norm - bias[word] - dot(embedding, word * size, output, 0, size);
  function slopeAt({ moved, base }, word) {
    const slope = base.map((value, k) => value - dot(embedding, word * size, moved, k * size, size));
    return plane ? timesBack(plane, slope, zeros(tasks)) : slope;
  }

  // The loss function of a text's ids (T).
  const lossOf = (ids) => (z, backward = true) => {
    const [grad, sum] = [zeros(tasks), { loss: 0, grad: null }];
    let state = null;
    for (const [t, word] of ids.entries()) {
      const ahead = expect(state, t ? ids[t - 1] : START, z, backward);
      state = ahead.state;
      sum.loss += lossAt(ahead, word);
      if (backward) for (const [k, slope] of slopeAt(ahead, word).entries()) grad[k] += slope;
    }
    return { ...sum, grad };
  };

  return { tasks, expect, lossAt, slopeAt, lossOf };
}

// Reads a growing text, word by word (gbi_helpers.experiments.language.reading.read_words): one step at the uniform z,
// and beside it a reader that is told what was believed so far. What it has read it remembers. `deltas`: a checkpoint's
// gaps.
export function wordReader(model, deltas = {}) {
  const { tasks } = model;
  const lengths = [0, ...Object.keys(deltas).map(Number)];
  const table = [zeros(tasks), ...Object.values(deltas)];
  let kept = []; // of each word: its id, what was expected before it, its slope and loss, and what is believed after it

  function gap(n) {
    const found = lengths.findIndex((length) => length >= n);
    const right = found < 1 ? lengths.length - 1 : found;
    const share = (n - lengths[right - 1]) / (lengths[right] - lengths[right - 1]);
    return (k) => (right ? (1 - share) * table[right - 1][k] + share * table[right][k] : 0);
  }

  function readOn(word, ahead) {
    const last = kept.at(-1);
    const [grad, n] = [model.slopeAt(ahead.uniform, word), kept.length + 1];
    const total = grad.map((slope, k) => (last ? last.total[k] : 0) - slope);
    const score = total.map((nats, k) => nats + gap(n)(k));
    kept.push({ word, ahead, grad, total, score, loss: model.lossAt(ahead.own, word), logQ: logSoftmax(score) });
  }

  function lookAhead() {
    const last = kept.at(-1);
    const word = last?.word ?? START;
    const z = last ? last.logQ.map(Math.exp) : maxEntropy(tasks);
    return { uniform: model.expect(last?.ahead.uniform.state, word, maxEntropy(tasks)),
      own: model.expect(last?.ahead.own.state, word, z, false) };
  }

  // Ids (T) -> log belief, evidence and gradient (T of K), and loss (T). `fresh`: how many words were new.
  return function read(ids) {
    const seen = ids.slice(0, LONGEST);
    let same = 0;
    while (same < seen.length && kept[same]?.word === seen[same]) same += 1;
    const known = kept[same]?.ahead; // what was expected there holds for another word, too
    kept = kept.slice(0, same);
    for (let t = same; t < seen.length; t++) readOn(seen[t], (t === same && known) || lookAhead());
    const evidence = kept.map(({ score }, t) => {
      const gain = score.map((nats, k) => nats - (t ? kept[t - 1].score[k] : 0));
      const mean = gain.reduce((sum, nats) => sum + nats, 0) / tasks;
      return gain.map((nats) => nats - mean);
    });
    return { logQ: kept.map(({ logQ }) => logQ), evidence, grad: kept.map(({ grad }) => grad),
      loss: kept.map(({ loss }) => loss), fresh: seen.length - same };
  };
}

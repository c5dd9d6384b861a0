// Gradient-based inference in the page: losses of z with their gradients, and what gbi_helpers.inference does with
// them. A loss function is what it is in Python, for one sample: z (K) -> { loss, grad, output }, in nats; told
// `false`, it may leave the gradient out. Weights have 16 bits and are never rounded again. Sums have 64: in 32 a unit
// at the kink of its relu may fall on the other side than in PyTorch, and that image's belief is then off by tenths of
// a nat.

// ---- weights ----

const damaged = (what) => new Error(`the weights in this page are not those of its network, ${what}`);

// SHA-256 (FIPS 180-4). The browser's own is kept from pages that did not come safely, such as a frame's.
export function sha256(bytes) {
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const fraction = (root) => ((root % 1) * 2 ** 32) | 0;
  const K = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
  const state = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
  const padded = new DataView(new ArrayBuffer(((bytes.length + 72) >> 6) << 6));
  new Uint8Array(padded.buffer).set(bytes);
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(padded.byteLength - 4, bytes.length << 3);
  padded.setUint32(padded.byteLength - 8, bytes.length / 2 ** 29);
  const turn = (x, by) => (x >>> by) | (x << (32 - by));
  const w = new Int32Array(64);
  for (let block = 0; block < padded.byteLength; block += 64) {
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const [x, y] = i < 16 ? [0, 0] : [w[i - 15], w[i - 2]];
      w[i] = i < 16 ? padded.getInt32(block + 4 * i) : w[i - 16] + w[i - 7]
        + (turn(x, 7) ^ turn(x, 18) ^ (x >>> 3)) + (turn(y, 17) ^ turn(y, 19) ^ (y >>> 10));
      const one = h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i];
      const two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
    }
    for (const [i, value] of [a, b, c, d, e, f, g, h].entries()) state[i] += value;
  }
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

// Half-precision numbers, one tensor behind another: all their low bytes, then all their high ones, which deflate packs
// tighter so. -> { name: { shape, values } }
export function unpackWeights({ tensors, sha256: wanted }, bytes) {
  if (sha256(bytes) !== wanted) throw damaged("by their SHA-256");
  const out = {};
  const half = bytes.length / 2;
  let at = 0;
  for (const [name, shape] of tensors) {
    const end = at + shape.reduce((product, size) => product * size, 1);
    if (end > half) throw damaged("which has more of them");
    out[name] = { shape, values: halves(bytes.subarray(at, end), bytes.subarray(half + at, half + end)) };
    at = end;
  }
  return out;
}

// By bits: Float16Array is too new, and powers of two are a hundred times slower.
function halves(low, high) {
  const bits = new Uint32Array(low.length); // of single precision: the same fraction, the exponent moved by 112
  const values = new Float32Array(bits.buffer);
  for (let i = 0; i < low.length; i++) {
    const half = low[i] | (high[i] << 8);
    if (half & 0x7c00) bits[i] = ((half & 0x8000) << 16) | (((half & 0x7fff) << 13) + (112 << 23));
    else values[i] = (half & 0x3ff) * 2 ** -24 * (half >> 15 ? -1 : 1);
  }
  return values;
}

// The tensor of this name; each size must be as told, where it is told.
function tensor(weights, name, ...sizes) {
  const found = weights[name];
  if (!found) throw damaged(`which has ${name}`);
  if (sizes.some((size, k) => size && size !== found.shape[k])) throw damaged(`whose ${name} is ${sizes.join(" x ")}`);
  return found;
}

// ---- sums ----

const zeros = (count) => new Float64Array(count);

// Sum of A[a + j] * B[b + j]. Four sums at once: one alone would wait for itself.
function dot(A, a, B, b, count) {
  let [s, t, u, v, j] = [0, 0, 0, 0, 0];
  for (const even = count - 3; j < even; j += 4) {
    s += A[a + j] * B[b + j];
    t += A[a + j + 1] * B[b + j + 1];
    u += A[a + j + 2] * B[b + j + 2];
    v += A[a + j + 3] * B[b + j + 3];
  }
  for (; j < count; j++) s += A[a + j] * B[b + j];
  return s + t + (u + v);
}

// out += by * row of W. Nothing to do where `by` is 0, as behind a relu.
function add(out, by, W, at) {
  if (by !== 0) for (let i = 0; i < out.length; i++) out[i] += by * W[at + i];
}

// W x + bias, W (rows, columns) stored by rows; and its backward pass, W^T d.
const times = (W, x, bias, out) => {
  for (let i = 0; i < out.length; i++) out[i] = (bias ? bias[i] : 0) + dot(W, i * x.length, x, 0, x.length);
  return out;
};

function timesBack(W, d, out) {
  out.fill(0);
  for (let i = 0; i < d.length; i++) add(out, d[i], W, i * out.length);
  return out;
}

function turned(W, rows, columns) {
  const out = new Float32Array(W.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = W[i * columns + j];
  return out;
}

function relu(x) {
  for (let i = 0; i < x.length; i++) if (!(x[i] > 0)) x[i] = 0;
  return x;
}

// ---- inference: the names and the numbers of gbi_helpers.inference, for one sample ----

export const maxEntropy = (count) => zeros(count).fill(1 / count);
export const argmax = (values) => values.reduce((best, value, k) => (value > values[best] ? k : best), 0);
const oneHot = (task, count) => zeros(count).fill(1, task, task + 1);

function logSumExp(scores) {
  const top = scores.reduce((most, score) => Math.max(most, score), -Infinity);
  return top === -Infinity ? top : top + Math.log(scores.reduce((sum, score) => sum + Math.exp(score - top), 0));
}

export function logSoftmax(scores) {
  const norm = logSumExp(scores);
  return Float64Array.from(scores, (score) => score - norm);
}

export const softmax = (scores) => logSoftmax(scores).map(Math.exp);
const posterior = (scores, rest) => {
  const logQ = logSoftmax(scores);
  return { logQ, q: logQ.map(Math.exp), ...rest };
};

// One gradient at z0: softmax(-stepSize * dL/dz).
export function oneStep(lossFn, z0, stepSize = 1) {
  const { loss, grad } = lossFn(z0);
  return posterior(Float64Array.from(grad, (slope) => -stepSize * slope), { loss, grad: Float64Array.from(grad) });
}

// Exact Bayes by K forward passes: softmax(log prior - loss).
export function enumerateTasks(lossFn, count, logPrior = zeros(count)) {
  const loss = zeros(count).map((_, task) => lossFn(oneHot(task, count), false).loss);
  return posterior(loss.map((nats, task) => logPrior[task] - nats), { loss });
}

// z = softmax(u); u moves by PyTorch's Adam from the centred logits of z0. Yields z and loss before each step and after
// the last, so that a page can rest between two steps.
export function* walk(lossFn, z0, { steps = 50, lr = 0.2 } = {}) {
  const logits = Float64Array.from(z0, (share) => Math.log(Math.max(share, 1e-6)));
  const u = logits.map((logit) => logit - logits.reduce((sum, each) => sum + each, 0) / logits.length);
  const [first, second] = [zeros(u.length), zeros(u.length)];
  for (let step = 1; step <= steps; step++) {
    const z = softmax(u);
    const { loss, grad } = lossFn(z);
    const mean = z.reduce((sum, share, k) => sum + share * grad[k], 0);
    for (let k = 0; k < u.length; k++) {
      const slope = z[k] * (grad[k] - mean);
      first[k] = 0.9 * first[k] + 0.1 * slope;
      second[k] = 0.999 * second[k] + 0.001 * slope * slope;
      u[k] -= (lr * first[k]) / (1 - 0.9 ** step) / (Math.sqrt(second[k] / (1 - 0.999 ** step)) + 1e-8);
    }
    yield { z, loss };
  }
  const z = softmax(u);
  yield { z, loss: lossFn(z, false).loss };
}

// Log belief after each of T scores (K, nats): before each but the first the task jumps, with probability `hazard`, to
// one of the K - 1 others (gbi_helpers.bayes.bayes_filter).
export function bayesFilter(scores, hazard) {
  let expected = null;
  return scores.map((score) => {
    const logQ = logSoftmax(score.map((nats, k) => nats + (expected ? Math.log(expected[k]) : 0)));
    const leaves = score.length > 1 ? hazard : 0; // one task alone has nowhere to go
    const jump = leaves / Math.max(1, score.length - 1);
    expected = logQ.map((share) => Math.exp(share) * (1 - leaves - jump) + jump);
    return logQ;
  });
}

// A decoder of z alone: x ~ N(z @ patterns, sd^2), patterns (K of D).
export function gaussianDecoder(patterns, sd = 1) {
  const decode = (z) => {
    const output = zeros(patterns[0].length);
    for (const [k, row] of patterns.entries()) add(output, z[k], row, 0);
    return output;
  };
  const lossOf = (x) => (z) => {
    const output = decode(z);
    const away = output.map((value, d) => value - x[d]);
    const grad = patterns.map((row) => row.reduce((sum, value, d) => sum + value * away[d], 0) / sd ** 2);
    return { loss: dot(away, 0, away, 0, away.length) / (2 * sd ** 2), grad, output };
  };
  return { tasks: patterns.length, decode, lossOf };
}

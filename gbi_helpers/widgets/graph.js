// Runs the operations that gbi_helpers.widgets.graphs wrote down: any loss of z, with its gradient. It stands behind
// engine.js. Shapes are known, so each operation is made ready once, as a function without arguments that reads and
// writes views: { data, offset, shape, strides }. What only looks at numbers in another way is no operation.

const SMALL = 4096; // numbers: constants with fewer are kept in 64 bits, as all that is computed

function erf(x) {
  const size = Math.abs(x);
  if (size > 6) return Math.sign(x);
  let [sum, term] = [x, x]; // the series; far out, where its terms would cancel, the continued fraction
  if (size < 2.5) {
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * sum;
  }
  let below = 0;
  for (let n = 60; n > 0; n--) below = n / 2 / (size + below);
  return Math.sign(x) * (1 - Math.exp(-x * x) / Math.sqrt(Math.PI) / (size + below));
}

function even(x) { // rounds halves to the even number, as PyTorch does
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}

// Number by number, with PyTorch's names.
const EACH = {
  abs: Math.abs, acos: Math.acos, asin: Math.asin, atan: Math.atan, ceil: Math.ceil, copy: (a) => a, cos: Math.cos,
  cosh: Math.cosh, erf, exp: Math.exp, expm1: Math.expm1, floor: Math.floor, isnan: (a) => +(a !== a), log: Math.log, 
  log1p: Math.log1p, logical_not: (a) => +!a, neg: (a) => -a, reciprocal: (a) => 1 / a, relu: (a) => (a < 0 ? 0 : a), round: even, rsqrt: (a) => 1 / Math.sqrt(a),
  sigmoid: (a) => 1 / (1 + Math.exp(-a)), sign: Math.sign, sin: Math.sin, sinh: Math.sinh, sqrt: Math.sqrt, tan: Math.tan,
  tanh: Math.tanh, trunc: Math.trunc,
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, pow: (a, b) => a ** b,
  atan2: Math.atan2, maximum: (a, b) => Math.max(a, b), minimum: (a, b) => Math.min(a, b),
  remainder: (a, b) => a - b * Math.floor(a / b), eq: (a, b) => +(a === b), ne: (a, b) => +(a !== b),
  lt: (a, b) => +(a < b), le: (a, b) => +(a <= b), gt: (a, b) => +(a > b), ge: (a, b) => +(a >= b),
  logical_and: (a, b) => +(a && b ? 1 : 0), logical_or: (a, b) => +(a || b ? 1 : 0),
  where: (a, b, c) => (a ? b : c),
};
const FOLDS = { sum: [0, EACH.add], amax: [-Infinity, EACH.maximum], amin: [Infinity, EACH.minimum] };

const sizeOf = ({ shape }) => shape.reduce((product, size) => product * size, 1);

// Where in its data the numbers of a view lie, row after row.
function placesOf(view) {
  if (view.places) return view.places;
  let places = [view.offset];
  for (const [axis, size] of view.shape.entries()) {
    const next = new Int32Array(places.length * size);
    for (let i = 0; i < next.length; i++) next[i] = places[Math.floor(i / size)] + (i % size) * view.strides[axis];
    places = next;
  }
  return (view.places = Int32Array.from(places));
}

// ---- operations: (view written, views read) -> a function that does it ----

function each(f) {
  return (out, ...read) => {
    const [to, places, count] = [out.data, placesOf(out), sizeOf(out)];
    const [[a, ia], [b, ib] = [], [c, ic] = []] = read.map((view) => [view.data, placesOf(view)]);
    if (f.length === 1) return () => { for (let i = 0; i < count; i++) to[places[i]] = f(a[ia[i]]); };
    if (f.length === 2) return () => { for (let i = 0; i < count; i++) to[places[i]] = f(a[ia[i]], b[ib[i]]); };
    return () => { for (let i = 0; i < count; i++) to[places[i]] = f(a[ia[i]], b[ib[i]], c[ic[i]]); };
  };
}

// The axes that go stand last.
function fold([start, f]) {
  return (out, { data, ...view }) => {
    const [to, places, from] = [out.data, placesOf(out), placesOf(view)];
    const long = from.length / places.length;
    return () => {
      for (let i = 0, at = 0; i < places.length; i++) {
        let value = start;
        for (let j = 0; j < long; j++, at++) value = f(value, data[from[at]]);
        to[places[i]] = value;
      }
    };
  };
}

// A matrix (batch, rows, columns) as a copy whose rows lie side by side.
function upright(view) {
  const [batch, rows, columns] = view.shape;
  const places = placesOf({ ...view });
  return { ...view, data: view.data.constructor.from(places, (at) => view.data[at]), offset: 0, places: null,
    strides: [rows * columns, columns, 1] };
}

// Matrix products (batch, rows, inner) x (batch, inner, columns): rows of the second matrix are added up, and behind a
// relu most of them are 0 and cost nothing. What cannot be read so is a sum of numbers side by side.
function products(out, one, second) {
  const other = second.fixed && second.strides[2] !== 1 ? (second.upright ??= upright(second)) : second;
  const [[batch, rows, inner], columns] = [one.shape, other.shape[2]];
  const [[oneBatch, oneRow, oneStep], [otherBatch, otherStep, otherColumn]] = [one.strides, other.strides];
  const [outBatch, outRow, outColumn] = out.strides;
  const [A, B, to] = [one.data, other.data, out.data];
  const whole = otherColumn === 1 && outColumn === 1;
  const sideBySide = !whole && oneStep === 1 && otherStep === 1;

  function row(a, b, at) {
    if (sideBySide) {
      for (let j = 0; j < columns; j++) to[at + j * outColumn] = dot(A, a, B, b + j * otherColumn, inner);
      return;
    }
    const line = whole ? to.subarray(at, at + columns) : zeros(columns);
    line.fill(0);
    for (let k = 0; k < inner; k++) {
      const by = A[a + k * oneStep];
      if (whole) add(line, by, B, b + k * otherStep);
      else if (by !== 0) for (let j = 0; j < columns; j++) line[j] += by * B[b + k * otherStep + j * otherColumn];
    }
    if (!whole) for (let j = 0; j < columns; j++) to[at + j * outColumn] = line[j];
  }
  return () => {
    for (let n = 0; n < batch; n++) {
      for (let i = 0; i < rows; i++) {
        row(one.offset + n * oneBatch + i * oneRow, other.offset + n * otherBatch, out.offset + n * outBatch + i * outRow);
      }
    }
  };
}

// Each number is put, or added, to the place that `where` names.
const into = (f) => (out, values, where) => {
  const [to, places, from, data] = [out.data, placesOf(out), placesOf(values), values.data];
  const chosen = where ? placesOf(where).map((at) => places[where.data[at]]) : places;
  return () => { for (let i = 0; i < chosen.length; i++) to[chosen[i]] = f(to[chosen[i]], data[from[i]]); };
};

function gather(out, values, where) {
  const from = placesOf(values);
  const chosen = placesOf(where).map((at) => from[where.data[at]]);
  return each(EACH.copy)(out, { ...values, places: chosen });
}

const OPERATIONS = {
  ...Object.fromEntries(Object.entries(EACH).map(([name, f]) => [name, each(f)])),
  ...Object.fromEntries(Object.entries(FOLDS).map(([name, how]) => [name, fold(how)])),
  products, gather, add_into: into(EACH.add),
  put: (out, where, values) => into((_, value) => value)(out, values, where),
  put_add: (out, where, values) => into(EACH.add)(out, values, where),
};

// ---- the whole ----

// `bytes`: the constants of 16 bits, then those of 32. -> the loss function of z, as all of engine.js is.
export function graphModel({ operations, views, sizes, ends, forward, halves, bytes: split, singles }, bytes) {
  const buffers = sizes.map(() => null);
  const keep = (buffer, values) => {
    buffers[buffer] = values.length < SMALL ? Float64Array.from(values) : values;
  };
  for (const [buffer, { values }] of Object.entries(unpackWeights(halves, bytes.subarray(0, split)))) keep(buffer, values);
  const rest = new Float32Array(bytes.slice(split).buffer);
  singles.reduce((at, [buffer, count]) => { keep(buffer, rest.subarray(at, at + count)); return at + count; }, 0);
  const fixed = new Set([...buffers.keys()].filter((buffer) => buffers[buffer]));
  for (const [buffer, size] of sizes.entries()) buffers[buffer] ??= zeros(size);

  const looks = views.map(([buffer, offset, shape, strides]) => (
    { data: buffers[buffer], offset, shape, strides, fixed: fixed.has(buffer) }));
  // A number stands for as many of itself as are asked for.
  const lookAt = (operand, { shape }) => (typeof operand === "number" ? looks[operand]
    : { data: [+operand], offset: 0, shape, strides: shape.map(() => 0) });
  const steps = operations.map(([name, out, ...read]) => (
    OPERATIONS[name](looks[out], ...read.map((operand) => lookAt(operand, looks[out])))));
  const [z, loss, grad] = ends.map((end) => looks[end]);

  return (given, backward = true) => {
    z.data.set(given);
    for (let i = 0; i < (backward ? steps.length : forward); i++) steps[i]();
    const found = { loss: loss.data[loss.offset] };
    if (backward) found.grad = Float64Array.from(placesOf(grad), (at) => grad.data[at]);
    return found;
  };
}

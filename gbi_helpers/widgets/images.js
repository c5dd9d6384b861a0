// The image models of gbi_helpers.models.image, with the gradient of their losses to z. It stands behind engine.js. z
// enters the decoder alone, so the encoder has no backward pass. A layer remembers its last input, and returns arrays
// of its own, which its next call overwrites. Each but the first stands behind a relu, and where its input is 0 there
// is nothing to add, forward, and nothing to know, backward.

// The parts of x (channels, size, size) that a kernel of stride 2 sees, with a border of one zero: a row for each
// place.
function patches(x, channels, size, kernel, out) {
  const half = size / 2;
  let at = 0;
  for (let p = 0; p < half * half; p++) {
    const [top, left] = [2 * Math.floor(p / half) - 1, 2 * (p % half) - 1];
    for (let c = 0; c < channels; c++) {
      for (let y = top; y < top + kernel; y++) {
        for (let i = left; i < left + kernel; i++, at++) {
          out[at] = y < 0 || i < 0 || y >= size || i >= size ? 0 : x[(c * size + y) * size + i];
        }
      }
    }
  }
  return out;
}

// Convolution 3 x 3 of stride 2, then relu: (channels, size, size) -> (rows, size / 2, size / 2).
function convolution({ shape: [rows, channels], values: W }, { values: bias }, size) {
  const [places, long] = [(size / 2) ** 2, channels * 9];
  const [seen, out] = [zeros(places * long), zeros(rows * places)];
  return (x) => {
    patches(x, channels, size, 3, seen);
    for (let r = 0, at = 0; r < rows; r++) {
      for (let p = 0; p < places; p++, at++) out[at] = bias[r] + dot(W, r * long, seen, p * long, long);
    }
    return relu(out);
  };
}

function linear({ shape: [rows, columns], values }, { values: bias }) {
  const W = turned(values, rows, columns);
  const [out, back] = [zeros(rows), zeros(columns)];
  let seen;
  return {
    forward(x) {
      seen = x;
      out.set(bias);
      for (let j = 0; j < columns; j++) add(out, x[j], W, j * rows);
      return out;
    },
    backward(d, live = seen) {
      for (let j = 0; j < columns; j++) back[j] = live[j] === 0 ? 0 : dot(W, j * rows, d, 0, rows);
      return back;
    },
  };
}

// Transposed convolution 4 x 4 of stride 2 with a border of one: (channels, size, size) -> (rows, 2 size, 2 size).
function enlarging({ shape: [channels, rows], values: W }, { values: bias }, size) {
  const [places, long, wide] = [size * size, rows * 16, 2 * size + 2];
  const [part, whole, out] = [zeros(long), zeros(rows * wide * wide), zeros(rows * 4 * places)];
  const [around, back] = [zeros(places * long), zeros(channels * places)];
  let seen;
  return {
    forward(x) {
      seen = x;
      whole.fill(0);
      for (let p = 0; p < places; p++) {
        part.fill(0);
        for (let c = 0; c < channels; c++) add(part, x[c * places + p], W, c * long);
        const corner = 2 * Math.floor(p / size) * wide + 2 * (p % size);
        for (let i = 0; i < long; i++) whole[((i >> 4) * wide + ((i >> 2) & 3)) * wide + corner + (i & 3)] += part[i];
      }
      for (let i = 0; i < out.length; i++) {
        const [r, place] = [Math.floor(i / (4 * places)), i % (4 * places)];
        out[i] = bias[r] + whole[(r * wide + Math.floor(place / (2 * size)) + 1) * wide + (place % (2 * size)) + 1];
      }
      return out;
    },
    backward(d) {
      patches(d, rows, 2 * size, 4, around);
      for (let c = 0, at = 0; c < channels; c++) {
        for (let p = 0; p < places; p++, at++) {
          back[at] = seen[at] === 0 ? 0 : dot(W, c * long, around, p * long, long);
        }
      }
      return back;
    },
  };
}

// Losses of a pixel and their slopes, and what the eye is shown.
const NLLS = {
  squared: { loss: (out, x) => (out - x) ** 2, slope: (out, x) => 2 * (out - x), show: (out) => out },
  bernoulli: { loss: (out, x) => Math.max(out, 0) - out * x + Math.log1p(Math.exp(-Math.abs(out))),
    slope: (out, x) => 1 / (1 + Math.exp(-out)) - x, show: (out) => 1 / (1 + Math.exp(-out)) },
};

// Where z meets the code. "mul": relu(W h + b) * (V z + c). "concat": relu(W [h, z] + b).
function joining(weights, latent, tasks) {
  const multiplied = "decoder.join.task.weight" in weights;
  const columns = multiplied ? latent : latent + tasks;
  const { shape: [width], values: code } = tensor(weights, "decoder.join.code.weight", 0, columns);
  const bias = tensor(weights, "decoder.join.code.bias", width).values;
  const [H, V] = [new Float32Array(width * latent), new Float32Array(width * tasks)];
  for (let i = 0; i < width; i++) {
    H.set(code.subarray(i * columns, i * columns + latent), i * latent);
    V.set(code.subarray(i * columns + latent, (i + 1) * columns), i * tasks);
  }
  if (multiplied) V.set(tensor(weights, "decoder.join.task.weight", width, tasks).values);
  const offset = multiplied && tensor(weights, "decoder.join.task.bias", width).values;
  const [joined, back] = [zeros(width), zeros(width)];
  return (h) => {
    const units = times(H, h, bias, zeros(width));
    if (multiplied) relu(units);
    return {
      live: multiplied ? units : joined, // a gate may be 0 and have a slope
      forward(z) {
        times(V, z, offset, joined);
        for (let i = 0; i < width; i++) joined[i] = multiplied ? units[i] * joined[i] : units[i] + joined[i];
        return multiplied ? joined : relu(joined);
      },
      backward(d, grad) {
        for (let i = 0; i < width; i++) back[i] = multiplied ? units[i] * d[i] : d[i];
        return timesBack(V, back, grad);
      },
    };
  };
}

// ConditionalVAE and ConvAutoencoder: encode(x) -> h, lossOf(h, x) -> loss function of z, picture(h, z) -> image in [0,
// 1].
export function imageModel(weights, { latent, tasks, nll }) {
  const layer = (make, name, size) => make(tensor(weights, `${name}.weight`), tensor(weights, `${name}.bias`), size);
  const enlarged = "decoder.body.3.weight" in weights;
  const body = enlarged
    ? [layer(linear, "decoder.body.0"), layer(enlarging, "decoder.body.3", 7), layer(enlarging, "decoder.body.5", 14)]
    : [layer(linear, "decoder.body.0"), layer(linear, "decoder.body.2")];
  const eyes = latent ? [layer(convolution, "encoder.0", 28), layer(convolution, "encoder.2", 14)] : [];
  const [joined, { loss: lossAt, slope, show }] = [joining(weights, latent, tasks), NLLS[nll]];

  function encode(x) {
    if (!latent) return zeros(0);
    const seen = eyes.reduce((image, look) => look(image), x);
    const mean = tensor(weights, "encoder.5.weight", 0, seen.length).values; // a VAE's variance stands below it
    return times(mean, seen, tensor(weights, "encoder.5.bias").values, zeros(latent));
  }

  const decode = (join, z) => body.reduce((x, { forward }, k) => forward(k ? relu(x) : x), join.forward(z));

  function lossOf(h, x) {
    const [join, grad, error] = [joined(h), zeros(tasks), zeros(x.length)];
    return (z, backward = true) => {
      const output = decode(join, z);
      let loss = 0;
      for (let i = 0; i < x.length; i++) loss += lossAt(output[i], x[i]);
      if (!backward) return { loss, output };
      for (let i = 0; i < x.length; i++) error[i] = slope(output[i], x[i]);
      const d = body.reduceRight((above, layer, k) => layer.backward(above, k ? undefined : join.live), error);
      return { loss, grad: join.backward(d, grad), output };
    };
  }

  return { tasks, encode, lossOf, picture: (h, z) => decode(joined(h), z).map(show) };
}

// Pen strokes, and what MNIST would have made of them. A stroke is a list of places [x, y] on a pad from 0 to 1, where
// y goes down. Nothing here reads a canvas, so all browsers make the same image.

const SIDE = 28; // pixels
const BOX = 20; // MNIST: the ink fits a box of 20 x 20 ...
const MIDDLE = 14.5; // ... and its centre of mass is at pixel 14, which reaches from 14 to 15
const PEN = 1.25; // half the width of a stroke in pixels: as much ink as MNIST has

// Ink in [0, 1] of strokes in pixels (28 x 28): by each pixel's distance to the nearest, with a soft edge of one pixel.
function rasterise(strokes) {
  const image = new Float64Array(SIDE * SIDE);
  const reach = PEN + 1;
  const within = (from, to) =>
    [Math.max(0, Math.floor(Math.min(from, to) - reach)), Math.min(SIDE, Math.max(from, to) + reach)];
  for (const stroke of strokes) {
    for (const [s, [x1, y1]] of stroke.entries()) {
      const [x0, y0] = stroke[Math.max(0, s - 1)];
      const [[left, right], [top, bottom]] = [within(x0, x1), within(y0, y1)];
      const [dx, dy] = [x1 - x0, y1 - y0];
      const long = dx * dx + dy * dy;
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) {
          const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
          const along = long ? Math.max(0, Math.min(1, (px * dx + py * dy) / long)) : 0;
          const ink = Math.min(1, PEN + 0.5 - Math.hypot(px - along * dx, py - along * dy));
          if (ink > image[y * SIDE + x]) image[y * SIDE + x] = ink;
        }
      }
    }
  }
  return image;
}

const moved = (strokes, scale, [dx, dy]) =>
  strokes.map((stroke) => stroke.map(([x, y]) => [x * scale + dx, y * scale + dy]));

// The pad as it is.
export const asDrawn = (strokes) => rasterise(moved(strokes, SIDE, [0, 0]));

// MNIST's own preparation: the ink scaled to its box, its shape kept, then its centre of mass moved to the middle.
export function likeMnist(strokes) {
  const points = strokes.flat();
  if (!points.length) return rasterise([]);
  const ends = [0, 1].map((axis) => points.reduce(([low, high], point) =>
    [Math.min(low, point[axis]), Math.max(high, point[axis])], [Infinity, -Infinity]));
  const large = Math.max(...ends.map(([low, high]) => high - low));
  const scale = large > 0 ? (BOX - 2 * PEN) / large : 1;
  const at = ends.map(([low, high]) => MIDDLE - (scale * (low + high)) / 2);
  const first = rasterise(moved(strokes, scale, at));
  let [mass, mx, my] = [0, 0, 0];
  for (const [i, ink] of first.entries()) {
    mass += ink;
    mx += ink * ((i % SIDE) + 0.5);
    my += ink * (Math.floor(i / SIDE) + 0.5);
  }
  return rasterise(moved(strokes, scale, [at[0] + MIDDLE - mx / mass, at[1] + MIDDLE - my / mass]));
}

// ---- digits written for a reader who does not draw: two or three shapes of each ----

const arc = (x, y, rx, ry, from, to, count = 14) => Array.from({ length: count + 1 }, (_, i) => {
  const turn = ((from + ((to - from) * i) / count) * Math.PI) / 180;
  return [x + rx * Math.cos(turn), y + ry * Math.sin(turn)];
});

const SHAPES = [
  [[arc(0.5, 0.5, 0.24, 0.36, -90, 270)], [arc(0.5, 0.5, 0.3, 0.32, -60, 300)]],
  [[[[0.5, 0.12], [0.5, 0.88]]], [[[0.36, 0.28], [0.54, 0.12], [0.54, 0.88]]], [[[0.6, 0.12], [0.44, 0.88]]]],
  [[[...arc(0.5, 0.32, 0.22, 0.2, 190, 380), [0.28, 0.86], [0.76, 0.86]]],
    [[...arc(0.48, 0.34, 0.24, 0.22, 200, 400), [0.26, 0.84], [0.5, 0.8], [0.8, 0.86]]]],
  [[[...arc(0.46, 0.3, 0.22, 0.18, 200, 450), ...arc(0.46, 0.66, 0.26, 0.2, -90, 160)]],
    [[[0.26, 0.14], [0.72, 0.14], [0.46, 0.42], ...arc(0.46, 0.64, 0.26, 0.22, -80, 150)]]],
  [[[[0.56, 0.12], [0.22, 0.6], [0.8, 0.6]], [[0.62, 0.4], [0.62, 0.9]]],
    [[[0.28, 0.14], [0.26, 0.5], [0.74, 0.5]], [[0.72, 0.12], [0.68, 0.9]]]],
  [[[[0.72, 0.14], [0.32, 0.14], [0.3, 0.44], ...arc(0.48, 0.62, 0.24, 0.23, -110, 140)]],
    [[[0.32, 0.16], [0.3, 0.46], ...arc(0.46, 0.64, 0.26, 0.22, -100, 150)], [[0.32, 0.16], [0.72, 0.14]]]],
  [[[[0.62, 0.12], [0.4, 0.34], [0.3, 0.62], ...arc(0.5, 0.68, 0.2, 0.19, 180, -180)]],
    [[...arc(0.62, 0.56, 0.34, 0.42, 265, 180), ...arc(0.48, 0.68, 0.2, 0.18, 180, 540)]]],
  [[[[0.24, 0.16], [0.76, 0.16], [0.44, 0.88]]],
    [[[0.24, 0.18], [0.74, 0.16], [0.42, 0.88]], [[0.38, 0.5], [0.68, 0.5]]]],
  [[[...arc(0.5, 0.31, 0.18, 0.18, 90, -270), ...arc(0.5, 0.68, 0.22, 0.2, -90, 270)]],
    [[...arc(0.5, 0.3, 0.2, 0.17, -40, -270), ...arc(0.5, 0.68, 0.22, 0.2, -90, 230), [0.66, 0.24]]]],
  [[[...arc(0.48, 0.34, 0.2, 0.2, 0, -360), [0.68, 0.34], [0.64, 0.88]]],
    [[...arc(0.5, 0.32, 0.22, 0.19, -20, -340), [0.7, 0.3], [0.68, 0.6], [0.5, 0.86], [0.3, 0.82]]]],
];

// A digit in one of its shapes: turned, slanted, stretched, made small and put anywhere, by a shaky hand.
export function written(digit, random) {
  const shape = SHAPES[digit][Math.floor(random() * SHAPES[digit].length)];
  const about = (spread) => (random() + random() + random() - 1.5) * spread;
  const [turn, slant, wide] = [about(0.22), about(0.35), 1 + about(0.3)];
  const size = 0.45 + 0.5 * random();
  const [x0, y0] = [size / 2 + random() * (1 - size), size / 2 + random() * (1 - size)];
  return shape.map((stroke) => {
    const [ax, ay, bx, by] = [about(0.04), about(0.04), 6 * random(), 6 * random()];
    return stroke.map(([x, y], i) => {
      const v = y - 0.5 + about(0.02) + ay * Math.sin(by + i / 3);
      const u = (x - 0.5) * wide + about(0.02) + ax * Math.sin(bx + i / 3) - slant * v;
      const [c, s] = [Math.cos(turn), Math.sin(turn)];
      return [x0 + (u * c - v * s) * size, y0 + (u * s + v * c) * size];
    });
  });
}

// Random numbers in [0, 1), the same for the same seed in every browser.
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

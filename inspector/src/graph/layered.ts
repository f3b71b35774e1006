// A layered layout of one module's children: ranks by longest path, order by barycentres. Linear, for wide modules.

export interface Sized {
  w: number;
  h: number;
  /** Where lines arrive at the upper side and leave from the lower one, from the left; the middle where not given. */
  into?: number;
  out?: number;
}

export function intoOf(box: Sized): number {
  return box.into ?? box.w / 2;
}

export function outOf(box: Sized): number {
  return box.out ?? box.w / 2;
}

export interface Placed {
  /** Upper left corners. */
  x: Float64Array;
  y: Float64Array;
  width: number;
  height: number;
  /** Where lines from outside enter at the top, and leave at the bottom. */
  entry: number;
  exit: number;
  /** Points of each segment, x and y in turn. */
  paths: number[][];
}

/** Ends of segments that are no child: the module's own entrance and exit. */
export const ENTRY = -1;
export const EXIT = -2;

const GAP = 18;
const LEVEL = 36;

export function layered(boxes: readonly Sized[], pairs: readonly [number, number][]): Placed {
  const n = boxes.length;
  const out: number[][] = Array.from({ length: n }, () => []);
  const into: number[][] = Array.from({ length: n }, () => []);
  for (const [a, b] of pairs) {
    if (a < 0 || b < 0 || a === b) continue;
    const [p, q] = a < b ? [a, b] : [b, a]; // children come in forward order: what points back is turned
    out[p]!.push(q);
    into[q]!.push(p);
  }
  const rank = new Int32Array(n);
  for (let i = 0; i < n; i++) for (const j of out[i]!) rank[j] = Math.max(rank[j]!, rank[i]! + 1);
  // sources stand just above what reads them first
  for (let i = n - 1; i >= 0; i--) {
    if (!into[i]!.length && out[i]!.length) rank[i] = Math.min(...out[i]!.map((j) => rank[j]!)) - 1;
  }
  const lowest = rank.reduce((a, b) => Math.min(a, b), 0);
  const rows: number[][] = [];
  for (let i = 0; i < n; i++) (rows[(rank[i]! -= lowest)] ??= []).push(i);
  for (let r = 0; r < rows.length; r++) rows[r] ??= [];

  const at = new Float64Array(n);
  rows.forEach((row) => row.forEach((i, k) => (at[i] = k - row.length / 2)));
  for (let sweep = 0; sweep < 4; sweep++) {
    const down = sweep % 2 === 0;
    for (const row of down ? rows : [...rows].reverse()) {
      const key = new Map(
        row.map((i) => {
          const near = down ? into[i]! : out[i]!;
          return [i, near.length ? near.reduce((sum, j) => sum + at[j]!, 0) / near.length : at[i]!];
        }),
      );
      row.sort((a, b) => key.get(a)! - key.get(b)! || a - b);
      row.forEach((i, k) => (at[i] = k - row.length / 2));
    }
  }

  const x = new Float64Array(n);
  const y = new Float64Array(n);
  const widths = rows.map((row) => row.reduce((sum, i) => sum + boxes[i]!.w + GAP, -GAP));
  const width = Math.max(1, ...widths);
  let top = 0;
  rows.forEach((row, r) => {
    let left = (width - widths[r]!) / 2;
    const tall = Math.max(0, ...row.map((i) => boxes[i]!.h));
    for (const i of row) {
      x[i] = left;
      y[i] = top + (tall - boxes[i]!.h) / 2;
      left += boxes[i]!.w + GAP;
    }
    top += tall + LEVEL;
  });
  const height = Math.max(1, top - LEVEL);
  const paths = pairs.map(([a, b]) => {
    const [ax, ay] = a < 0 ? [width / 2, 0] : [x[a]! + outOf(boxes[a]!), y[a]! + boxes[a]!.h];
    const [bx, by] = b < 0 ? [width / 2, height] : [x[b]! + intoOf(boxes[b]!), y[b]!];
    return [ax, ay, bx, by];
  });
  return { x, y, width, height, entry: width / 2, exit: width / 2, paths };
}

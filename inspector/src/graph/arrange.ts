// Where the children of one module go: dagre for modules of a readable size, the layered layout beyond; ribbons are folded.

import { Graph, layout } from "@dagrejs/dagre";
import { ENTRY, EXIT, intoOf, layered, outOf, type Placed, type Sized } from "./layered";

/** Modules with more children than this are laid out in linear time. */
const MANY = 300;
/** Taller than this, and so many times taller than wide, and a module is wrapped into columns. */
const TALL = 1500;
const SLIM = 2.4;
const GUTTER = 46;

export function arrange(boxes: readonly Sized[], pairs: readonly [number, number][]): Placed {
  if (boxes.length === 1 && pairs.every(([a, b]) => a < 0 || b < 0)) return single(boxes[0]!, pairs);
  const placed = boxes.length > MANY ? layered(boxes, pairs) : byDagre(boxes, pairs);
  return placed.height > TALL && placed.height > SLIM * placed.width ? wrap(boxes, pairs, placed) : placed;
}

function single(box: Sized, pairs: readonly [number, number][]): Placed {
  const [entry, exit] = [intoOf(box), outOf(box)];
  const paths = pairs.map(([a]) => (a < 0 ? [entry, 0, entry, 0] : [exit, box.h, exit, box.h]));
  return { x: new Float64Array(1), y: new Float64Array(1), width: box.w, height: box.h, entry, exit, paths };
}

function byDagre(boxes: readonly Sized[], pairs: readonly [number, number][]): Placed {
  const graph = new Graph({ multigraph: false });
  graph.setGraph({
    rankdir: "TB",
    nodesep: 20,
    ranksep: 36,
    edgesep: 12,
    ranker: boxes.length > 60 ? "tight-tree" : "network-simplex",
  });
  graph.setDefaultEdgeLabel(() => ({}));
  boxes.forEach(({ w, h }, i) => graph.setNode(String(i), { width: w, height: h }));
  const uses = (end: number) => pairs.some(([a, b]) => a === end || b === end);
  if (uses(ENTRY)) graph.setNode(String(ENTRY), { width: 1, height: 1 });
  if (uses(EXIT)) graph.setNode(String(EXIT), { width: 1, height: 1 });
  for (const [a, b] of pairs) if (a !== b) graph.setEdge(String(a), String(b), {});
  layout(graph);
  const x = new Float64Array(boxes.length);
  const y = new Float64Array(boxes.length);
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  boxes.forEach(({ w, h }, i) => {
    const at = graph.node(String(i)) as { x: number; y: number };
    x[i] = at.x - w / 2;
    y[i] = at.y - h / 2;
    left = Math.min(left, x[i]!);
    right = Math.max(right, x[i]! + w);
    top = Math.min(top, y[i]!);
    bottom = Math.max(bottom, y[i]! + h);
  });
  const paths = pairs.map(([a, b]) => {
    const edge = a === b ? undefined : (graph.edge(String(a), String(b)) as { points: { x: number; y: number }[] } | undefined);
    if (!edge) return [];
    const points = edge.points.map((p) => [p.x, p.y] as [number, number]);
    // lines leave from the lower side and arrive at the upper one
    if (a >= 0) points[0] = [x[a]! + outOf(boxes[a]!), y[a]! + boxes[a]!.h];
    if (b >= 0) points[points.length - 1] = [x[b]! + intoOf(boxes[b]!), y[b]!];
    for (const [px] of points) {
      left = Math.min(left, px);
      right = Math.max(right, px);
    }
    return points.flat();
  });
  // the entrance is on the upper edge, the exit a little below the lowest box, wherever their ranks are
  bottom += 6;
  const ports: Record<number, number | undefined> = { [ENTRY]: portAt(boxes, pairs, x, y, top, ENTRY), [EXIT]: portAt(boxes, pairs, x, y, bottom, EXIT) };
  pairs.forEach(([a, b], k) => {
    const path = paths[k]!;
    if (!path.length) return;
    const inner: number[] = [];
    for (let j = 0; j < path.length; j += 2) {
      if (path[j + 1]! > top + 3 && path[j + 1]! < bottom - 3) inner.push(path[j]!, path[j + 1]!);
    }
    const at = (end: number): number => ports[end] ?? (graph.node(String(end)) as { x: number }).x;
    if (a === ENTRY) {
      const last = path.slice(-2);
      if (inner.at(-1) === last[1]) inner.splice(-2);
      paths[k] = straight(ports[ENTRY]) ? [at(ENTRY), top, ...last] : [at(ENTRY), top, ...inner, ...last];
    } else if (b === EXIT) {
      const first = path.slice(0, 2);
      if (inner[1] === first[1]) inner.splice(0, 2);
      paths[k] = straight(ports[EXIT]) ? [...first, at(EXIT), bottom] : [...first, ...inner, at(EXIT), bottom];
    }
  });
  for (let i = 0; i < boxes.length; i++) {
    x[i]! -= left;
    y[i]! -= top;
  }
  for (const path of paths) for (let k = 0; k < path.length; k++) path[k]! -= k % 2 ? top : left;
  const port = (end: -1 | -2): number => {
    const at = ports[end] ?? (graph.node(String(end)) as { x: number } | undefined)?.x;
    return at === undefined ? (right - left) / 2 : at - left;
  };
  return { x, y, width: right - left, height: bottom - top, entry: port(ENTRY), exit: port(EXIT), paths };
}

function straight(port: number | undefined): boolean {
  return port !== undefined;
}

/** The place of an entrance or exit right above or below the one box it serves, where nothing is in between. */
function portAt(
  boxes: readonly Sized[], pairs: readonly [number, number][], x: Float64Array, y: Float64Array, edge: number, end: number,
): number | undefined {
  const served = pairs.filter(([a, b]) => (end === ENTRY ? a : b) === end);
  if (served.length !== 1) return undefined;
  const i = end === ENTRY ? served[0]![1] : served[0]![0];
  if (i < 0) return undefined;
  const at = x[i]! + (end === ENTRY ? intoOf(boxes[i]!) : outOf(boxes[i]!));
  const [low, high] = end === ENTRY ? [edge, y[i]!] : [y[i]! + boxes[i]!.h, edge];
  const hidden = boxes.some(
    ({ w, h }, j) => j !== i && x[j]! - 6 < at && x[j]! + w + 6 > at && y[j]! < high && y[j]! + h > low,
  );
  return hidden ? undefined : at;
}

/** Cuts a tall layout at free heights into columns read from left to right. */
function wrap(boxes: readonly Sized[], pairs: readonly [number, number][], placed: Placed): Placed {
  const { x, y, width, height } = placed;
  const n = boxes.length;
  const columns = Math.max(2, Math.round(Math.sqrt((1.5 * height) / (width + GUTTER))));
  // runs of boxes between free heights stay whole; a column takes runs until it is full
  const byTop = Array.from({ length: n }, (_, i) => i).sort((a, b) => y[a]! - y[b]!);
  const runs: [number, number][] = [];
  for (const i of byTop) {
    const last = runs.at(-1);
    if (last && y[i]! <= last[1]) last[1] = Math.max(last[1], y[i]! + boxes[i]!.h);
    else runs.push([y[i]!, y[i]! + boxes[i]!.h]);
  }
  const room = 1.06 * Math.max(height / columns, ...runs.map(([a, b]) => b - a));
  const cuts = [0];
  for (const [from, to] of runs) if (to - cuts.at(-1)! > room && from > cuts.at(-1)!) cuts.push(from);
  if (cuts.length < 2) return placed;
  const columnAt = (py: number): number => {
    let c = 0;
    while (c + 1 < cuts.length && cuts[c + 1]! <= py + 0.5) c++;
    return c;
  };
  const shiftX = (c: number): number => c * (width + GUTTER);
  const tall = Math.max(...cuts.map((cut, c) => (cuts[c + 1] ?? height + LEVEL_BELOW) - LEVEL_BELOW - cut));
  const column = Int32Array.from({ length: n }, (_, i) => columnAt(y[i]!));
  const newX = x.map((v, i) => v + shiftX(column[i]!));
  const newY = y.map((v, i) => v - cuts[column[i]!]! + 14);
  const last = cuts.length - 1;
  const whole = { width: shiftX(last) + width, height: tall + 28, entry: placed.entry, exit: placed.exit + shiftX(last) };
  const paths = pairs.map(([a, b], k) => {
    const from = a < 0 ? 0 : column[a]!;
    const to = b < 0 ? cuts.length - 1 : column[b]!;
    const path = placed.paths[k]!;
    if (!path.length) return path;
    if (from === to) {
      const same = path.map((v, j) => (j % 2 ? v - cuts[from]! + 14 : v + shiftX(from)));
      if (a < 0) same[1] = 0;
      if (b < 0) same[same.length - 1] = whole.height;
      return same;
    }
    // down to the end of its column, up through the gutter before the other, in at the top
    const [sx, sy] = a < 0 ? [placed.entry, 0] : [newX[a]! + outOf(boxes[a]!), newY[a]! + boxes[a]!.h];
    const [tx, ty] =
      b < 0 ? [whole.exit, whole.height] : [newX[b]! + intoOf(boxes[b]!), newY[b]!];
    const gutter = shiftX(to) - GUTTER / 2;
    const below = to === from + 1 ? whole.height - 4 : sy + 12;
    const above = to === from + 1 ? 4 : Math.min(ty - 10, 8);
    if (to === from + 1) return [sx, sy, sx, below, gutter, below, gutter, above, tx, above, tx, ty];
    const side = shiftX(from) + width + GUTTER / 2;
    return [sx, sy, sx, below, side, below, side, 2, gutter, 2, gutter, above, tx, above, tx, ty];
  });
  return { x: newX, y: newY, ...whole, paths };
}

const LEVEL_BELOW = 30;

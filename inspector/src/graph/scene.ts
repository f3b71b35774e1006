// What is drawn: boxes and segments of the opened modules, in flat arrays. Made in the worker, read by the renderer.

import Flatbush from "flatbush";
import { arrange } from "./arrange";
import { type Child, type Hierarchy, isModule, items, moduleOf, type Structure } from "./hierarchy";
import { ENTRY, EXIT, type Placed, type Sized } from "./layered";

export const BOX = { node: 0, module: 1, opened: 2, fold: 3 } as const;

/** Padding of an opened module around its children, and the height of its title. */
export const PAD = 12;
export const TITLE = 24;

export interface Scene {
  turn: number;
  /** Boxes from the outside in: an opened module comes before what is in it. */
  boxes: number;
  x: Float32Array;
  y: Float32Array;
  w: Float32Array;
  h: Float32Array;
  kind: Uint8Array;
  /** The node, or the (first) module. */
  id: Int32Array;
  /** How many modules a fold stands for. */
  count: Int32Array;
  parent: Int32Array;
  /** The box that stands for each node, and for each module (opened or not); -1 where hidden. */
  boxOfNode: Int32Array;
  boxOfModule: Int32Array;

  segments: number;
  /** Points of segment s: `points[pointStart[s] .. pointStart[s + 1])`, x and y in turn. */
  pointStart: Int32Array;
  points: Float32Array;
  segmentFrom: Int32Array;
  segmentTo: Int32Array;
  /** The edges that a segment carries, and the segments that an edge runs along. */
  edgeStart: Int32Array;
  edges: Int32Array;
  pathStart: Int32Array;
  paths: Int32Array;

  /** Events at which nodes below a module or fold are computed, and complete, sorted. */
  forwardStart: Int32Array;
  forwards: Int32Array;
  completedStart: Int32Array;
  completeds: Int32Array;

  width: number;
  height: number;
  boxIndex: ArrayBuffer;
  segmentIndex: ArrayBuffer;
}

/** Layouts by what was laid out: equal blocks are arranged once. */
export type Memo = Map<string, Placed>;

/** How often the builder looks up to see whether its work is still wanted. */
export interface Pace {
  /** Waits a moment when due; throws when the scene is no longer wanted. */
  breathe(): Promise<void>;
}

/** Boxes of nodes and of closed modules, as wide as their labels. */
export function sizeOf(s: Structure, child: Child, count: number): Sized {
  if (!isModule(child)) {
    if (s.nodeScalar[child]) return { w: Math.min(180, Math.max(s.nodeKind[child] === 2 ? 64 : 104, s.nodeLabel[child]! + 18)), h: 42 };
    return { w: Math.min(180, Math.max(46, s.nodeLabel[child]! + 18)), h: 26 };
  }
  const label = s.moduleLabel[moduleOf(child)]!;
  return { w: Math.min(240, Math.max(96, (count > 1 ? 2 * label + 30 : label) + 26)), h: 42 };
}

interface Container {
  module: number;
  parent: number; // container
  slot: number; // which item of the parent this is
  depth: number;
  items: { child: Child; count: number; inner: number }[];
  sizes: Sized[];
  pairs: [number, number][];
  keys: Map<number, number>;
  carried: number[][];
  placed: Placed | null;
}

export async function build(
  s: Structure,
  h: Hierarchy,
  opened: ReadonlySet<number>,
  unfolded: ReadonlySet<number>,
  memo: Memo,
  pace: Pace,
  turn: number,
): Promise<Scene> {
  const containers: Container[] = [];
  const nodes = s.nodeModule.length;
  const modules = s.moduleParent.length;
  // where each node is to be seen: the container and its slot there
  const home = new Int32Array(nodes).fill(-1);
  const slot = new Int32Array(nodes);

  const open = (module: number, parent: number, at: number): number => {
    const me = containers.length;
    const depth = parent < 0 ? 0 : containers[parent]!.depth + 1;
    const own: Container = {
      module, parent, slot: at, depth, items: [], sizes: [], pairs: [], keys: new Map(), carried: [], placed: null,
    };
    containers.push(own);
    for (const { child, count } of items(h, module, unfolded)) {
      const place = own.items.length;
      const shut = !isModule(child) || count > 1 || !opened.has(moduleOf(child));
      own.items.push({ child, count, inner: shut ? -1 : 0 });
      own.sizes.push(sizeOf(s, child, count));
      if (!isModule(child)) {
        home[child] = me;
        slot[child] = place;
      } else if (shut) {
        // the modules of a fold stand next to each other in the order of nodes
        const from = h.start[moduleOf(child)]!;
        const length = (h.end[moduleOf(child)]! - from) * count;
        for (let p = from; p < from + length; p++) {
          home[h.order[p]!] = me;
          slot[h.order[p]!] = place;
        }
      } else {
        own.items[place]!.inner = open(moduleOf(child), me, place);
      }
    }
    return me;
  };
  open(0, -1, 0);
  await pace.breathe();

  // every edge runs from its source out to the module that holds both ends, and in to its target
  const edgeCount = s.edgeFrom.length;
  const pathStart = new Int32Array(edgeCount + 1);
  const pathList: number[] = []; // container and segment in it, in turn
  const step = (c: Container, which: number, a: number, b: number, edge: number): void => {
    const key = (a + 2) * (c.items.length + 2) + b + 2;
    let local = c.keys.get(key);
    if (local === undefined) {
      local = c.pairs.length;
      c.keys.set(key, local);
      c.pairs.push([a, b]);
      c.carried.push([]);
    }
    c.carried[local]!.push(edge);
    pathList.push(which, local);
  };
  for (let e = 0; e < edgeCount; e++) {
    pathStart[e] = pathList.length / 2;
    const [u, v] = [s.edgeFrom[e]!, s.edgeTo[e]!];
    let [cu, cv] = [home[u]!, home[v]!];
    if (cu < 0 || cv < 0) continue;
    let [su, sv] = [slot[u]!, slot[v]!];
    const inward: [number, number][] = [];
    while (cu !== cv) {
      const [a, b] = [containers[cu]!, containers[cv]!];
      if (a.depth >= b.depth) {
        step(a, cu, su, EXIT, e);
        su = a.slot;
        cu = a.parent;
      } else {
        inward.push([cv, sv]);
        sv = b.slot;
        cv = b.parent;
      }
    }
    if (su !== sv) step(containers[cu]!, cu, su, sv, e);
    for (const [c, at] of inward.reverse()) step(containers[c]!, c, ENTRY, at, e);
  }
  pathStart[edgeCount] = pathList.length / 2;
  await pace.breathe();

  // from the inside out: an opened module is as large as its contents
  for (let c = containers.length - 1; c >= 0; c--) {
    const own = containers[c]!;
    own.items.forEach((item, i) => {
      if (item.inner < 0) return;
      const inner = containers[item.inner]!.placed!;
      const title = s.moduleLabel[moduleOf(item.child)]! + 40;
      const w = Math.max(inner.width + 2 * PAD, title);
      const aside = (w - inner.width) / 2;
      own.sizes[i] = { w, h: inner.height + TITLE + 2 * PAD, into: aside + inner.entry, out: aside + inner.exit };
    });
    const key = JSON.stringify([own.sizes.map((b) => [b.w, b.h, b.into, b.out].map((x) => Math.round(x ?? -1))), own.pairs]);
    let placed = memo.get(key);
    if (!placed) {
      placed = arrange(own.sizes, own.pairs);
      memo.set(key, placed);
      await pace.breathe();
    }
    own.placed = placed;
  }
  return flatten(s, h, containers, pathStart, pathList, turn, nodes, modules);
}

function flatten(
  s: Structure,
  h: Hierarchy,
  containers: Container[],
  pathStart: Int32Array,
  pathList: number[],
  turn: number,
  nodes: number,
  modules: number,
): Scene {
  const boxes = containers.reduce((sum, c) => sum + c.items.length, 0);
  const segments = containers.reduce((sum, c) => sum + c.pairs.length, 0);
  const points = containers.reduce((sum, c) => sum + c.placed!.paths.reduce((t, p) => t + p.length, 0), 0);
  const scene: Scene = {
    turn, boxes, segments,
    x: new Float32Array(boxes), y: new Float32Array(boxes), w: new Float32Array(boxes), h: new Float32Array(boxes),
    kind: new Uint8Array(boxes), id: new Int32Array(boxes), count: new Int32Array(boxes),
    parent: new Int32Array(boxes),
    boxOfNode: new Int32Array(nodes).fill(-1), boxOfModule: new Int32Array(modules).fill(-1),
    pointStart: new Int32Array(segments + 1), points: new Float32Array(points),
    segmentFrom: new Int32Array(segments), segmentTo: new Int32Array(segments),
    edgeStart: new Int32Array(segments + 1),
    edges: new Int32Array(containers.reduce((sum, c) => sum + c.carried.reduce((t, e) => t + e.length, 0), 0)),
    pathStart, paths: new Int32Array(pathList.length / 2),
    forwardStart: new Int32Array(boxes + 1), forwards: new Int32Array(0),
    completedStart: new Int32Array(boxes + 1), completeds: new Int32Array(0),
    width: containers[0]!.placed!.width, height: containers[0]!.placed!.height,
    boxIndex: new ArrayBuffer(0), segmentIndex: new ArrayBuffer(0),
  };
  const forwards: number[] = [];
  const completeds: number[] = [];
  const firstSegment = new Int32Array(containers.length);
  let box = 0;
  let segment = 0;
  let point = 0;
  let edge = 0;
  const place = (c: number, left: number, top: number, around: number): void => {
    const own = containers[c]!;
    const first = box;
    box += own.items.length;
    own.items.forEach((item, i) => {
      const b = first + i;
      scene.x[b] = left + own.placed!.x[i]!;
      scene.y[b] = top + own.placed!.y[i]!;
      scene.w[b] = own.sizes[i]!.w;
      scene.h[b] = own.sizes[i]!.h;
      scene.parent[b] = around;
      scene.count[b] = item.count;
      if (!isModule(item.child)) {
        scene.kind[b] = BOX.node;
        scene.id[b] = item.child;
        scene.boxOfNode[item.child] = b;
      } else {
        const m = moduleOf(item.child);
        scene.kind[b] = item.inner >= 0 ? BOX.opened : item.count > 1 ? BOX.fold : BOX.module;
        scene.id[b] = m;
        scene.boxOfModule[m] = b;
        const from = h.start[m]!;
        const to = from + (h.end[m]! - from) * item.count;
        if (item.inner < 0) for (let p = from; p < to; p++) scene.boxOfNode[h.order[p]!] = b;
      }
    });
    firstSegment[c] = segment;
    own.pairs.forEach(([a, b], k) => {
      scene.pointStart[segment] = point;
      const path = own.placed!.paths[k]!;
      for (let j = 0; j < path.length; j += 2) {
        scene.points[point++] = path[j]! + left;
        scene.points[point++] = path[j + 1]! + top;
      }
      // a module's entrance continues above its title, its exit below its padding
      if (around >= 0 && path.length) {
        if (a === ENTRY) scene.points[scene.pointStart[segment]! + 1]! -= TITLE + PAD;
        if (b === EXIT) scene.points[point - 1]! += PAD;
      }
      scene.segmentFrom[segment] = a < 0 ? around : first + a;
      scene.segmentTo[segment] = b < 0 ? around : first + b;
      scene.edgeStart[segment] = edge;
      for (const e of own.carried[k]!) scene.edges[edge++] = e;
      segment++;
    });
    own.items.forEach((item, i) => {
      if (item.inner < 0) return;
      const inner = containers[item.inner]!.placed!;
      const b = first + i;
      place(item.inner, scene.x[b]! + (scene.w[b]! - inner.width) / 2, scene.y[b]! + TITLE + PAD, b);
    });
  };
  place(0, 0, 0, -1);
  scene.pointStart[segments] = point;
  scene.edgeStart[segments] = edge;
  for (let i = 0; i < scene.paths.length; i++) scene.paths[i] = firstSegment[pathList[2 * i]!]! + pathList[2 * i + 1]!;

  for (let b = 0; b < boxes; b++) {
    scene.forwardStart[b] = forwards.length;
    scene.completedStart[b] = completeds.length;
    if (scene.kind[b] === BOX.node) continue;
    const m = scene.id[b]!;
    const from = h.start[m]!;
    const to = from + (h.end[m]! - from) * scene.count[b]!;
    const [some, done]: [number[], number[]] = [[], []];
    for (let p = from; p < to; p++) {
      const node = h.order[p]!;
      if (s.forwardEvent[node]! >= 0) some.push(s.forwardEvent[node]!);
      if (s.completedEvent[node]! >= 0) done.push(s.completedEvent[node]!);
    }
    for (const event of some.sort((a, b) => a - b)) forwards.push(event);
    for (const event of done.sort((a, b) => a - b)) completeds.push(event);
  }
  scene.forwardStart[boxes] = forwards.length;
  scene.completedStart[boxes] = completeds.length;
  scene.forwards = Int32Array.from(forwards);
  scene.completeds = Int32Array.from(completeds);

  const boxIndex = new Flatbush(Math.max(1, boxes), 16, Float32Array);
  for (let b = 0; b < boxes; b++) {
    boxIndex.add(scene.x[b]!, scene.y[b]!, scene.x[b]! + scene.w[b]!, scene.y[b]! + scene.h[b]!);
  }
  if (!boxes) boxIndex.add(0, 0, 0, 0);
  boxIndex.finish();
  const segmentIndex = new Flatbush(Math.max(1, segments), 16, Float32Array);
  for (let k = 0; k < segments; k++) {
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let p = scene.pointStart[k]!; p < scene.pointStart[k + 1]!; p += 2) {
      x0 = Math.min(x0, scene.points[p]!);
      x1 = Math.max(x1, scene.points[p]!);
      y0 = Math.min(y0, scene.points[p + 1]!);
      y1 = Math.max(y1, scene.points[p + 1]!);
    }
    segmentIndex.add(x0, y0, x1, y1);
  }
  if (!segments) segmentIndex.add(0, 0, 0, 0);
  segmentIndex.finish();
  scene.boxIndex = boxIndex.data as ArrayBuffer;
  scene.segmentIndex = segmentIndex.data as ArrayBuffer;
  return scene;
}

/** The arrays of a scene that go from the worker to the page without a copy. */
export function transferable(scene: Scene): ArrayBuffer[] {
  const found: ArrayBuffer[] = [];
  for (const value of Object.values(scene)) {
    if (value instanceof ArrayBuffer) found.push(value);
    else if (ArrayBuffer.isView(value)) found.push(value.buffer as ArrayBuffer);
  }
  return found;
}

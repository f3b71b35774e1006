// The tree of modules with the nodes in it, in the order of the forward pass; equal blocks found by their structure.

/** What the layout needs to know of a recording: plain arrays, so that they can be sent to the worker. */
export interface Structure {
  nodeKind: Uint8Array;
  nodeModule: Int32Array;
  /** A number that is equal for nodes of the same op, parameters, shape and type. */
  nodeForm: Int32Array;
  /** Widths of the labels in pixels. */
  nodeLabel: Uint16Array;
  /** 1 where the box shows its number. */
  nodeScalar: Uint8Array;
  moduleLabel: Uint16Array;
  moduleParent: Int32Array;
  moduleClass: Int32Array;
  edgeFrom: Int32Array;
  edgeTo: Int32Array;
  edgeArgnum: Int32Array;
  forwardEvent: Int32Array;
  completedEvent: Int32Array;
  /** Nodes of the step on show: from, to. */
  nodes: [number, number];
}

/** A child of a module: node i as i, module m as -1 - m. */
export type Child = number;

export interface Hierarchy {
  /** Nodes in depth-first order; those of module m are `order[start[m] .. end[m])`. */
  order: Int32Array;
  place: Int32Array;
  start: Int32Array;
  end: Int32Array;
  depth: Int32Array;
  children: Child[][];
  /** Equal for modules of equal structure. */
  form: string[];
}

export function isModule(child: Child): boolean {
  return child < 0;
}

export function moduleOf(child: Child): number {
  return -1 - child;
}

export function hierarchy(s: Structure): Hierarchy {
  const modules = s.moduleParent.length;
  const nodes = s.nodeModule.length;
  const [from, to] = s.nodes;
  // a module comes where its first operation does: parameters may be listed elsewhere
  const first = new Float64Array(modules).fill(Infinity);
  const firstAny = new Float64Array(modules).fill(Infinity);
  for (let i = from; i < to; i++) {
    const m = s.nodeModule[i]!;
    if (i < firstAny[m]!) firstAny[m] = i;
    if (s.nodeKind[i] === 3 && i < first[m]!) first[m] = i;
  }
  const depth = new Int32Array(modules);
  const inner: number[][] = Array.from({ length: modules }, () => []);
  for (let m = 0; m < modules; m++) {
    const parent = s.moduleParent[m]!;
    if (parent >= 0 && parent !== m) {
      depth[m] = depth[parent]! + 1;
      inner[parent]!.push(m);
    }
  }
  for (let m = modules - 1; m > 0; m--) {
    const parent = s.moduleParent[m]!;
    if (parent < 0) continue;
    first[parent] = Math.min(first[parent]!, first[m]!);
    firstAny[parent] = Math.min(firstAny[parent]!, firstAny[m]!);
  }
  for (let m = 0; m < modules; m++) if (first[m] === Infinity) first[m] = firstAny[m]!;

  const children: Child[][] = Array.from({ length: modules }, () => []);
  for (let i = from; i < to; i++) children[s.nodeModule[i]!]!.push(i);
  for (let m = 0; m < modules; m++) {
    const kids = inner[m]!.filter((k) => first[k] !== Infinity);
    if (!kids.length) continue;
    const list = children[m]!;
    for (const k of kids) list.push(-1 - k);
    const rank = (c: Child) => (c < 0 ? first[-1 - c]! - 0.5 : c);
    list.sort((a, b) => rank(a) - rank(b));
  }

  const order = new Int32Array(to - from);
  const place = new Int32Array(nodes).fill(-1);
  const start = new Int32Array(modules);
  const end = new Int32Array(modules);
  let next = 0;
  const visit = (m: number): void => {
    start[m] = next;
    for (const child of children[m]!) {
      if (child < 0) visit(-1 - child);
      else {
        place[child] = next;
        order[next++] = child;
      }
    }
    end[m] = next;
  };
  if (modules) visit(0);

  return { order, place, start, end, depth, children, form: forms(s, { order, place, start, end }) };
}

function forms(s: Structure, h: Pick<Hierarchy, "order" | "place" | "start" | "end">): string[] {
  const nodes = s.nodeModule.length;
  const count = s.edgeTo.length;
  const begin = new Int32Array(nodes + 1);
  for (let e = 0; e < count; e++) begin[s.edgeTo[e]! + 1]!++;
  for (let i = 0; i < nodes; i++) begin[i + 1]! += begin[i]!;
  const next = begin.slice(0, nodes);
  const args = new Int32Array(count);
  for (let e = 0; e < count; e++) args[next[s.edgeTo[e]!]!++] = e;
  return Array.from(s.moduleParent, (_, m) => {
    let a = 0x811c9dc5 ^ s.moduleClass[m]!;
    let b = 0x9e3779b9;
    const mix = (x: number): void => {
      a = Math.imul(a ^ x, 0x01000193);
      b = Math.imul(b ^ (x + (b >>> 13)), 0x85ebca6b);
    };
    for (let p = h.start[m]!; p < h.end[m]!; p++) {
      const node = h.order[p]!;
      mix(s.nodeForm[node]! * 4 + s.nodeKind[node]!);
      for (let i = begin[node]!; i < begin[node + 1]!; i++) {
        const q = h.place[s.edgeFrom[args[i]!]!]!;
        mix(s.edgeArgnum[args[i]!]!);
        mix(q >= h.start[m]! && q < h.end[m]! ? p - q + 7 : 3);
      }
    }
    return `${h.end[m]! - h.start[m]!}:${(a >>> 0).toString(36)}:${(b >>> 0).toString(36)}`;
  });
}

/** At least so many equal blocks in a row are folded into one. */
export const FOLD = 3;

/** One thing drawn in an opened module: a node, a module, or `count` equal modules in a row from `child` on. */
export interface Item {
  child: Child;
  count: number;
}

/** What is drawn in module m: its children, equal neighbours folded unless unfolded or one of them is open. */
export function items(h: Hierarchy, m: number, unfolded: ReadonlySet<number>): Item[] {
  const list = h.children[m]!;
  const shown: Item[] = [];
  for (let i = 0; i < list.length; ) {
    const child = list[i]!;
    let run = 1;
    if (child < 0) {
      const form = h.form[-1 - child]!;
      while (i + run < list.length && list[i + run]! < 0 && h.form[-1 - list[i + run]!] === form) run++;
    }
    if (run >= FOLD && !unfolded.has(-1 - child)) {
      shown.push({ child, count: run });
    } else {
      for (let k = 0; k < run; k++) shown.push({ child: list[i + k]!, count: 1 });
    }
    i += run;
  }
  return shown;
}

/** Which modules are open when the page opens: the deepest level that draws at most `limit` boxes. */
export function openedAtFirst(s: Structure, h: Hierarchy, limit = 60): number[] {
  const deepest = h.depth.reduce((a, b) => Math.max(a, b), 0);
  let opened: number[] = [0];
  for (let level = 1; level <= deepest; level++) {
    const trial: number[] = [];
    let boxes = 0;
    const visit = (m: number): void => {
      trial.push(m);
      for (const { child, count } of items(h, m, new Set())) {
        boxes++;
        if (child < 0 && count === 1 && h.depth[-1 - child]! <= level) visit(-1 - child);
      }
    };
    if (s.moduleParent.length) visit(0);
    if (boxes > limit) break;
    opened = trial;
  }
  return opened;
}

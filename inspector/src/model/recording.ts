// Typed, constant-time access to the tables of a recording.

import type { Container, Numbers, Table } from "./decode";

const STEP = 3; // kind of a module

export const NODE_KINDS = ["parameter", "input", "constant", "op"] as const;
export type NodeKind = (typeof NODE_KINDS)[number];

export const EVENT_KINDS = [
  "forward", "save", "seed", "vjp", "contribution", "completed", "free", "recompute", "update",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];
export const enum Event { forward, save, seed, vjp, contribution, completed, free, recompute, update }

export const STATS = ["value", "delta", "contribution"] as const;
export type Which = (typeof STATS)[number];

/** Rows of one table grouped by an index column: those of key k are `rows[start[k] .. start[k + 1])`. */
export interface Grouped {
  start: Int32Array;
  rows: Int32Array;
}

/** Groups rows by `key`; rows of one group stay in order. Rows with key -1 are left out. */
export function groupBy(key: Numbers, rows: number, keys: number): Grouped {
  const start = new Int32Array(keys + 1);
  for (let i = 0; i < rows; i++) if (key[i]! >= 0) start[key[i]! + 1]!++;
  for (let k = 0; k < keys; k++) start[k + 1]! += start[k]!;
  const next = start.slice(0, keys);
  const grouped = new Int32Array(start[keys]!);
  for (let i = 0; i < rows; i++) if (key[i]! >= 0) grouped[next[key[i]!]!++] = i;
  return { start, rows: grouped };
}

/** The contents of an array that can be drawn: exact, or a pooled thumbnail (`full` false, value = byte * scale). */
export interface Contents {
  row: number;
  rows: number;
  cols: number;
  slices: number;
  full: boolean;
  scale: number;
  dtype: string;
  data: Numbers;
  /** Element i of the data as a number, scaled. */
  at(i: number): number;
}

const ARRAY_KINDS: Record<string, (b: ArrayBufferLike, at: number, bytes: number) => Numbers> = {
  f4: (b, at, n) => new Float32Array(b, at, n / 4),
  f8: (b, at, n) => new Float64Array(b, at, n / 8),
  i4: (b, at, n) => new Int32Array(b, at, n / 4),
  u4: (b, at, n) => new Uint32Array(b, at, n / 4),
  i1: (b, at, n) => new Int8Array(b, at, n),
  u1: (b, at, n) => new Uint8Array(b, at, n),
};

export class Recording {
  readonly node: Table;
  readonly edge: Table;
  readonly event: Table;
  readonly module: Table;
  readonly stat: Table;

  readonly nodes: number;
  readonly edges: number;
  readonly events: number;
  readonly modules: number;

  // columns read at every drawing
  readonly nodeKind: Numbers;
  readonly nodeModule: Numbers;
  readonly forwardEvent: Numbers;
  readonly vjpEvent: Numbers;
  readonly completedEvent: Numbers;
  readonly edgeFrom: Numbers;
  readonly edgeTo: Numbers;
  readonly edgeEvent: Numbers;
  readonly edgeOrder: Numbers;
  readonly eventKind: Numbers;
  readonly eventNode: Numbers;
  readonly eventEdge: Numbers;

  /** Edges whose source is the node: where its value is used, in the order of the table. */
  readonly usesOf: Grouped;
  /** Edges whose target is the node: its arguments. */
  readonly argumentsOf: Grouped;
  readonly eventsOfNode: Grouped;
  readonly statsOfNode: Grouped;
  readonly savedOfNode: Grouped;
  readonly nodesOfModule: Grouped;
  readonly childModules: Grouped;
  /** The module around each module, steps left out. */
  readonly parents: Int32Array;
  private readonly byName = new Map<string, number>();

  constructor(readonly container: Container) {
    const { node, edge, event, module, stat } = {
      node: container.table("node"),
      edge: container.table("edge"),
      event: container.table("event"),
      module: container.table("module"),
      stat: container.table("stat"),
    };
    this.node = node;
    this.edge = edge;
    this.event = event;
    this.module = module;
    this.stat = stat;
    this.nodes = node.rows;
    this.edges = edge.rows;
    this.events = event.rows;
    this.modules = module.rows;
    this.nodeKind = node.numbers("kind");
    const parents = module.numbers("parent");
    const kinds = module.numbers("kind", 1);
    // a module that stands for a step is no part of the model: what is in it belongs to what is around it
    const kept = Int32Array.from({ length: module.rows }, (_, m) => {
      let at = m;
      while (kinds[at] === STEP && parents[at]! >= 0) at = parents[at]!;
      return at;
    });
    this.parents = Int32Array.from({ length: module.rows }, (_, m) => (parents[m]! >= 0 ? kept[parents[m]!]! : -1));
    this.nodeModule = Int32Array.from(node.numbers("module", 0), (m) => kept[m] ?? 0);
    this.forwardEvent = node.numbers("forward_event");
    this.vjpEvent = node.numbers("vjp_event");
    this.completedEvent = node.numbers("completed_event");
    this.edgeFrom = edge.numbers("from");
    this.edgeTo = edge.numbers("to");
    this.edgeEvent = edge.numbers("event");
    this.edgeOrder = edge.numbers("order");
    this.eventKind = event.numbers("kind");
    this.eventNode = event.numbers("node");
    this.eventEdge = event.numbers("edge");
    this.usesOf = groupBy(this.edgeFrom, edge.rows, node.rows);
    this.argumentsOf = groupBy(this.edgeTo, edge.rows, node.rows);
    this.eventsOfNode = groupBy(this.eventNode, event.rows, node.rows);
    this.statsOfNode = groupBy(stat.numbers("node"), stat.rows, node.rows);
    const saved = container.table("saved");
    this.savedOfNode = groupBy(saved.numbers("node"), saved.rows, node.rows);
    this.nodesOfModule = groupBy(this.nodeModule, node.rows, module.rows);
    const inner = this.parents.map((parent, m) => (kept[m] === m ? parent : -1));
    this.childModules = groupBy(inner, module.rows, module.rows);
    for (let i = 0; i < node.rows; i++) {
      const name = node.text(i, "name");
      if (!this.byName.has(name)) this.byName.set(name, i);
    }
  }

  table(name: string): Table {
    return this.container.table(name);
  }

  has(name: string): boolean {
    return this.container.has(name) && this.container.table(name).rows > 0;
  }

  /** A value of `info`, or undefined. */
  info<T>(key: string): T | undefined {
    return this.container.info[key] as T | undefined;
  }

  find(name: string): number {
    return this.byName.get(name) ?? -1;
  }

  name(node: number): string {
    return this.node.text(node, "name");
  }

  label(node: number): string {
    return this.node.text(node, "label") || this.name(node);
  }

  kind(node: number): NodeKind {
    return NODE_KINDS[this.nodeKind[node]!] ?? "op";
  }

  opName(node: number): string {
    const op = this.node.number(node, "op");
    return op >= 0 ? this.table("op").text(op, "name") : "";
  }

  dims(node: number): number[] {
    const start = this.node.number(node, "dims_start");
    const count = this.node.number(node, "ndim") || 0;
    const n = this.table("dims").numbers("n");
    return Array.from({ length: count }, (_, i) => n[start + i]!);
  }

  /** "64 × 256"; "scalar" for no dimensions. */
  shape(node: number): string {
    const dims = this.dims(node);
    return dims.length ? dims.join(" × ") : "scalar";
  }

  dtype(node: number): string {
    return this.node.text(node, "dtype");
  }

  uses(node: number): Int32Array {
    return slice(this.usesOf, node);
  }

  arguments(node: number): Int32Array {
    return slice(this.argumentsOf, node);
  }

  /** The edges that contribute to the node's delta, in the order in which they are summed. */
  contributions(node: number): number[] {
    const edges = [...this.uses(node)].filter((e) => this.edgeEvent[e]! >= 0);
    return edges.sort((a, b) => this.edgeOrder[a]! - this.edgeOrder[b]! || this.edgeEvent[a]! - this.edgeEvent[b]!);
  }

  eventsOf(node: number): Int32Array {
    return slice(this.eventsOfNode, node);
  }

  /** The row of `stat` for a node's value or delta, or an edge's contribution; -1 where not recorded. */
  statRow(node: number, which: Which, edge = -1): number {
    const kind = STATS.indexOf(which);
    const kinds = this.stat.numbers("which");
    const edges = this.stat.numbers("edge");
    for (const row of slice(this.statsOfNode, node)) {
      if (kinds[row] === kind && (edge < 0 || edges[row] === edge)) return row;
    }
    return -1;
  }

  /** Is the node a single number whose value the recording holds exactly? */
  isScalar(node: number): boolean {
    if (this.node.number(node, "size") !== 1) return false;
    const row = this.arrayRow(node, "value");
    return row >= 0 && this.table("array").number(row, "full") === 1;
  }

  /** The row of `array` with the contents of a node's value or delta; -1 where not kept. */
  arrayRow(node: number, which: Which): number {
    const row = this.statRow(node, which);
    return row < 0 || !this.stat.has("array") ? -1 : this.stat.number(row, "array");
  }

  contents(row: number): Contents | null {
    const array = this.table("array");
    if (row < 0 || row >= array.rows) return null;
    const raw = this.table("raw").numbers("byte");
    const at = array.number(row, "at");
    const bytes = array.number(row, "nbytes");
    const dtype = array.text(row, "dtype");
    const make = ARRAY_KINDS[dtype];
    if (!make) return null;
    const place = raw.byteOffset + at;
    const width = dtype.endsWith("8") ? 8 : dtype.endsWith("4") ? 4 : 1;
    const data = place % width === 0 ? make(raw.buffer, place, bytes) : make(raw.slice(at, at + bytes).buffer, 0, bytes);
    const full = array.number(row, "full") === 1;
    const scale = full ? 1 : array.number(row, "scale");
    return {
      row,
      rows: array.number(row, "rows"),
      cols: array.number(row, "cols"),
      slices: Math.max(1, array.number(row, "slices") || 1),
      full,
      scale,
      dtype,
      data,
      at: (i) => (!full && data[i] === -128 ? NaN : data[i]! * scale), // -128: a NaN or infinity is in the block
    };
  }

  modulePath(module: number): string {
    return this.module.text(module, "path");
  }

  moduleParent(module: number): number {
    return this.parents[module] ?? -1;
  }

  nodesIn(module: number): Int32Array {
    return slice(this.nodesOfModule, module);
  }

  modulesIn(module: number): Int32Array {
    return slice(this.childModules, module);
  }

  /** "model.py:12", or "" where the source is not known. */
  sourceOf(node: number): { file: string; line: number; row: number } | null {
    const row = this.node.has("source") ? this.node.number(node, "source") : -1;
    if (!(row >= 0)) return null;
    const source = this.table("source");
    return { file: source.text(row, "file"), line: source.number(row, "line"), row };
  }
}

export function slice(groups: Grouped, key: number): Int32Array {
  return groups.rows.subarray(groups.start[key]!, groups.start[key + 1]!);
}

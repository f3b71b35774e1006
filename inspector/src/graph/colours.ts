// Colour by a column: the number of each box, the scale, and the legend's marks.

import { recording } from "../model/view";
import { BOX, type Scene } from "./scene";
import type { Hierarchy } from "./hierarchy";
import type { Unit } from "../number";

export interface ColumnChoice {
  key: string;
  name: string;
  unit: Unit;
  /** How the number of a module comes from those of its nodes. */
  gather: "max" | "sum";
  of(node: number): number;
}

function stat(which: "value" | "delta", column: string): (node: number) => number {
  return (node) => {
    const row = recording.statRow(node, which);
    return row < 0 ? NaN : recording.stat.number(row, column);
  };
}

function column(name: string): (node: number) => number {
  return (node) => {
    const x = recording.node.number(node, name);
    return x < 0 ? NaN : x;
  };
}

/** Which columns this recording can be coloured by. */
export function choices(): ColumnChoice[] {
  const stats = recording.stat;
  const found: ColumnChoice[] = [];
  if (stats.rows) {
    found.push({ key: "value_rms", name: "value, rms", unit: "number", gather: "max", of: stat("value", "rms") });
    found.push({ key: "delta_rms", name: "δ, rms", unit: "number", gather: "max", of: stat("delta", "rms") });
    found.push({ key: "delta_absmax", name: "δ, largest", unit: "number", gather: "max", of: stat("delta", "absmax") });
    found.push({ key: "zeros", name: "zeros in the value", unit: "number", gather: "sum", of: stat("value", "zeros") });
  }
  if (recording.edge.has("share") && recording.edge.numbers("share").some((x) => x > 0)) {
    const shares = recording.edge.numbers("share");
    const of = (node: number): number => {
      const edges = recording.contributions(node);
      return edges.length ? edges.reduce((sum, e) => sum + Math.abs(shares[e]!), 0) : NaN;
    };
    found.push({ key: "share", name: "share of the gradient, |sum|", unit: "number", gather: "max", of });
  }
  found.push({ key: "bytes", name: "bytes", unit: "bytes", gather: "sum", of: column("bytes") });
  if (recording.node.has("forward_ns")) {
    found.push({ key: "forward_ns", name: "time forward", unit: "time", gather: "sum", of: column("forward_ns") });
    found.push({ key: "backward_ns", name: "time backward", unit: "time", gather: "sum", of: column("backward_ns") });
  }
  const saved = recording.table("saved");
  if (saved.rows) {
    const bytes = saved.numbers("bytes");
    const of = (node: number): number => {
      const { start, rows } = recording.savedOfNode;
      return start[node] === start[node + 1] ? NaN : bytes[rows[start[node]!]!]!;
    };
    found.push({ key: "saved", name: "saved bytes", unit: "bytes", gather: "sum", of });
  }
  const again = recording.table("recompute");
  if (again.rows) {
    const counts = new Map<number, number>();
    const [nodes, count] = [again.numbers("node"), again.numbers("count")];
    for (let row = 0; row < again.rows; row++) counts.set(nodes[row]!, (counts.get(nodes[row]!) ?? 0) + count[row]!);
    found.push({ key: "recomputed", name: "values computed again", unit: "number", gather: "sum", of: (n) => counts.get(n) ?? NaN });
  }
  return found;
}

export interface Colouring {
  choice: ColumnChoice;
  low: number;
  high: number;
  log: boolean;
  /** The colour of each box, 0 to 1; NaN where it has no number. */
  place: Float32Array;
}

export function colour(scene: Scene, h: Hierarchy, choice: ColumnChoice, wantLog: boolean): Colouring {
  const numbers = new Float64Array(scene.boxes).fill(NaN);
  const own = new Float64Array(recording.nodes).fill(NaN);
  for (let p = 0; p < h.order.length; p++) own[h.order[p]!] = choice.of(h.order[p]!);
  let [low, high, least] = [Infinity, -Infinity, Infinity];
  for (let b = 0; b < scene.boxes; b++) {
    if (scene.kind[b] === BOX.opened) continue;
    let sum = NaN;
    if (scene.kind[b] === BOX.node) sum = own[scene.id[b]!]!;
    else {
      const m = scene.id[b]!;
      const from = h.start[m]!;
      const to = from + (h.end[m]! - from) * scene.count[b]!;
      for (let p = from; p < to; p++) {
        const x = own[h.order[p]!]!;
        if (Number.isNaN(x)) continue;
        sum = Number.isNaN(sum) ? x : choice.gather === "sum" ? sum + x : Math.max(sum, x);
      }
    }
    numbers[b] = sum;
    if (!Number.isFinite(sum)) continue;
    low = Math.min(low, sum);
    high = Math.max(high, sum);
    if (sum > 0) least = Math.min(least, sum);
  }
  const log = wantLog && high > 0 && least < Infinity;
  if (log) low = least;
  if (low > high) [low, high] = [0, 1];
  const place = new Float32Array(scene.boxes);
  for (let b = 0; b < scene.boxes; b++) {
    const x = numbers[b]!;
    const t = log ? Math.log(Math.max(x, low) / low) / Math.log(high / low || 1) : (x - low) / (high - low || 1);
    place[b] = Number.isNaN(x) ? NaN : high > low ? Math.max(0, Math.min(1, t)) : 0.5;
  }
  return { choice, low, high, log, place };
}

const STEPS = 64;
let ramp: string[] = [];

function polynomial(t: number, ...coefficients: number[]): number {
  return Math.max(0, Math.min(255, Math.round(coefficients.reduceRight((sum, c) => sum * t + c, 0))));
}

/** The colour of a place on the scale: cividis (by polynomials), which colour-blind readers tell apart as others do. */
export function shade(t: number): string {
  if (!ramp.length) {
    ramp = Array.from({ length: STEPS + 1 }, (_, i) => {
      const at = i / STEPS;
      const r = polynomial(at, -4.54, -35.34, 2381.73, -6402.7, 7024.72, -2710.57);
      const g = polynomial(at, 32.49, 170.73, 52.82, -131.46, 176.58, -67.37);
      const b = polynomial(at, 81.24, 442.36, -2482.43, 6167.24, -6614.94, 2475.67);
      return `rgb(${r} ${g} ${b})`;
    });
  }
  return ramp[Math.round(t * STEPS)]!;
}

// The lines between boxes: which have carried values forward, which a contribution back, and how much.

import { recording } from "../model/view";
import type { Palette } from "./palette";
import type { Look } from "./renderer";
import type { Scene } from "./scene";

const NEVER = 0x7fffffff;
/** Widths of lines; what is in between is drawn as the nearest. */
const WIDTHS = [1, 1.8, 2.8, 4, 5.5];

export class EdgeStates {
  // events of each segment: when all its values are there, when the first and the last contribution arrive
  private readonly forward: Int32Array;
  private readonly first: Int32Array;
  private readonly last: Int32Array;
  private readonly widths: Record<"norm" | "share", Uint8Array>;

  constructor(private readonly scene: Scene) {
    const n = scene.segments;
    this.forward = new Int32Array(n).fill(-1);
    this.first = new Int32Array(n).fill(NEVER);
    this.last = new Int32Array(n).fill(-1);
    const [norm, share] = [new Float64Array(n), new Float64Array(n)];
    const { edge, edgeFrom, edgeEvent, forwardEvent } = recording;
    const norms = edge.numbers("norm");
    const shares = edge.numbers("share", 0);
    for (let s = 0; s < n; s++) {
      for (let i = scene.edgeStart[s]!; i < scene.edgeStart[s + 1]!; i++) {
        const e = scene.edges[i]!;
        this.forward[s] = Math.max(this.forward[s]!, forwardEvent[edgeFrom[e]!]!);
        const event = edgeEvent[e]!;
        if (event < 0) continue;
        this.first[s] = Math.min(this.first[s]!, event);
        this.last[s] = Math.max(this.last[s]!, event);
        norm[s] = Math.max(norm[s]!, norms[e]!);
        share[s] = Math.max(share[s]!, Math.abs(shares[e]!));
      }
    }
    this.widths = { norm: steps(norm, true), share: steps(share, false) };
  }

  draw(c: CanvasRenderingContext2D, p: Palette, lines: readonly number[], look: Look, k: number, curved: boolean): void {
    const { time, widthBy } = look;
    const widths = widthBy === "none" ? null : this.widths[widthBy];
    // states from the ground up: nothing yet, value there, some contributions, all of them
    const buckets: number[][] = Array.from({ length: 3 + WIDTHS.length }, () => []);
    for (const s of lines) {
      const state =
        this.first[s]! < time ? (this.last[s]! < time ? 3 + (widths ? widths[s]! : 1) : 2) : this.forward[s]! < time ? 1 : 0;
      buckets[state]!.push(s);
    }
    const thin = 1 / Math.max(k, 0.6);
    const paint = (list: number[], colour: string, width: number, alpha: number): void => {
      if (!list.length) return;
      c.strokeStyle = colour;
      c.globalAlpha = alpha;
      c.lineWidth = Math.max(width, 0.6 * thin);
      c.beginPath();
      for (const s of list) this.trace(c, s, k, curved);
      c.stroke();
    };
    c.lineJoin = "round";
    paint(buckets[0]!, p.edge, 1.1, 1);
    paint(buckets[1]!, p.forward, 1.3, 0.6);
    c.setLineDash([5, 3]);
    paint(buckets[2]!, p.backward, 1.6, 0.8);
    c.setLineDash([]);
    WIDTHS.forEach((width, i) => paint(buckets[3 + i]!, p.backward, width, 0.8));
    c.globalAlpha = 1;
    if (k < 0.55) return;
    // forward lines end in an arrow at their target, backward ones at their source
    c.fillStyle = p.edge;
    this.arrows(c, buckets[0]!, false, 1);
    c.fillStyle = p.forward;
    this.arrows(c, buckets[1]!, false, 1.1);
    c.fillStyle = p.backward;
    this.arrows(c, buckets[2]!, true, 1.2);
    WIDTHS.forEach((width, i) => this.arrows(c, buckets[3 + i]!, true, 1 + width / 6));
  }

  private trace(c: CanvasRenderingContext2D, s: number, k: number, curved: boolean): void {
    const { points, pointStart } = this.scene;
    const from = pointStart[s]!;
    const to = pointStart[s + 1]!;
    if (to - from < 4) return;
    let x = points[from]!;
    let y = points[from + 1]!;
    if (!curved) {
      const [ex, ey] = [points[to - 2]!, points[to - 1]!];
      if (Math.abs(ex - x) + Math.abs(ey - y) < 2 / k) return;
      c.moveTo(x, y);
      if (to - from > 8) for (let i = from + 2; i < to; i += 2) c.lineTo(points[i]!, points[i + 1]!);
      else c.lineTo(ex, ey);
      return;
    }
    if (!this.descends(from, to)) return this.cornered(c, from, to);
    c.moveTo(x, y);
    if (to - from <= 6 && points[to - 1]! - y < 90) {
      // between neighbours: one curve that leaves and arrives upright
      const [ex, ey] = [points[to - 2]!, points[to - 1]!];
      c.bezierCurveTo(x, (y + ey) / 2, ex, (y + ey) / 2, ex, ey);
      return;
    }
    // a curve through all points that never swings past them (Steffen's tangents), upright at its ends
    let slope = 0;
    for (let i = from + 2; i < to; i += 2) {
      const nx = points[i]!;
      const ny = points[i + 1]!;
      let next = 0;
      if (i + 2 < to) {
        const [h0, h1] = [ny - y, points[i + 3]! - ny];
        const [s0, s1] = [(nx - x) / h0, (points[i + 2]! - nx) / h1];
        const p = (s0 * h1 + s1 * h0) / (h0 + h1);
        next = (Math.sign(s0) + Math.sign(s1)) * Math.min(Math.abs(s0), Math.abs(s1), 0.5 * Math.abs(p)) || 0;
      }
      const d = (ny - y) / 3;
      c.bezierCurveTo(x + d * slope, y + d, nx - d * next, ny - d, nx, ny);
      slope = next;
      x = nx;
      y = ny;
    }
  }

  private descends(from: number, to: number): boolean {
    const { points } = this.scene;
    for (let i = from + 3; i < to; i += 2) if (points[i]! <= points[i - 2]!) return false;
    return true;
  }

  /** Around other columns: straight pieces with round corners. */
  private cornered(c: CanvasRenderingContext2D, from: number, to: number): void {
    const { points } = this.scene;
    c.moveTo(points[from]!, points[from + 1]!);
    for (let i = from + 2; i + 2 < to; i += 2) c.arcTo(points[i]!, points[i + 1]!, points[i + 2]!, points[i + 3]!, 8);
    c.lineTo(points[to - 2]!, points[to - 1]!);
  }

  private arrows(c: CanvasRenderingContext2D, list: number[], back: boolean, size: number): void {
    if (!list.length || list.length > 3000) return;
    const { points, pointStart, segmentFrom, segmentTo, kind } = this.scene;
    c.beginPath();
    for (const s of list) {
      const end = back ? segmentFrom[s]! : segmentTo[s]!;
      // no arrow where the line goes on into or out of an opened module
      if (end < 0 || (kind[end] === 2 && pointStart[s + 1]! > pointStart[s]!)) continue;
      const i = back ? pointStart[s]! : pointStart[s + 1]! - 2;
      if (pointStart[s + 1]! - pointStart[s]! < 4) continue;
      const [x, y] = [points[i]!, points[i + 1]!];
      const d = back ? 6 * size : -6 * size;
      c.moveTo(x, y);
      c.lineTo(x - 3.2 * size, y + d);
      c.lineTo(x + 3.2 * size, y + d);
      c.closePath();
    }
    c.fill();
  }

  /** The lines of all arguments and uses of a node. */
  along(c: CanvasRenderingContext2D, node: number, colour: string, k: number): void {
    c.beginPath();
    for (const e of recording.arguments(node)) this.edge(c, e, k);
    for (const e of recording.uses(node)) this.edge(c, e, k);
    c.strokeStyle = colour;
    c.lineWidth = 2 / Math.min(1, Math.max(0.2, k));
    c.stroke();
  }

  mark(c: CanvasRenderingContext2D, edge: number, colour: string, k: number): void {
    c.beginPath();
    this.edge(c, edge, k);
    c.strokeStyle = colour;
    c.lineWidth = 3.5 / Math.min(1, Math.max(0.2, k));
    c.stroke();
  }

  private edge(c: CanvasRenderingContext2D, edge: number, k: number): void {
    const { pathStart, paths } = this.scene;
    for (let i = pathStart[edge]!; i < pathStart[edge + 1]!; i++) this.trace(c, paths[i]!, k, true);
  }
}

/** Numbers as steps of width, by their place between the least and the largest. */
function steps(numbers: Float64Array, log: boolean): Uint8Array {
  let [low, high] = [Infinity, 0];
  for (const x of numbers) {
    if (x > 0 && Number.isFinite(x)) {
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
  }
  return Uint8Array.from(numbers, (x) => {
    if (!(x > 0) || !(high > 0)) return 0;
    if (!Number.isFinite(x)) return WIDTHS.length - 1;
    const t = high === low ? 0.25 : log ? Math.log(x / low) / Math.log(high / low) : x / high;
    return Math.round(t * (WIDTHS.length - 1));
  });
}

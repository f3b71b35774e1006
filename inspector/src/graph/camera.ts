// Where the reader looks: a scale and a shift, moved by wheel, drag and pinch.

import { select } from "d3-selection";
import { zoom, zoomIdentity, type ZoomBehavior } from "d3-zoom";

export interface Rectangle {
  x: number;
  y: number;
  w: number;
  h: number;
}

export class Camera {
  k = 1;
  x = 0;
  y = 0;
  private readonly behaviour: ZoomBehavior<HTMLCanvasElement, unknown>;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly moved: () => void,
  ) {
    this.behaviour = zoom<HTMLCanvasElement, unknown>()
      .scaleExtent([0.01, 4])
      .on("zoom", ({ transform }) => {
        this.k = transform.k;
        this.x = transform.x;
        this.y = transform.y;
        this.moved();
      });
    select(canvas).call(this.behaviour).on("dblclick.zoom", null);
  }

  set(k: number, x: number, y: number): void {
    select(this.canvas).call(this.behaviour.transform, zoomIdentity.translate(x, y).scale(k));
  }

  zoomBy(factor: number): void {
    select(this.canvas).call(this.behaviour.scaleBy, factor);
  }

  panBy(dx: number, dy: number): void {
    this.set(this.k, this.x + dx, this.y + dy);
  }

  /** The part of the scene in view. */
  view(): Rectangle {
    return {
      x: -this.x / this.k,
      y: -this.y / this.k,
      w: this.canvas.clientWidth / this.k,
      h: this.canvas.clientHeight / this.k,
    };
  }

  toScene(px: number, py: number): [number, number] {
    return [(px - this.x) / this.k, (py - this.y) / this.k];
  }

  /** Shows a rectangle of the scene, not larger than `most` and not smaller than `least`, from its upper edge. */
  fit(r: Rectangle, least: number, most: number, margin = 28, below = 30): void {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight - below];
    const whole = Math.min((w - 2 * margin) / Math.max(1, r.w), (h - 2 * margin) / Math.max(1, r.h));
    const k = Math.max(least, Math.min(most, whole));
    const x = w / 2 - (r.x + r.w / 2) * k;
    const y = r.h * k > h - 2 * margin ? margin - r.y * k : h / 2 - (r.y + r.h / 2) * k;
    this.set(k, r.w * k > w - 2 * margin ? margin - r.x * k : x, y);
  }

  /** Moves no more than needed for the rectangle to be in view. */
  show(r: Rectangle): void {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (this.k < 0.5) this.set(0.9, 0, 0);
    const left = r.x * this.k + this.x;
    const top = r.y * this.k + this.y;
    const inside = left >= 20 && top >= 40 && left + r.w * this.k <= w - 20 && top + r.h * this.k <= h - 20;
    if (!inside) this.set(this.k, w / 2 - (r.x + r.w / 2) * this.k, h / 2 - (r.y + r.h / 2) * this.k);
  }
}

// Where the reader looks: a scale and a shift, moved by wheel, drag and pinch.

export interface Rectangle {
  x: number;
  y: number;
  w: number;
  h: number;
}

const [LEAST, MOST] = [0.01, 4];

export class Camera {
  k = 1;
  x = 0;
  y = 0;
  private readonly fingers = new Map<number, [number, number]>();
  /** Was the last press a drag? Then the click that ends it chooses nothing. */
  dragged = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly moved: () => void,
  ) {
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const kind of ["pointerup", "pointercancel"] as const) {
      canvas.addEventListener(kind, (event) => this.fingers.delete(event.pointerId));
    }
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 0.05 : event.deltaMode ? 1 : 0.002;
    const factor = 2 ** (-event.deltaY * unit * (event.ctrlKey ? 8 : 1));
    this.zoomAt(event.offsetX, event.offsetY, Math.max(0.25, Math.min(4, factor)));
  }

  private press(event: PointerEvent): void {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    if (!this.fingers.size) this.dragged = false;
    this.fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
  }

  private drag(event: PointerEvent): void {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now: [number, number] = [event.offsetX, event.offsetY];
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (!this.dragged) {
      if (Math.abs(dx) + Math.abs(dy) < 4) return;
      this.dragged = true;
      this.canvas.setPointerCapture(event.pointerId);
    }
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    if (!other) return this.set(this.k, this.x + dx, this.y + dy);
    const [far, near] = [before, now].map(([x, y]) => Math.hypot(x - other[0], y - other[1])) as [number, number];
    this.x += dx / 2;
    this.y += dy / 2;
    this.zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, near / Math.max(1, far));
  }

  private zoomAt(px: number, py: number, factor: number): void {
    const k = Math.max(LEAST, Math.min(MOST, this.k * factor));
    this.set(k, px - ((px - this.x) * k) / this.k, py - ((py - this.y) * k) / this.k);
  }

  set(k: number, x: number, y: number): void {
    this.k = Math.max(LEAST, Math.min(MOST, k));
    this.x = x;
    this.y = y;
    this.moved();
  }

  zoomBy(factor: number): void {
    this.zoomAt(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2, factor);
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

  /** Shows a rectangle of the scene between the breadcrumb and the legend, not larger than `most` nor smaller than `least`. */
  fit(r: Rectangle, least: number, most: number): void {
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const [top, bottom, side] = [48, 56, 28];
    const room = { w: w - 2 * side, h: h - top - bottom };
    const whole = Math.min(room.w / Math.max(1, r.w), room.h / Math.max(1, r.h));
    const k = Math.max(least, Math.min(most, whole));
    const x = r.w * k > room.w ? side - r.x * k : w / 2 - (r.x + r.w / 2) * k;
    const y = r.h * k > room.h ? top - r.y * k : top + room.h / 2 - (r.y + r.h / 2) * k;
    this.set(k, x, y);
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

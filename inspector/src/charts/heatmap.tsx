/** A matrix as coloured cells: zero in the middle, sign by hue and by a stroke, the exact number under a cursor. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Signal } from "@preact/signals";
import { isDark, palette, STEPS, toned } from "./colour";
import type { HeatScale } from "./colour";
import { useWidth } from "./size";

/** What can be drawn: slices of rows × cols numbers. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly slices: number;
  /** The number at a place, counted through slices, rows and columns. */
  at(index: number): number;
}

export interface Place {
  readonly row: number;
  readonly col: number;
}

interface Props {
  matrix: Matrix;
  slice: number;
  /** The size at which colours are full. */
  absmax: number;
  cursor: Signal<Place | null>;
  label: string;
  /** What a click or Enter does with the place under the cursor. */
  onPick?: (place: Place) => void;
  picked?: Place | null;
  theme: string;
  scale?: HeatScale;
  maxHeight?: number;
}

/** Cells are square where that leaves them visible; a long thin array is drawn thicker than it is. */
function fit(rows: number, cols: number, width: number, height: number) {
  const across = Math.min(width / Math.max(cols, 1), 34);
  const down = Math.min(height / Math.max(rows, 1), 34);
  const square = Math.min(across, down);
  const thick = (n: number, room: number) => (n * square < 20 ? Math.min(room, 20 / n) : square);
  const whole = (cell: number) => (cell >= 3 ? Math.floor(cell) : cell);
  return {
    w: Math.max(1, Math.round(whole(thick(cols, across)) * cols)),
    h: Math.max(1, Math.round(whole(thick(rows, down)) * rows)),
  };
}

function paint(
  canvas: HTMLCanvasElement, matrix: Matrix, slice: number, absmax: number, w: number, h: number, scale: HeatScale,
): void {
  const { rows, cols } = matrix;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  const context = canvas.getContext("2d")!;
  const pixelRows = Math.min(rows, canvas.height);
  const pixelCols = Math.min(cols, canvas.width);
  const image = new ImageData(pixelCols, pixelRows);
  const table = palette(isDark());
  const base = slice * rows * cols;
  for (let y = 0; y < pixelRows; y++) {
    const r0 = Math.floor((y * rows) / pixelRows);
    const r1 = Math.max(r0 + 1, Math.floor(((y + 1) * rows) / pixelRows));
    for (let x = 0; x < pixelCols; x++) {
      const c0 = Math.floor((x * cols) / pixelCols);
      const c1 = Math.max(c0 + 1, Math.floor(((x + 1) * cols) / pixelCols));
      let extreme = 0; // of the cells that share a pixel the largest is shown, so that spikes survive
      let size = -1;
      for (let r = r0; r < r1; r++) {
        for (let c = c0; c < c1; c++) {
          const value = matrix.at(base + r * cols + c);
          const weight = value !== value ? Infinity : Math.abs(value);
          if (weight > size || value !== value) {
            size = weight;
            extreme = value;
          }
        }
      }
      const at = 4 * (y * pixelCols + x);
      if (extreme !== extreme) image.data.set([240, 200, 0, 255], at);
      else {
        const k = 3 * (Math.round(Math.max(-STEPS, Math.min(STEPS, STEPS * toned(extreme, absmax, scale)))) + STEPS);
        image.data[at] = table[k]!;
        image.data[at + 1] = table[k + 1]!;
        image.data[at + 2] = table[k + 2]!;
        image.data[at + 3] = 255;
      }
    }
  }
  const small = new OffscreenCanvas(pixelCols, pixelRows);
  small.getContext("2d")!.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  const cell = Math.min(canvas.width / cols, canvas.height / rows);
  if (cell >= 7 * ratio) glyphs(context, matrix, base, absmax, canvas.width / cols, canvas.height / rows, scale);
}

/** A stroke in each negative cell, a cross in each that is not a number. */
function glyphs(
  context: CanvasRenderingContext2D, matrix: Matrix, base: number, absmax: number, w: number, h: number, scale: HeatScale,
): void {
  const { rows, cols } = matrix;
  const reach = Math.min(w, h) * 0.2;
  const dark = isDark();
  context.lineWidth = Math.max(1, Math.min(w, h) / 14);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < cols; c++) {
      const value = matrix.at(base + r * cols + c);
      if (value >= 0) continue;
      const x = (c + 0.5) * w;
      const y = (r + 0.5) * h;
      const strong = !(Math.abs(toned(value, absmax, scale)) < 0.55);
      context.strokeStyle = strong !== dark ? "rgba(255,255,255,.85)" : "rgba(20,20,20,.6)";
      if (dark && !strong) context.strokeStyle = "rgba(255,255,255,.6)";
      if (dark && strong) context.strokeStyle = "rgba(20,20,20,.75)";
      context.beginPath();
      context.moveTo(x - reach, y);
      context.lineTo(x + reach, y);
      if (value !== value) {
        context.moveTo(x, y - reach);
        context.lineTo(x, y + reach);
      }
      context.stroke();
    }
  }
}

export function Heatmap(props: Props) {
  const { matrix, slice, absmax, cursor, label, onPick, picked, theme, scale = "linear", maxHeight = 200 } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [box, width] = useWidth<HTMLDivElement>();
  const { rows, cols } = matrix;
  const { w, h } = fit(rows, cols, width || 160, maxHeight);
  useEffect(() => {
    if (canvas.current && width) paint(canvas.current, matrix, slice, absmax, w, h, scale);
  }, [matrix, slice, absmax, w, h, theme, width, scale]);
  const [focused, setFocused] = useState(false);
  const place = cursor.value;
  const clamp = (v: number, n: number) => Math.max(0, Math.min(n - 1, v));
  const move = (event: PointerEvent) => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    cursor.value = {
      row: clamp(Math.floor(((event.clientY - bounds.top) / bounds.height) * rows), rows),
      col: clamp(Math.floor(((event.clientX - bounds.left) / bounds.width) * cols), cols),
    };
  };
  const key = (event: KeyboardEvent) => {
    const { row, col } = cursor.value ?? { row: 0, col: 0 };
    const step = event.shiftKey ? 10 : 1;
    const to: Record<string, Place> = {
      ArrowLeft: { row, col: clamp(col - step, cols) },
      ArrowRight: { row, col: clamp(col + step, cols) },
      ArrowUp: { row: clamp(row - step, rows), col },
      ArrowDown: { row: clamp(row + step, rows), col },
      Home: { row, col: 0 },
      End: { row, col: cols - 1 },
    };
    if (event.key === "Enter" || event.key === " ") onPick?.({ row, col });
    else if (to[event.key]) cursor.value = to[event.key]!;
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const mark = (at: Place, kind: string) => (
    <i
      class={`heat-mark ${kind}`}
      style={{
        left: `${(at.col / cols) * w}px`,
        top: `${(at.row / rows) * h}px`,
        width: `${Math.max(w / cols, 3)}px`,
        height: `${Math.max(h / rows, 3)}px`,
      }}
    />
  );
  return (
    <div class="heat" ref={box}>
      <div
        class={`heat-face${focused ? " focused" : ""}`}
        style={{ width: `${w}px`, height: `${h}px` }}
        tabIndex={0}
        role="application"
        aria-roledescription="heatmap"
        aria-label={`${label}: ${rows} rows, ${cols} columns. Arrow keys move the cursor${onPick ? ", Enter takes the cell apart" : ""}.`}
        onPointerMove={move}
        onPointerLeave={() => !focused && (cursor.value = null)}
        onFocus={() => setFocused(true)}
        onBlur={() => setFocused(false)}
        onKeyDown={key}
        onClick={() => cursor.value && onPick?.(cursor.value)}
      >
        <canvas ref={canvas} style={{ width: `${w}px`, height: `${h}px` }} aria-hidden="true" />
        {picked && picked.row < rows && picked.col < cols ? mark(picked, "picked") : null}
        {place && place.row < rows && place.col < cols ? mark(place, "cursor") : null}
      </div>
    </div>
  );
}

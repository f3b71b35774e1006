/** Curves over a common axis, drawn as SVG so that they follow the theme and can be saved as they are. */

import { useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { decade, decadeTicks, linearTicks, logTicks, tickText } from "./axis";
import { formatAs } from "../number";
import type { Unit } from "../number";
import { useWidth } from "./size";

export interface Curve {
  readonly name: string;
  readonly x: ArrayLike<number>;
  readonly y: ArrayLike<number>;
  readonly dashed?: boolean;
}

interface Props {
  curves: readonly Curve[];
  label: string;
  xLabel: string;
  logX?: boolean;
  logY?: boolean;
  height?: number;
  /** How numbers on the upright axis are written; from zero for amounts. */
  yUnit?: Unit;
  /** A vertical mark, such as the step that is shown. */
  at?: number | null;
  onPick?: (x: number) => void;
  /** What is told of the place under the pointer: for each curve the position of its nearest point. */
  tell?: (at: readonly number[]) => ComponentChildren;
}

const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 30;

function bounds(curves: readonly Curve[], of: "x" | "y", log: boolean): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const curve of curves) {
    const values = curve[of];
    for (let i = 0; i < values.length; i++) {
      const v = log ? Math.log10(values[i]!) : values[i]!;
      if (!Number.isFinite(v)) continue;
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
  }
  if (low > high) return [0, 1];
  if (low === high) return [low - 0.5, high + 0.5];
  return of === "y" ? [low - (high - low) * 0.05, high + (high - low) * 0.05] : [low, high];
}

export function Lines({ curves, label, xLabel, logX = false, logY = false, height = 170, yUnit = "number", at, onPick, tell }: Props) {
  const [box, width] = useWidth<HTMLDivElement>();
  const [hovered, setHovered] = useState(-1);
  const w = Math.max(width, 200);
  const [x0, x1] = bounds(curves, "x", logX);
  const [lowest, y1] = bounds(curves, "y", logY);
  const y0 = yUnit === "number" ? lowest : 0;
  const px = (x: number) => LEFT + (((logX ? Math.log10(x) : x) - x0) / (x1 - x0)) * (w - LEFT - RIGHT);
  const py = (y: number) => TOP + (1 - ((logY ? Math.log10(y) : y) - y0) / (y1 - y0)) * (height - TOP - BOTTOM);
  const path = (curve: Curve) => {
    let d = "";
    let pen = false;
    for (let i = 0; i < curve.x.length; i++) {
      const x = px(curve.x[i]!);
      const y = py(curve.y[i]!);
      if (Number.isFinite(x) && Number.isFinite(y)) d += `${pen ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`;
      pen = Number.isFinite(x) && Number.isFinite(y);
    }
    return d;
  };
  const densest = curves.reduce<Curve | undefined>((most, c) => (most && most.x.length >= c.x.length ? most : c), undefined);
  const xs = densest?.x ?? [];
  const closest = (of: ArrayLike<number>, x: number) => {
    let best = -1;
    for (let i = 0; i < of.length; i++) {
      if (best < 0 || Math.abs(px(of[i]!) - x) < Math.abs(px(of[best]!) - x)) best = i;
    }
    return best;
  };
  const nearest = (clientX: number, face: Element) => closest(xs, clientX - face.getBoundingClientRect().left);
  const yTicks = logY ? logTicks(y0, y1, Math.floor(height / 30)) : linearTicks(y0, y1, 4);
  const xTicks = logX ? decadeTicks(x0, x1, 6).map((e) => 10 ** e) : linearTicks(x0, x1, Math.max(2, Math.floor(w / 90)));
  const text = (v: number, log: boolean) => {
    const exponent = Math.log10(v);
    return log && Math.abs(exponent - Math.round(exponent)) < 1e-9 && Math.abs(exponent) > 2.5 ? decade(Math.round(exponent)) : tickText(v);
  };
  return (
    <div class="lines" ref={box}>
      <svg
        width={w}
        height={height}
        role="img"
        aria-label={label}
        class={onPick ? "pickable" : ""}
        onPointerMove={(e) => setHovered(nearest(e.clientX, e.currentTarget))}
        onPointerLeave={() => setHovered(-1)}
        onClick={(e) => {
          const i = nearest(e.clientX, e.currentTarget);
          if (i >= 0) onPick?.(xs[i]!);
        }}
      >
        {yTicks.map((y) => (
          <g key={y}>
            <line class="grid" x1={LEFT} x2={w - RIGHT} y1={py(y)} y2={py(y)} />
            <text class="tick" x={LEFT - 6} y={py(y) + 3.5} text-anchor="end">
              {yUnit === "number" ? text(y, logY) : formatAs(y, yUnit)}
            </text>
          </g>
        ))}
        {xTicks.map((x) => (
          <text key={x} class="tick" x={px(x)} y={height - BOTTOM + 14} text-anchor="middle">
            {text(x, logX)}
          </text>
        ))}
        <text class="tick title" x={(LEFT + w - RIGHT) / 2} y={height - 3} text-anchor="middle">
          {xLabel}
        </text>
        <line class="axis" x1={LEFT} x2={w - RIGHT} y1={height - BOTTOM} y2={height - BOTTOM} />
        {curves.map((curve, k) => (
          <path key={curve.name} class={`curve curve-${k % 4}`} d={path(curve)} stroke-dasharray={curve.dashed ? "5 4" : undefined} />
        ))}
        {curves.map((curve, k) =>
          curve.x.length <= 40
            ? Array.from({ length: curve.x.length }, (_, i) => {
                const x = px(curve.x[i]!);
                const y = py(curve.y[i]!);
                if (!Number.isFinite(x) || !Number.isFinite(y)) return null; // such as the logarithm of no error at all
                return <circle key={`${k}:${i}`} class={`dot curve-${k % 4}`} cx={x} cy={y} r={2.4} />;
              })
            : null,
        )}
        {at != null && px(at) >= LEFT - 1 && px(at) <= w - RIGHT + 1 ? <line class="present" x1={px(at)} x2={px(at)} y1={TOP} y2={height - BOTTOM} /> : null}
        {hovered >= 0 ? <line class="hover" x1={px(xs[hovered]!)} x2={px(xs[hovered]!)} y1={TOP} y2={height - BOTTOM} /> : null}
      </svg>
      {curves.length > 1 ? (
        <div class="keys">
          {curves.map((curve, k) => (
            <span key={curve.name}>
              <i class={`key curve-${k % 4}${curve.dashed ? " dashed" : ""}`} /> {curve.name}
            </span>
          ))}
        </div>
      ) : null}
      {tell ? <div class="readout">{hovered >= 0 ? tell(curves.map((c) => (c === densest ? hovered : closest(c.x, px(xs[hovered]!))))) : <span class="quiet">point at a curve to read it</span>}</div> : null}
    </div>
  );
}

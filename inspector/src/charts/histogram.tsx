/** Counts of numbers in bins on a signed logarithmic axis, zero in the middle. */

import { useState } from "preact/hooks";
import { decade } from "./axis";

interface Props {
  counts: ArrayLike<number>;
  /** The borders of the bins, one more than bins. */
  edges: ArrayLike<number>;
  /** Names of the cells that hold the counts, as data-cell. */
  cell: (bin: number) => string;
  label: string;
}

const WIDTH = 320;
const HEIGHT = 64;

function edgeText(x: number): string {
  if (x === 0) return "0";
  if (!Number.isFinite(x)) return x < 0 ? "−∞" : "∞";
  const exponent = Math.log10(Math.abs(x));
  const sign = x < 0 ? "−" : "";
  if (Math.abs(exponent - Math.round(exponent)) < 1e-9) return sign + decade(Math.round(exponent));
  const size = Math.abs(x);
  if (Number.isInteger(Math.log2(size))) return sign + decade(Math.log2(size), "2");
  return sign + (size >= 0.01 && size < 1000 ? size.toPrecision(2) : `${(size / 10 ** Math.floor(exponent)).toFixed(1)}·${decade(Math.floor(exponent))}`);
}

export function Histogram({ counts, edges, cell, label }: Props) {
  const [hovered, setHovered] = useState(-1);
  const bins = counts.length;
  let first = bins;
  let last = -1;
  let most = 0;
  for (let i = 0; i < bins; i++) {
    if (counts[i]! > 0) {
      first = Math.min(first, i);
      last = i;
      most = Math.max(most, counts[i]!);
    }
  }
  if (last < 0) return null;
  // symmetric about zero, so that the sign is where one expects it
  let zero = 0;
  while (zero < bins - 1 && edges[zero + 1]! <= 0) zero++;
  const middle = edges[zero]! < 0 ? zero + 0.5 : zero;
  const reach = Math.max(middle - first, last + 1 - middle, 4);
  const from = Math.max(0, Math.floor(middle - reach));
  const to = Math.min(bins, Math.ceil(middle + reach));
  const sign = (i: number) => (edges[i + 1]! <= 0 ? "negative" : edges[i]! >= 0 ? "positive" : "nothing");
  const step = WIDTH / (to - from);
  const ticks = [from, to];
  const shown = hovered >= 0 ? hovered : -1;
  return (
    <figure class="histogram" aria-label={label}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT + 20}`} role="img" aria-label={label}>
        <line class="axis" x1={0} x2={WIDTH} y1={HEIGHT} y2={HEIGHT} />
        <line class="zero" x1={(middle - from) * step} x2={(middle - from) * step} y1={0} y2={HEIGHT} />
        {Array.from({ length: to - from }, (_, k) => {
          const i = from + k;
          const count = counts[i]!;
          const height = count > 0 ? Math.max(1.5, (count / most) * (HEIGHT - 6)) : 0;
          return (
            <g key={i} onPointerEnter={() => setHovered(i)} onPointerLeave={() => setHovered(-1)}>
              <rect x={k * step} y={0} width={step} height={HEIGHT} fill="transparent" />
              <rect
                class={`bar ${sign(i)}`}
                x={k * step + 0.4}
                y={HEIGHT - height}
                width={Math.max(0.5, step - 0.8)}
                height={height}
              />
            </g>
          );
        })}
        <text class="tick" x={(middle - from) * step} y={HEIGHT + 15} text-anchor="middle">
          0
        </text>
        {ticks.map((t, k) => (
          <text
            key={k}
            class="tick"
            x={(t - from) * step}
            y={HEIGHT + 15}
            text-anchor={k === 0 ? "start" : "end"}
          >
            {edgeText(edges[t]!)}
          </text>
        ))}
      </svg>
      <figcaption class="quiet">
        {shown >= 0 ? (
          <>
            [{edgeText(edges[shown]!)}, {edgeText(edges[shown + 1]!)}):{" "}
            <b class="num" data-cell={cell(shown)}>
              {counts[shown]!}
            </b>
          </>
        ) : (
          "counts by size, signed logarithmic"
        )}
      </figcaption>
    </figure>
  );
}

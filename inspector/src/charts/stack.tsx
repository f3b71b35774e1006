/** Bytes held over events, one band for each tensor: what is saved in the forward pass and let go in the backward. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatBytes } from "../number";
import { categorical, isDark } from "./colour";
import { useWidth } from "./size";

export interface Held {
  readonly from: ArrayLike<number>;
  readonly to: ArrayLike<number>;
  readonly bytes: ArrayLike<number>;
  /** Which colour each tensor has. */
  readonly group: ArrayLike<number>;
}

interface Props {
  held: Held;
  events: number;
  peak: number;
  peakEvent: number;
  now: number;
  label: string;
  theme: string;
  picked: number;
  onHover: (tensor: number) => void;
  onPick: (tensor: number, event: number) => void;
}

const HEIGHT = 180;
const BOTTOM = 18;

interface Column {
  event: number;
  tensors: number[];
  tops: number[]; // bytes below and including the tensor
}

/** For each pixel column the event in it at which most is held, and what is held then, oldest lowest. */
function columnsOf(held: Held, events: number, width: number): Column[] {
  const n = held.from.length;
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => held.from[a]! - held.from[b]! || a - b);
  const change = new Float64Array(events + 2);
  for (let i = 0; i < n; i++) {
    change[held.from[i]!]! += held.bytes[i]!;
    change[Math.min(held.to[i]!, events)]! -= held.bytes[i]!;
  }
  const columns: Column[] = [];
  let alive: number[] = [];
  let next = 0;
  let total = 0;
  let event = 0;
  for (let x = 0; x < width; x++) {
    const first = Math.floor((x * (events + 1)) / width);
    const last = Math.max(first, Math.floor(((x + 1) * (events + 1)) / width) - 1);
    let best = first;
    let most = -1;
    for (; event <= last; event++) {
      total += change[event]!;
      if (total > most) {
        most = total;
        best = event;
      }
    }
    if (most < 0) best = columns.at(-1)?.event ?? first; // more pixels than events
    while (next < n && held.from[order[next]!]! <= best) alive.push(order[next++]!);
    const there = alive.filter((i) => held.to[i]! > best);
    if (there.length < alive.length * 0.7) alive = alive.filter((i) => held.to[i]! > first);
    let sum = 0;
    columns.push({ event: best, tensors: there, tops: there.map((i) => (sum += held.bytes[i]!)) });
  }
  return columns;
}

function rgb(hex: string): [number, number, number] {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

export function Stack(props: Props) {
  const { held, events, peak, peakEvent, now, label, theme, picked, onHover, onPick } = props;
  const [box, width] = useWidth<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState<{ x: number; tensor: number } | null>(null);
  const columns = useMemo(() => (width ? columnsOf(held, events, width) : []), [held, events, width]);
  const face = HEIGHT - BOTTOM - 14;
  const ceiling = Math.max(peak, 1);
  useEffect(() => {
    const element = canvas.current;
    if (!element || !width) return;
    element.width = width;
    element.height = face;
    const context = element.getContext("2d")!;
    const image = context.createImageData(width, face);
    const dark = isDark();
    const lit = at?.tensor ?? picked;
    columns.forEach(({ tensors, tops }, x) => {
      let below = 0;
      tensors.forEach((tensor, k) => {
        const top = Math.round((tops[k]! / ceiling) * face);
        let [r, g, b] = rgb(categorical(held.group[tensor]!));
        const strength = lit >= 0 ? (lit === tensor ? 1 : 0.35) : 0.82;
        const ground = dark ? 32 : 250;
        [r, g, b] = [r, g, b].map((c) => c * strength + ground * (1 - strength)) as [number, number, number];
        for (let y = below; y < top; y++) {
          const line = top - below >= 4 && y === top - 1;
          const p = 4 * ((face - 1 - y) * width + x);
          image.data[p] = line ? r * 0.75 : r;
          image.data[p + 1] = line ? g * 0.75 : g;
          image.data[p + 2] = line ? b * 0.75 : b;
          image.data[p + 3] = 255;
        }
        below = top;
      });
    });
    context.putImageData(image, 0, 0);
  }, [columns, ceiling, theme, width, at?.tensor, picked]);
  const find = (e: PointerEvent | MouseEvent) => {
    const bounds = (e.currentTarget as HTMLElement).getBoundingClientRect();
    const x = Math.max(0, Math.min(width - 1, Math.floor(e.clientX - bounds.left)));
    const bytes = ((bounds.bottom - e.clientY) / face) * ceiling;
    const column = columns[x];
    if (!column) return { x, tensor: -1, event: 0 };
    const k = column.tops.findIndex((top) => top >= bytes);
    return { x, tensor: k < 0 || bytes < 0 ? -1 : column.tensors[k]!, event: column.event };
  };
  const across = (event: number) => Math.min((event / Math.max(events, 1)) * width, width - 2);
  const peakLeft = across(peakEvent) > width * 0.6;
  return (
    <div class="stack" ref={box} style={{ height: `${HEIGHT}px` }}>
      <span class="stack-top quiet">{formatBytes(peak)}</span>
      <div
        class="stack-face"
        style={{ height: `${face}px` }}
        role="img"
        aria-label={label}
        onPointerMove={(e) => {
          const { x, tensor } = find(e);
          setAt({ x, tensor });
          onHover(tensor);
        }}
        onPointerLeave={() => {
          setAt(null);
          onHover(-1);
        }}
        onClick={(e) => {
          const { tensor, event } = find(e);
          if (tensor >= 0) onPick(tensor, event);
        }}
      >
        <canvas ref={canvas} aria-hidden="true" />
        <i class="stack-line peak" style={{ left: `${across(peakEvent)}px` }} />
        <span class={`stack-note${peakLeft ? " left" : ""}`} style={peakLeft ? { right: `${width - across(peakEvent) + 4}px` } : { left: `${across(peakEvent) + 4}px` }}>
          peak
        </span>
        <i class="stack-line present" style={{ left: `${across(now)}px` }} />
      </div>
      <div class="stack-foot quiet">
        <span>first event</span>
        <span>last event</span>
      </div>
    </div>
  );
}

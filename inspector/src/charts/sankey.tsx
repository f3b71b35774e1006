/** A conserved current from top to bottom: boxes in rows, links as wide as what flows through them, cut sums beside. */

import { useMemo, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { useWidth } from "./size";

export interface Box {
  readonly id: number;
  readonly row: number;
  readonly label: string;
  readonly share: number;
}

export interface Link {
  readonly id: number;
  readonly from: number;
  readonly to: number;
  readonly share: number;
}

interface Props {
  boxes: readonly Box[];
  links: readonly Link[];
  label: string;
  /** What stands beside the border below a row. */
  cut: (row: number) => ComponentChildren;
  boxTitle: (box: Box) => string;
  linkTitle: (link: Link) => string;
  selected?: number;
  opens: (box: Box) => boolean;
  onOpen: (box: Box) => void;
  onPick: (box: Box) => void;
  onHover?: (box: Box | null) => void;
}

interface Item {
  id: number; // of a box, or -1 where a link only passes
  row: number;
  x: number;
  width: number;
  above: [Item, number][];
  below: [Item, number][];
}

export const ROW = 62;
const BAR = 24;
const GAP = 14;
const MARGIN = 74; // for the cut sums
const LEAST = 3;

interface Ribbon {
  link: Link;
  d: string;
}

interface Laid {
  bars: { box: Box; x: number; y: number; width: number }[];
  ribbons: Ribbon[];
  rows: number;
}

function spread(row: Item[], width: number): void {
  // wanted places, then apart from each other, then back inside
  row.sort((a, b) => a.x + a.width / 2 - (b.x + b.width / 2));
  let edge = 0;
  for (const item of row) {
    item.x = Math.max(item.x, edge);
    edge = item.x + item.width + GAP;
  }
  let limit = width;
  for (let i = row.length - 1; i >= 0; i--) {
    const item = row[i]!;
    item.x = Math.min(item.x, limit - item.width);
    limit = item.x - GAP;
  }
  if (row.length && row[0]!.x < 0) {
    const total = row.reduce((sum, item) => sum + item.width, 0);
    const gap = Math.max(2, (width - total) / Math.max(1, row.length - 1));
    let x = 0;
    for (const item of row) {
      item.x = x;
      x += item.width + gap;
    }
  }
}

function lay(boxes: readonly Box[], links: readonly Link[], width: number): Laid {
  const rows = boxes.reduce((most, box) => Math.max(most, box.row + 1), 0);
  const grid: Item[][] = Array.from({ length: rows }, () => []);
  const inward = new Map<number, number>();
  const outward = new Map<number, number>();
  for (const link of links) {
    outward.set(link.from, (outward.get(link.from) ?? 0) + Math.abs(link.share));
    inward.set(link.to, (inward.get(link.to) ?? 0) + Math.abs(link.share));
  }
  const flow = (box: Box) => Math.max(inward.get(box.id) ?? 0, outward.get(box.id) ?? 0, Math.abs(box.share));
  const crowded = Array.from({ length: rows }, () => ({ flow: 0, count: 0 }));
  const rowOf = new Map(boxes.map((box) => [box.id, box.row]));
  for (const box of boxes) {
    crowded[box.row]!.flow += flow(box);
    crowded[box.row]!.count++;
  }
  for (const link of links) {
    for (let r = rowOf.get(link.from)! + 1; r < rowOf.get(link.to)!; r++) {
      crowded[r]!.flow += Math.abs(link.share);
      crowded[r]!.count++;
    }
  }
  let scale = Infinity;
  for (const { flow: f, count } of crowded) {
    if (f > 0) scale = Math.min(scale, Math.max(width * 0.25, width * 0.72 - GAP * (count - 1)) / f);
  }
  if (!Number.isFinite(scale)) scale = 1;
  const items = new Map<number, Item>();
  for (const box of boxes) {
    const item = { id: box.id, row: box.row, x: 0, width: Math.max(LEAST, flow(box) * scale), above: [], below: [] };
    items.set(box.id, item);
    grid[box.row]!.push(item);
  }
  const chains = new Map<Link, Item[]>();
  for (const link of links) {
    const from = items.get(link.from)!;
    const to = items.get(link.to)!;
    const chain = [from];
    for (let r = from.row + 1; r < to.row; r++) {
      const item: Item = { id: -1, row: r, x: 0, width: Math.max(1, Math.abs(link.share) * scale), above: [], below: [] };
      grid[r]!.push(item);
      chain.push(item);
    }
    chain.push(to);
    for (let k = 1; k < chain.length; k++) {
      chain[k - 1]!.below.push([chain[k]!, Math.abs(link.share)]);
      chain[k]!.above.push([chain[k - 1]!, Math.abs(link.share)]);
    }
    chains.set(link, chain);
  }
  const centre = (item: Item) => item.x + item.width / 2;
  const pull = (item: Item, side: [Item, number][]) => {
    let weight = 0;
    let sum = 0;
    for (const [other, w] of side) {
      weight += w + 1e-9;
      sum += centre(other) * (w + 1e-9);
    }
    if (weight > 0) item.x = sum / weight - item.width / 2;
  };
  for (const row of grid) {
    const total = row.reduce((sum, item) => sum + item.width + GAP, -GAP);
    let x = (width - total) / 2;
    for (const item of row) {
      item.x = x;
      x += item.width + GAP;
    }
  }
  for (let sweep = 0; sweep < 6; sweep++) {
    for (let r = 1; r < rows; r++) {
      grid[r]!.forEach((item) => pull(item, item.above));
      spread(grid[r]!, width);
    }
    for (let r = rows - 2; r >= 0; r--) {
      grid[r]!.forEach((item) => pull(item, item.below));
      spread(grid[r]!, width);
    }
  }
  // where each link leaves and enters: side by side in the order of the other end
  const ports = new Map<Link, { out: number; into: number }>();
  const settle = (end: "from" | "to") => {
    const by = new Map<number, Link[]>();
    for (const link of links) by.set(link[end], [...(by.get(link[end]) ?? []), link]);
    for (const [id, list] of by) {
      const item = items.get(id)!;
      const next = (link: Link) => {
        const chain = chains.get(link)!;
        return centre(end === "from" ? chain[1]! : chain[chain.length - 2]!);
      };
      list.sort((a, b) => next(a) - next(b));
      const total = list.reduce((sum, link) => sum + Math.abs(link.share) * scale, 0);
      let x = item.x + (item.width - total) / 2;
      for (const link of list) {
        const port = ports.get(link) ?? { out: 0, into: 0 };
        const w = Math.abs(link.share) * scale;
        port[end === "from" ? "out" : "into"] = x + w / 2;
        x += w;
        ports.set(link, port);
      }
    }
  };
  settle("from");
  settle("to");
  const ribbons = links.map((link) => {
    const chain = chains.get(link)!;
    const half = Math.max(0.6, (Math.abs(link.share) * scale) / 2);
    const { out, into } = ports.get(link)!;
    const points = chain.map((item, k) => ({
      x: k === 0 ? out : k === chain.length - 1 ? into : centre(item),
      top: item.row * ROW,
      bottom: item.row * ROW + BAR,
    }));
    let left = `M${(out - half).toFixed(1)},${points[0]!.bottom}`;
    let right = "";
    for (let k = 1; k < points.length; k++) {
      const a = points[k - 1]!;
      const b = points[k]!;
      const mid = (a.bottom + b.top) / 2;
      left += `C${(a.x - half).toFixed(1)},${mid} ${(b.x - half).toFixed(1)},${mid} ${(b.x - half).toFixed(1)},${b.top}`;
      right = `C${(b.x + half).toFixed(1)},${mid} ${(a.x + half).toFixed(1)},${mid} ${(a.x + half).toFixed(1)},${a.bottom}${right}`;
      if (k < points.length - 1) {
        left += `L${(b.x - half).toFixed(1)},${b.bottom}`;
        right = `L${(b.x + half).toFixed(1)},${b.top}${right}`;
      }
    }
    return { link, d: `${left}L${(points.at(-1)!.x + half).toFixed(1)},${points.at(-1)!.top}${right}Z` };
  });
  const bars = boxes.map((box) => {
    const item = items.get(box.id)!;
    return { box, x: item.x, y: box.row * ROW, width: item.width };
  });
  return { bars, ribbons, rows };
}

export function Sankey(props: Props) {
  const { boxes, links, label, cut, boxTitle, linkTitle, selected, opens, onOpen, onPick, onHover } = props;
  const [face, width] = useWidth<HTMLDivElement>();
  const inner = Math.max(160, width - MARGIN - 4);
  const laid = useMemo(() => lay(boxes, links, inner), [boxes, links, inner]);
  const [near, setNear] = useState(-1);
  const height = laid.rows * ROW - ROW + BAR + 8;
  return (
    <div class="sankey" ref={face} style={{ height: `${height}px` }}>
      <svg width={inner} height={height} role="img" aria-label={label}>
        <defs>
          <pattern id="against" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect class="against-ground" width="6" height="6" />
            <line class="against-line" x1="0" y1="0" x2="0" y2="6" stroke-width="3" />
          </pattern>
        </defs>
        {laid.ribbons.map(({ link, d }) => (
          <path
            key={link.id}
            class={`ribbon ${link.share < 0 ? "against" : "along"}${near >= 0 && near !== link.from && near !== link.to ? " faint" : ""}`}
            d={d}
          >
            <title>{linkTitle(link)}</title>
          </path>
        ))}
        {laid.bars.map(({ box, x, y, width: w }) => (
          <rect
            key={box.id}
            class={`bar${box.id === selected ? " selected" : ""}${box.share < 0 ? " against" : ""}`}
            x={x}
            y={y}
            width={w}
            height={BAR}
            rx={3}
          />
        ))}
      </svg>
      {laid.bars.map(({ box, x, y, width: w }) => {
        const wide = w > 90 || box.label.length * 6.8 + 10 < w;
        const row = laid.bars.filter((other) => other.y === y && other.box !== box);
        const leftEdge = Math.max(0, ...row.filter((o) => o.x < x).map((o) => o.x + o.width));
        const rightEdge = Math.min(inner, ...row.filter((o) => o.x > x).map((o) => o.x));
        const right = rightEdge - x - w < Math.min(x - leftEdge, 120);
        return (
          <button
            key={box.id}
            type="button"
            class={`sankey-label${wide ? " inside" : right ? " before" : " after"}${box.id === selected ? " selected" : ""}`}
            style={{
              top: `${y}px`,
              height: `${BAR}px`,
              ...(wide
                ? { left: `${x}px`, width: `${w}px` }
                : right
                  ? { right: `${Math.max(width - x + 5, 0)}px`, maxWidth: `${Math.max(24, x - leftEdge - 8)}px` }
                  : { left: `${x + w + 5}px`, maxWidth: `${Math.max(24, rightEdge - x - w - 8)}px` }),
            }}
            title={boxTitle(box)}
            onClick={() => onPick(box)}
            onDblClick={() => opens(box) && onOpen(box)}
            onKeyDown={(e) => {
              if (e.key === "Enter" && opens(box)) {
                onOpen(box);
                e.preventDefault();
                e.stopPropagation();
              }
            }}
            onPointerEnter={() => {
              setNear(box.id);
              onHover?.(box);
            }}
            onPointerLeave={() => {
              setNear(-1);
              onHover?.(null);
            }}
          >
            {box.label}
            {opens(box) ? <span class="opens" aria-hidden="true"> ⊕</span> : null}
          </button>
        );
      })}
      {Array.from({ length: Math.max(0, laid.rows - 1) }, (_, r) => (
        <span key={r} class="sankey-cut" style={{ top: `${r * ROW + BAR + (ROW - BAR) / 2 - 8}px` }}>
          {cut(r)}
        </span>
      ))}
    </div>
  );
}

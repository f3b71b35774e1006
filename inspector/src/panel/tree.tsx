/** Contributions to a gradient, opened level by level; the rows below one add to it. */

import { useState } from "preact/hooks";
import { recording, reveal } from "../model/view";
import { Cell } from "../number";
import { ShareBar } from "./contributions";
import { number, where } from "./data";
import { Section } from "./section";

function Branch({ row, depth, children }: { row: number; depth: number; children: Map<number, number[]> }) {
  const [open, setOpen] = useState(depth === 0);
  const below = children.get(row) ?? [];
  const node = number("tree", row, "node");
  const rest = number("tree", row, "rest") === 1;
  return (
    <li>
      <div class="branch" style={{ paddingLeft: `${depth * 14}px` }}>
        {below.length ? (
          <button type="button" class="twist" aria-expanded={open} aria-label={open ? "close" : "open"} onClick={() => setOpen(!open)}>
            {open ? "▾" : "▸"}
          </button>
        ) : (
          <span class="twist" />
        )}
        {rest || node < 0 ? (
          <span class="quiet name">the rest</span>
        ) : (
          <button type="button" class="link name" onClick={() => reveal(node)} title={recording.name(node)}>
            {recording.name(node)}
          </button>
        )}
        <ShareBar share={number("tree", row, "share")} />
        <Cell table="tree" row={row} column="share" unit="percent" />
      </div>
      {open && below.length ? (
        <ul>
          {below.map((r) => (
            <Branch key={r} row={r} depth={depth + 1} children={children} />
          ))}
        </ul>
      ) : null}
    </li>
  );
}

export function Tree({ target }: { target: number }) {
  const rows = where("tree", "target", target);
  if (rows.length === 0) return null;
  const children = new Map<number, number[]>();
  for (const row of rows) {
    const parent = number("tree", row, "parent");
    children.set(parent, [...(children.get(parent) ?? []), row]);
  }
  return (
    <Section title="Contributions, level by level" note="the rows below one add to it">
      <ul class="shares">
        {(children.get(-1) ?? []).map((row) => (
          <Branch key={row} row={row} depth={0} children={children} />
        ))}
      </ul>
    </Section>
  );
}

/** Contributions to a gradient, opened level by level; the rows below one add to it. */

import { useState } from "preact/hooks";
import { recording, request, reveal } from "../model/view";
import { Cell } from "../number";
import { ShareBar } from "./contributions";
import { number, rowOf, where } from "./data";
import { Section } from "./section";

const isLive = () => recording.info<boolean>("live") === true;

interface Props {
  row: number;
  depth: number;
  children: Map<number, number[]>;
  /** The edges at which the rows above part. */
  way: readonly number[];
  /** Told where a row has parts that are not here. */
  onEnd: () => void;
}

function Branch({ row, depth, children, way: above, onEnd }: Props) {
  const [open, setOpen] = useState(depth === 0);
  const below = children.get(row) ?? [];
  const node = number("tree", row, "node");
  const rest = number("tree", row, "rest") === 1;
  const more = recording.table("tree").has("more") && number("tree", row, "more") === 1;
  const way = [...above, number("tree", row, "edge")];
  const twist = () => {
    setOpen(!open || more);
    if (!more) return;
    if (isLive()) request.value = { open: recording.name(number("tree", row, "target")), way };
    else onEnd();
  };
  return (
    <li>
      <div class="branch" style={{ paddingLeft: `${depth * 14}px` }}>
        {below.length || more ? (
          <button type="button" class="twist" aria-expanded={open && below.length > 0} aria-label={open && below.length ? "close" : "open"} onClick={twist}>
            {open && below.length ? "▾" : "▸"}
          </button>
        ) : (
          <span class="twist" />
        )}
        {rest || node < 0 ? (
          <span class="quiet name">{more || below.length ? "the rest" : "from the beginning itself"}</span>
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
            <Branch key={number("tree", r, "edge")} row={r} depth={depth + 1} children={children} way={way} onEnd={onEnd} />
          ))}
        </ul>
      ) : null}
    </li>
  );
}

/** Where a file ends, and how to get more. */
function End({ name }: { name: string }) {
  const depth = recording.info<number>("tree_depth") ?? 3;
  return (
    <p class="quiet" role="status">
      This file holds {depth} levels of some trees; for more: <code class="command">{`recording.save("step.html", tree_depth=${depth + 3}, follow=[${JSON.stringify(name)}])`}</code>
    </p>
  );
}

export function Tree({ target }: { target: number }) {
  const [ended, setEnded] = useState(false);
  const rows = where("tree", "target", target);
  const name = recording.name(target);
  const note = "the rows below one add to it";
  if (rows.length === 0) {
    const root = rowOf("treeroot", target, "target");
    if (root < 0 || number("treeroot", root, "parts") === 0) return null; // it comes one way
    return (
      <Section title="Contributions, level by level" note={note}>
        <p>
          <button type="button" onClick={() => (isLive() ? (request.value = { open: name, way: [] }) : setEnded(true))}>
            open the tree of {name}
          </button>
        </p>
        {ended ? <End name={name} /> : null}
      </Section>
    );
  }
  const children = new Map<number, number[]>();
  for (const row of rows) {
    const parent = number("tree", row, "parent");
    children.set(parent, [...(children.get(parent) ?? []), row]);
  }
  return (
    <Section title="Contributions, level by level" note={note}>
      <ul class="shares">
        {(children.get(-1) ?? []).map((row) => (
          <Branch key={number("tree", row, "edge")} row={row} depth={0} children={children} way={[]} onEnd={() => setEnded(true)} />
        ))}
      </ul>
      {ended ? <End name={name} /> : null}
    </Section>
  );
}

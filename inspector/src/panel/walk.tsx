/** The first number that is not finite, and the walk back to what caused it. */

import { useMemo } from "preact/hooks";
import { goTo, recording, reveal } from "../model/view";
import { Cell } from "../number";
import { number } from "./data";
import { Section } from "./section";

interface Bad {
  readonly row: number; // of stat
  readonly node: number;
  readonly which: number;
  readonly event: number;
}

/** Values and gradients with NaN or infinities, in the order of events. */
function badOnes(): Bad[] {
  const stat = recording.stat;
  const nans = stat.numbers("nans", 0);
  const infs = stat.numbers("infs", 0);
  const which = stat.numbers("which");
  const nodes = stat.numbers("node");
  const found: Bad[] = [];
  for (let row = 0; row < stat.rows; row++) {
    if (!(nans[row]! > 0 || infs[row]! > 0) || which[row]! > 1) continue;
    const node = nodes[row]!;
    const event = which[row] === 0 ? recording.forwardEvent[node]! : recording.completedEvent[node]!;
    found.push({ row, node, which: which[row]!, event });
  }
  return found.sort((a, b) => a.event - b.event || a.row - b.row);
}

/** From a bad value to the bad arguments it was made of; from a bad gradient to the bad gradients or values behind it. */
function walkFrom(first: Bad, all: Map<string, Bad>): Bad[] {
  const walk = [first];
  const seen = new Set([first.row]);
  for (let at = first; walk.length < 40; ) {
    const before: string[] = [];
    if (at.which === 1) {
      for (const edge of recording.contributions(at.node)) before.push(`1:${number("edge", edge, "to")}`);
      for (const edge of recording.contributions(at.node)) before.push(`0:${number("edge", edge, "to")}`);
      before.push(`0:${at.node}`);
    } else {
      for (const edge of recording.arguments(at.node)) before.push(`0:${number("edge", edge, "from")}`);
    }
    const next = before.map((key) => all.get(key)).find((bad) => bad && !seen.has(bad.row));
    if (!next) break;
    walk.push(next);
    seen.add(next.row);
    at = next;
  }
  return walk;
}

export function BadNumbers() {
  const { found, walk } = useMemo(() => {
    const bad = badOnes();
    const all = new Map(bad.map((b) => [`${b.which}:${b.node}`, b]));
    const last = bad.at(-1);
    return { found: bad, walk: last ? walkFrom(last, all).reverse() : [] };
  }, []);
  if (!recording.stat.rows) return null;
  if (found.length === 0) {
    return (
      <Section title="NaN and infinities">
        <p class="verdict">✓ None: all values and gradients are finite.</p>
      </Section>
    );
  }
  const first = found[0]!;
  const go = (bad: Bad) => {
    reveal(bad.node);
    if (bad.event >= 0) goTo(bad.event + 1);
  };
  const line = (bad: Bad) => (
    <>
      <button type="button" class="link" onClick={() => go(bad)} title={recording.name(bad.node)}>
        {recording.name(bad.node)}
      </button>{" "}
      <span class="quiet">{bad.which === 0 ? "value" : "gradient"}:</span> <Cell table="stat" row={bad.row} column="nans" /> NaN,{" "}
      <Cell table="stat" row={bad.row} column="infs" /> infinite
    </>
  );
  return (
    <Section title="NaN and infinities" note={`${found.length} arrays have some`}>
      <p class="alert bad">✖ The first is {line(first)}</p>
      <p class="quiet small">The walk from there to the last one:</p>
      <ol class="bad-walk">
        {walk.map((bad) => (
          <li key={bad.row}>{line(bad)}</li>
        ))}
      </ol>
    </Section>
  );
}

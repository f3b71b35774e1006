/** Why a value is kept for the backward pass: the rules that read it, and what this node's own rule reads. */

import { goTo, recording, select } from "../model/view";
import { Cell } from "../number";
import { number, where } from "./data";
import { plainName } from "./maths";
import { Section } from "./section";

function NodeLink({ node }: { node: number }) {
  return (
    <button type="button" class="link" onClick={() => select(node)} title={recording.name(node)}>
      {plainName(node)}
    </button>
  );
}

export function WhySaved({ node }: { node: number }) {
  if (!recording.has("saved")) return <Section title="Kept for the backward pass" empty="What was kept is not recorded." />;
  const kept = where("saved", "node", node);
  const reads = where("reader", "node", node);
  const sources = reads.map((reader) => ({ reader, saved: savedOf(reader) })).filter(({ saved }) => saved >= 0);
  const byValue = new Map<number, number[]>();
  for (const { reader, saved } of sources) {
    const of = number("saved", saved, "node");
    byValue.set(of, [...(byValue.get(of) ?? []), number("reader", reader, "argnum")]);
  }
  return (
    <Section title="Kept for the backward pass">
      {kept.length === 0 ? <p class="quiet">Not kept: no rule reads this value.</p> : null}
      {kept.map((row) => {
        const from = number("saved", row, "from_event");
        const to = number("saved", row, "to_event");
        const start = number("saved", row, "readers_start");
        const count = number("saved", row, "readers_count");
        return (
          <div key={row} class="kept">
            <p>
              Costs <Cell table="saved" row={row} column="bytes" unit="bytes" />
              {number("saved", row, "bytes") === 0 ? <span class="quiet"> (its memory is there anyway)</span> : null}, from{" "}
              <button type="button" class="link" onClick={() => goTo(from + 1)}>
                event <Cell table="saved" row={row} column="from_event" />
              </button>{" "}
              {to >= 0 ? (
                <>
                  to{" "}
                  <button type="button" class="link" onClick={() => goTo(to + 1)}>
                    event <Cell table="saved" row={row} column="to_event" />
                  </button>
                </>
              ) : (
                "to the end"
              )}
              , because
            </p>
            <ul class="readers">
              {Array.from({ length: count }, (_, k) => {
                const reader = number("reader", start + k, "node");
                const argnum = number("reader", start + k, "argnum");
                return (
                  <li key={k}>
                    the rule of <NodeLink node={reader} /> <span class="quiet">({recording.opName(reader)})</span> reads it for the
                    gradient of {argumentText(reader, argnum)}
                  </li>
                );
              })}
            </ul>
          </div>
        );
      })}
      {byValue.size > 0 ? (
        <>
          <p>This node's own rule reads</p>
          <ul class="readers">
            {[...byValue].map(([of, argnums]) => (
              <li key={of}>
                {of === node ? "its own value" : <NodeLink node={of} />} for the gradient of{" "}
                {[...new Set(argnums)].map((a, i) => (
                  <span key={a}>
                    {i > 0 ? ", " : ""}
                    {argumentText(node, a)}
                  </span>
                ))}
              </li>
            ))}
          </ul>
        </>
      ) : null}
    </Section>
  );
}

function argumentText(node: number, argnum: number): string {
  for (const edge of recording.arguments(node)) {
    if (number("edge", edge, "argnum") === argnum) return plainName(number("edge", edge, "from"));
  }
  return `argument ${argnum}`;
}

let owner: Int32Array | undefined;

/** The row of `saved` to which a row of `reader` belongs. */
function savedOf(reader: number): number {
  if (!owner) {
    owner = new Int32Array(recording.table("reader").rows).fill(-1);
    for (let row = 0; row < recording.table("saved").rows; row++) {
      const start = number("saved", row, "readers_start");
      owner.fill(row, start, start + number("saved", row, "readers_count"));
    }
  }
  return owner[reader] ?? -1;
}

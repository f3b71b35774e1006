/** Units that take no part: dead ones of ReLU, saturated ones of what flattens, the worst first. */

import { unitBand } from "../model/bands";
import { recording, reveal, step } from "../model/view";
import { Cell } from "../number";
import { BandLimits } from "./bands";
import { all, number } from "./data";
import { Behind, Section } from "./section";

function Row({ row }: { row: number }) {
  const node = number("activation", row, "node");
  const out = unitBand(row);
  return (
    <tr>
      <th scope="row">
        <button type="button" class="link" onClick={() => reveal(node)}>
          {recording.name(node)}
        </button>
      </th>
      {(["dead", "zero", "saturated"] as const).map((column) => {
        const warn = column !== "zero" && out[column];
        return (
          <td key={column} class={warn ? "warn" : ""}>
            {warn ? "▲ " : ""}
            {Number.isNaN(number("activation", row, column)) ? <span class="quiet">–</span> : <Cell table="activation" row={row} column={column} unit="percent" />}
          </td>
        );
      })}
    </tr>
  );
}

function Table({ rows }: { rows: readonly number[] }) {
  return (
    <table class="stats">
      <thead>
        <tr>
          <th scope="col">activation</th>
          <th scope="col" title="units that are 0 for every example">
            dead
          </th>
          <th scope="col" title="elements that are 0">
            zeros
          </th>
          <th scope="col" title="elements whose slope is below 5 % of the steepest">
            saturated
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <Row key={row} row={row} />
        ))}
      </tbody>
    </table>
  );
}

const MOST = 8;

export function Units() {
  const at = step.value;
  const rows = all("activation").filter((row) => recording.node.number(number("activation", row, "node"), "step") === at);
  if (rows.length === 0) return null;
  const most = (row: number) => Math.max(number("activation", row, "dead") || 0, number("activation", row, "saturated") || 0);
  const out = rows.filter((row) => unitBand(row).dead || unitBand(row).saturated).sort((a, b) => most(b) - most(a));
  return (
    <Section title="Units that take no part" note={out.length ? `${out.length} of ${rows.length} activations` : ""}>
      {out.length ? <Table rows={out.slice(0, MOST)} /> : <p class="verdict">✓ No more units are dead or saturated than the bands allow.</p>}
      {out.length > MOST ? <p class="quiet">and {out.length - MOST} more</p> : null}
      <BandLimits names={["dead", "saturated"]} />
      {out.length < rows.length ? (
        <Behind title="All activations">
          <Table rows={rows} />
        </Behind>
      ) : null}
    </Section>
  );
}

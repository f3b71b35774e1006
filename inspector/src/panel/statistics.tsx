/** Statistics, histogram and state of health of a value and its gradient. */

import { Histogram } from "../charts/histogram";
import { unitBand } from "../model/bands";
import { recording } from "../model/view";
import { Cell } from "../number";
import { number, rowOf, where } from "./data";
import { usePhase } from "./phase";
import { Section } from "./section";

const COLUMNS: [string, string][] = [
  ["n", "numbers"],
  ["min", "min"],
  ["max", "max"],
  ["mean", "mean"],
  ["rms", "rms"],
  ["absmax", "largest size"],
  ["zeros", "zeros"],
  ["subnormals", "subnormal"],
  ["nans", "NaN"],
  ["infs", "infinite"],
];
const ALWAYS = 6; // rows that are shown whatever they hold

export interface Pill {
  readonly kind: "bad" | "warn";
  readonly text: string;
  readonly table: "stat" | "activation";
  readonly row: number;
  readonly column: string;
}

/** What is unhealthy about a row of statistics. */
export function pills(row: number, which: "value" | "delta", node: number): Pill[] {
  if (row < 0) return [];
  const get = (column: string) => number("stat", row, column);
  const found: Pill[] = [];
  const n = get("n");
  if (get("nans") > 0) found.push({ kind: "bad", text: "NaN", table: "stat", row, column: "nans" });
  if (get("infs") > 0) found.push({ kind: "bad", text: "infinite", table: "stat", row, column: "infs" });
  if (n > 1 && get("zeros") === n) found.push({ kind: "warn", text: "all zero", table: "stat", row, column: "zeros" });
  if (get("subnormals") > 0) found.push({ kind: "warn", text: "subnormal", table: "stat", row, column: "subnormals" });
  const unit = which === "value" ? rowOf("activation", node) : -1;
  if (unit >= 0) {
    if (unitBand(unit).dead) {
      found.push({ kind: "warn", text: "dead units", table: "activation", row: unit, column: "dead" });
    }
    if (unitBand(unit).saturated) {
      found.push({ kind: "warn", text: "saturated", table: "activation", row: unit, column: "saturated" });
    }
  }
  return found;
}

export function Health({ node }: { node: number }) {
  const { there, state } = usePhase(node);
  const rows: ["value" | "delta", number][] = [];
  if (there) rows.push(["value", recording.statRow(node, "value")]);
  if (state === "done") rows.push(["delta", recording.statRow(node, "delta")]);
  const found = rows.flatMap(([which, row]) => pills(row, which, node).map((pill) => ({ ...pill, which })));
  const lamp = where("lamp", "node", node)[0];
  const guilty = lamp !== undefined && number("lamp", lamp, "guilty") === 1;
  const known = rows.some(([, row]) => row >= 0);
  return (
    <span class="pills">
      {guilty ? (
        <span class="pill bad" title="The rule of this node does not balance: its derivative is wrong.">
          ✖ rule out of balance <Cell table="lamp" row={lamp} column="residual" digits={2} />
        </span>
      ) : null}
      {found.map(({ kind, text, which, table, row, column }) => (
        <span key={which + text} class={`pill ${kind}`}>
          {kind === "bad" ? "✖" : "▲"} {which === "delta" ? "δ " : ""}
          {text} <Cell table={table} row={row} column={column} unit={table === "activation" ? "percent" : "number"} />
        </span>
      ))}
      {known && found.length === 0 && !guilty ? <span class="pill good">✓ healthy</span> : null}
    </span>
  );
}

export function Statistics({ node }: { node: number }) {
  const { there, state } = usePhase(node);
  const value = there ? recording.statRow(node, "value") : -1;
  const delta = state === "done" ? recording.statRow(node, "delta") : -1;
  if (value < 0 && delta < 0) return null;
  if (recording.node.number(node, "size") === 1) return null;
  const rows = [value, delta];
  const edges = recording.info<number[]>("hist_edges");
  const shown = COLUMNS.filter(([column], i) => i < ALWAYS || rows.some((row) => row >= 0 && number("stat", row, column) > 0));
  return (
    <Section title="Statistics">
      <table class="stats">
        <thead>
          <tr>
            <td />
            <th scope="col">value</th>
            <th scope="col">δ</th>
          </tr>
        </thead>
        <tbody>
          {shown.map(([column, label]) => (
            <tr key={column}>
              <th scope="row">{label}</th>
              {rows.map((row, i) => (
                <td key={i}>{row >= 0 ? <Cell table="stat" row={row} column={column} /> : <span class="quiet">–</span>}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {edges ? (
        <div class="faces">
          {rows.map((row, i) => {
            const start = row >= 0 ? number("stat", row, "hist_start") : -1;
            if (!(start >= 0)) return <div class="face" key={i} />;
            const counts = recording.table("hist").numbers("count").subarray(start, start + edges.length - 1);
            return (
              <div class="face" key={i}>
                <Histogram
                  counts={counts}
                  edges={edges}
                  cell={(bin) => `hist:${start + bin}:count`}
                  label={`histogram of the ${i === 0 ? "value" : "gradient"}`}
                />
              </div>
            );
          })}
        </div>
      ) : null}
    </Section>
  );
}

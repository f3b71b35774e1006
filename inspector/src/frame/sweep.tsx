/** A declared sweep: what the engine recorded for other values of an input, a weight or a hyper-parameter, to be slid over. */

import { effect, signal } from "@preact/signals";
import { baseRecording, collect, sweptRecording, sweptRows, sweptTo } from "../model/sweep";
import { recording, spoken, step } from "../model/view";
import { Cell, formatAs } from "../number";
import { show, turn } from "./swap";
import "./sweep.css";

const trouble = signal("");
/** The variable that the slider is about. */
const variable = signal("");

function text(row: number, column: "variable" | "text"): string {
  return baseRecording().table("sweep").text(row, column);
}

function rowsOf(name: string): number[] {
  return Array.from({ length: sweptRows() }, (_, row) => row).filter((row) => text(row, "variable") === name);
}

/** A number of the recording that was saved, whichever is on show. */
function BaseCell({ row, column, unit }: { row: number; column: string; unit: "number" | "bytes" }) {
  const value = baseRecording().table("sweep").number(row, column);
  return (
    <span class="cell" data-base-cell={`sweep:${row}:${column}`} data-unit={unit} data-digits={4} title={String(value)}>
      {formatAs(value, unit)}
    </span>
  );
}

function Loss() {
  void turn.value;
  const row = Math.min(step.value, recording.table("step").rows - 1);
  return row >= 0 && recording.table("step").has("loss") ? (
    <span class="sweep-loss">
      loss <Cell table="step" row={row} column="loss" />
    </span>
  ) : null;
}

export function Sweep() {
  if (sweptRows() === 0) return null;
  const names = [...new Set(Array.from({ length: sweptRows() }, (_, row) => text(row, "variable")))];
  const at = sweptTo.value;
  const name = at >= 0 ? text(at, "variable") : variable.value || names[0]!;
  const rows = rowsOf(name);
  const place = rows.indexOf(at);
  const value = at >= 0 ? text(at, "text") : "as saved";
  const go = (k: number) => {
    sweptTo.value = rows[k] ?? -1;
    variable.value = name;
    spoken.value = sweptTo.value < 0 ? "the recording that was saved" : `recorded with ${name} = ${text(sweptTo.value, "text")}`;
  };
  return (
    <section class="sweep" aria-label="Sweep">
      <span class="sweep-kind" title="each value was computed by the engine when this page was made; nothing is computed here">
        recorded
      </span>
      {names.length > 1 ? (
        <select
          value={name}
          aria-label="variable of the sweep"
          onChange={(e) => {
            variable.value = e.currentTarget.value;
            sweptTo.value = -1;
          }}
        >
          {names.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      ) : (
        <span>{name}</span>
      )}
      <input
        type="range"
        min={-1}
        max={rows.length - 1}
        value={place}
        aria-label={`value of ${name}`}
        aria-valuetext={at >= 0 ? `${name} = ${value}, ${place + 1} of ${rows.length}` : value}
        onInput={(e) => go(Number(e.currentTarget.value))}
        onKeyDown={(e) => e.stopPropagation()}
      />
      <output>
        {at >= 0 ? (
          <>
            {name} = {Number.isNaN(baseRecording().table("sweep").number(at, "value")) ? value : <BaseCell row={at} column="value" unit="number" />}{" "}
            <span class="quiet">
              ({place + 1} of {rows.length}, <BaseCell row={at} column="bytes" unit="bytes" /> of the file)
            </span>
          </>
        ) : (
          <>
            as saved <span class="quiet">({rows.length} values beside it)</span>
          </>
        )}
      </output>
      <Loss />
      <button type="button" disabled={at < 0} onClick={() => go(-1)}>
        as saved
      </button>
      {trouble.value ? <span role="alert">{trouble.value}</span> : null}
    </section>
  );
}

/** Takes up the recordings in the page, and shows that which is chosen. */
export function startSweep(): void {
  collect(recording);
  if (sweptRows() === 0) return;
  let shown = -1;
  effect(() => {
    const row = sweptTo.value;
    if (row === shown) return;
    void (row < 0 ? Promise.resolve(baseRecording()) : sweptRecording(row)).then(
      (next) => {
        if (sweptTo.peek() !== row || shown === row) return; // another was chosen meanwhile
        shown = row;
        trouble.value = "";
        show(next);
      },
      (error: unknown) => (trouble.value = `this recording cannot be read: ${error instanceof Error ? error.message : error}`),
    );
  });
}

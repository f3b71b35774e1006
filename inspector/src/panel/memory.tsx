/** What the backward pass keeps in memory, event by event. */

import { useMemo, useState } from "preact/hooks";
import { categorical } from "../charts/colour";
import { Stack } from "../charts/stack";
import { goTo, hovered, recording, reveal, selected, theme, time } from "../model/view";
import { Cell, formatAs } from "../number";
import type { Unit } from "../number";
import { all, number } from "./data";
import { shortName } from "./maths";
import { Plans } from "./plans";
import { Behind, Section } from "./section";

/** The part of a module's path that tells one block from another: what colours bands. */
function groupOf(node: number): string {
  const path = recording.modulePath(recording.nodeModule[node]!);
  const parts = path.split(/[./]/);
  return parts.slice(0, /^\d+$/.test(parts[1] ?? "") ? 2 : 1).join(".") || "outside modules";
}

function Told({ row }: { row: number }) {
  const node = number("saved", row, "node");
  const start = number("saved", row, "readers_start");
  const count = number("saved", row, "readers_count");
  return (
    <>
      <Cell table="saved" row={row} column="bytes" unit="bytes" /> of{" "}
      <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
        {recording.name(node)}
      </button>
      {count > 0 ? (
        <>
          , kept for the rule of{" "}
          {Array.from({ length: Math.min(count, 3) }, (_, k) => number("reader", start + k, "node")).map((reader, k) => (
            <span key={k}>
              {k > 0 ? ", " : ""}
              <button type="button" class="link" onClick={() => reveal(reader)} title={recording.name(reader)}>
                {shortName(reader)}
              </button>
            </span>
          ))}
          {count > 3 ? ` and ${count - 3} more` : ""}
        </>
      ) : null}
    </>
  );
}

function Again({ row }: { row: number }) {
  const node = number("recompute", row, "node");
  return (
    <>
      <Cell table="recompute" row={row} column="kept" unit="bytes" /> of what the checkpoint{" "}
      <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
        {recording.name(node)}
      </button>{" "}
      computed again, until its rule has used it
    </>
  );
}

/** What checkpoints cost: values computed a second time instead of kept. */
function Checkpoints() {
  return (
    <Behind title={`Computed again by ${recording.table("recompute").rows} checkpoints`} open>
      <p class="quiet">
        In all <Info name="recomputed_values" /> values, <Info name="recomputed_bytes" unit="bytes" />, <Info name="recomputed_flops" unit="count" /> FLOP,{" "}
        <Info name="recomputed_ns" unit="time" />.
      </p>
      <table class="stats">
        <thead>
          <tr>
            <th scope="col">checkpoint</th>
            <th scope="col">values</th>
            <th scope="col">bytes</th>
            <th scope="col">kept of them</th>
            <th scope="col">time</th>
          </tr>
        </thead>
        <tbody>
          {all("recompute")
            .slice(0, 60)
            .map((row) => (
              <tr key={row}>
                <th scope="row">
                  <button
                    type="button"
                    class="link"
                    onClick={() => {
                      reveal(number("recompute", row, "node"));
                      goTo(number("recompute", row, "from_event") + 1);
                    }}
                  >
                    {recording.name(number("recompute", row, "node"))}
                  </button>
                </th>
                <td>
                  <Cell table="recompute" row={row} column="count" />
                </td>
                <td>
                  <Cell table="recompute" row={row} column="bytes" unit="bytes" />
                </td>
                <td>
                  <Cell table="recompute" row={row} column="kept" unit="bytes" />
                </td>
                <td>
                  <Cell table="recompute" row={row} column="ns" unit="time" />
                </td>
              </tr>
            ))}
        </tbody>
      </table>
    </Behind>
  );
}

export function MemoryPanel() {
  return (
    <>
      <Kept />
      <Plans />
    </>
  );
}

function Kept() {
  const saved = recording.table("saved");
  const [near, setNear] = useState(-1);
  const rows = useMemo(() => {
    const found = [];
    for (let row = 0; row < saved.rows; row++) if (number("saved", row, "bytes") > 0) found.push(row);
    return found;
  }, []);
  // what checkpoints compute again is held beside what is kept, each for a moment
  const again = useMemo(() => all("recompute").filter((row) => number("recompute", row, "kept") > 0), []);
  const held = useMemo(() => {
    const groups = new Map<string, number>();
    const named = (name: string) => {
      if (!groups.has(name)) groups.set(name, groups.size);
      return groups.get(name)!;
    };
    const pick = (column: string, other = column) => [
      ...rows.map((row) => number("saved", row, column)),
      ...again.map((row) => number("recompute", row, other)),
    ];
    const group = [...rows.map((row) => named(groupOf(number("saved", row, "node")))), ...again.map(() => named("computed again"))];
    const to = pick("to_event").map((event) => (event < 0 ? recording.events : event));
    return { chart: { from: pick("from_event"), to, bytes: pick("bytes", "kept"), group }, groups: [...groups.keys()] };
  }, [rows, again]);
  const nodeOf = (i: number) => (i < rows.length ? number("saved", rows[i]!, "node") : number("recompute", again[i - rows.length]!, "node"));
  if (rows.length === 0) {
    return <Section title="Memory" empty={saved.rows ? "Nothing is kept but parameters and inputs." : "What was kept is not recorded."} />;
  }
  const peak = recording.info<number>("peak_bytes") ?? NaN;
  const peakEvent = recording.info<number>("peak_event") ?? -1;
  const picked = rows.findIndex((row) => number("saved", row, "node") === selected.value);
  const atPeak = rows
    .filter((row) => number("saved", row, "from_event") <= peakEvent && (number("saved", row, "to_event") < 0 || number("saved", row, "to_event") > peakEvent))
    .sort((a, b) => number("saved", b, "bytes") - number("saved", a, "bytes"));
  const totals = recording.table("memory");
  const nowRow = totalRow(time.value);
  const told = near >= 0 ? near : picked;
  return (
    <Section title="Memory kept for the backward pass">
      <p class="headline">
        <span>
          at most <Info name="peak_bytes" unit="bytes" />, at{" "}
          <button type="button" class="link" onClick={() => goTo(peakEvent + 1)}>
            event {peakEvent}
          </button>
        </span>
        {totals.rows && nowRow >= 0 ? (
          <span class="quiet">
            now <Cell table="memory" row={nowRow} column="total" unit="bytes" />
          </span>
        ) : null}
      </p>
      <Stack
        held={held.chart}
        events={recording.events}
        peak={peak}
        peakEvent={peakEvent}
        now={time.value}
        label={`Bytes kept over ${recording.events} events`}
        theme={theme.value}
        picked={picked}
        onHover={(i) => {
          setNear(i);
          hovered.value = i >= 0 ? nodeOf(i) : -1;
        }}
        onPick={(i, event) => {
          reveal(nodeOf(i));
          goTo(event + 1);
        }}
      />
      <p class="readout tall">{told >= rows.length ? <Again row={again[told - rows.length]!} /> : told >= 0 ? <Told row={rows[told]!} /> : <span class="quiet">Point at a band: which value, and which rule needs it.</span>}</p>
      <p class="keys">
        {held.groups.slice(0, 12).map((name, i) => (
          <span key={name}>
            <i class="swatch" style={{ background: categorical(i) }} /> {name}
          </span>
        ))}
        {held.groups.length > 12 ? <span class="quiet">and {held.groups.length - 12} more</span> : null}
      </p>
      {recording.table("recompute").rows ? <Checkpoints /> : null}
      <Behind title="What is held at the peak, largest first">
        <table class="stats">
          <tbody>
            {atPeak.slice(0, 60).map((row) => (
              <tr key={row}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => reveal(number("saved", row, "node"))}>
                    {recording.name(number("saved", row, "node"))}
                  </button>
                </th>
                <td>
                  <Cell table="saved" row={row} column="bytes" unit="bytes" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Behind>
    </Section>
  );
}

function totalRow(now: number): number {
  const memory = recording.table("memory");
  const events = memory.numbers("event");
  let low = 0;
  let high = memory.rows;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (events[mid]! < now) low = mid + 1;
    else high = mid;
  }
  return low - 1;
}

/** A number of `info`, named as "info:0:name". */
export function Info({ name, unit = "number" }: { name: string; unit?: Unit }) {
  const value = recording.info<number>(name) ?? NaN;
  return (
    <b class="cell" data-cell={`info:0:${name}`} data-unit={unit} data-digits={4} title={String(value)}>
      {formatAs(value, unit)}
    </b>
  );
}

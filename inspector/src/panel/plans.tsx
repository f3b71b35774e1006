/** What other checkpoints would cost, side by side: bytes kept at most, operations done again, and the course of both. */

import { useState } from "preact/hooks";
import { Lines } from "../charts/lines";
import { recording, request, spoken } from "../model/view";
import { Cell } from "../number";
import { all, number, text } from "./data";
import { Behind, Section } from "./section";

const isLive = () => recording.info<boolean>("live") === true;

/** A bar for a share of which the largest, at least one, fills the width; the number stands beside it. */
function Bar({ column, row }: { column: "peak_share" | "flops_share"; row: number }) {
  const shares = all("plan").map((r) => number("plan", r, column));
  const share = number("plan", row, column);
  const width = Number.isFinite(share) ? share / Math.max(1, ...shares.filter(Number.isFinite)) : 0;
  return (
    <span class="plan-bar" aria-hidden="true">
      <i class={column} style={{ width: `${width * 100}%` }} />
    </span>
  );
}

/** Which parts are checkpoints in a plan. */
function segmentsOf(row: number): string {
  const start = number("plan", row, "segment_start");
  const found = Array.from({ length: number("plan", row, "segment_count") }, (_, k) => {
    const [first, last] = [text("plansegment", start + k, "first"), text("plansegment", start + k, "last")];
    return first === last ? first : `${first} to ${last}`;
  });
  return found.join(", ");
}

/** How a plan is told where its name does not say it all. */
function told(name: string): string {
  if (name === "none") return "no checkpoints: everything is kept";
  if (name === "as recorded") return "the checkpoints of the program itself";
  return "";
}

function curveOf(row: number) {
  const start = number("plan", row, "point_start");
  const count = number("plan", row, "point_count");
  const points = recording.table("planpoint");
  return {
    name: text("plan", row, "name"),
    x: points.numbers("at").subarray(start, start + count) as ArrayLike<number>,
    y: points.numbers("bytes").subarray(start, start + count) as ArrayLike<number>,
    start,
  };
}

/** A choice of parts: computed at once in a live page, as a command elsewhere. */
function Choose({ start }: { start: ReadonlySet<number> }) {
  const [parts, setParts] = useState(start);
  const named = [...parts].sort((a, b) => a - b).map((k) => text("planpart", k, "name"));
  const flip = (k: number) => {
    const next = new Set(parts);
    if (!next.delete(k)) next.add(k);
    setParts(next);
  };
  const command = `recording.save("step.html", checkpoints=[${named.map((n) => JSON.stringify(n)).join(", ")}])`;
  return (
    <Behind title="Choose the checkpoints yourself" open={isLive()}>
      <div class="plan-parts">
        {all("planpart").map((row) => (
          <label key={row}>
            <input type="checkbox" checked={parts.has(row)} onChange={() => flip(row)} /> <code>{text("planpart", row, "name")}</code>{" "}
            <Cell table="planpart" row={row} column="bytes" unit="bytes" class="quiet" />
          </label>
        ))}
      </div>
      {isLive() ? (
        <p>
          <button
            type="button"
            disabled={parts.size === 0}
            onClick={() => {
              request.value = { checkpoints: [...parts] };
              spoken.value = "the chosen checkpoints are computed";
            }}
          >
            compute the chosen
          </button>
        </p>
      ) : (
        <p class="quiet">
          A file holds the plans that were run when it was written. For this choice, in Python: <code class="command">{command}</code>
        </p>
      )}
    </Behind>
  );
}

export function Plans() {
  const plans = all("plan");
  const [picked, setPicked] = useState("");
  if (!recording.has("plans") || plans.length === 0) {
    const note = recording.table("plans").rows ? text("plans", 0, "note") : "";
    if (!isLive() || note) return note ? <Section title="Checkpoints compared" empty={`Not compared: ${note}`} /> : null;
    return (
      <Section title="Checkpoints compared">
        <p class="quiet">What would be kept, and what computed again, without checkpoints, with one for every k layers, and with your own?</p>
        <p>
          <button type="button" onClick={() => (request.value = { checkpoints: [] })}>
            run the step with each
          </button>
        </p>
      </Section>
    );
  }
  const note = text("plans", 0, "note");
  const chosen = plans.find((row) => text("plan", row, "name") === picked) ?? plans.filter((row) => number("plan", row, "least") === 1).at(-1)!;
  const shown = [...new Set([plans[0]!, chosen])].map(curveOf);
  const parts = new Map(all("planpart").map((row) => [text("planpart", row, "name"), row]));
  const own = plans.find((row) => text("plan", row, "name") === "chosen");
  const begun = new Set<number>();
  if (own !== undefined) {
    const start = number("plan", own, "segment_start");
    for (let k = 0; k < number("plan", own, "segment_count"); k++) {
      const at = parts.get(text("plansegment", start + k, "first"));
      if (at !== undefined) begun.add(at);
    }
  }
  return (
    <Section title="Checkpoints compared" note="each a run of this step by the engine">
      <table class="stats plans">
        <thead>
          <tr>
            <th scope="col">plan</th>
            <th scope="col" colSpan={2}>
              kept at most
            </th>
            <th scope="col" colSpan={2}>
              computed again, FLOP
            </th>
          </tr>
        </thead>
        <tbody>
          {plans.map((row) => {
            const name = text("plan", row, "name");
            return (
              <tr key={row} class={row === chosen ? "chosen" : ""} data-plan={name}>
                <th scope="row">
                  <button type="button" class="link" aria-pressed={row === chosen} onClick={() => setPicked(name)}>
                    {name}
                  </button>
                  {number("plan", row, "least") === 1 ? <span class="quiet"> least</span> : null}
                </th>
                <td>
                  <Cell table="plan" row={row} column="peak" unit="bytes" />
                </td>
                <td class="plan-side">
                  <Bar column="peak_share" row={row} />
                  <Cell table="plan" row={row} column="peak_share" unit="percent" />
                </td>
                <td>
                  <Cell table="plan" row={row} column="flops" unit="count" />
                </td>
                <td class="plan-side">
                  <Bar column="flops_share" row={row} />
                  <Cell table="plan" row={row} column="flops_share" unit="percent" />
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      <p class="quiet">
        Percent of what is kept without checkpoints, and of the <Cell table="plans" row={0} column="forward_flops" unit="count" /> FLOP of a forward pass.
        {number("plans", 0, "uncounted") > 0 ? (
          <>
            {" "}
            Of <Cell table="plans" row={0} column="uncounted" /> ops nobody counts the operations.
          </>
        ) : null}
        {note ? ` ${note}` : ""}
      </p>
      <Lines
        curves={shown}
        label={`Bytes kept during the run: ${shown.map((c) => c.name).join(" and ")}`}
        xLabel="part of the run that is done"
        yUnit="bytes"
        tell={(at) =>
          shown.map((curve, k) => (
            <span key={curve.name}>
              {curve.name} <Cell table="planpoint" row={curve.start + at[k]!} column="bytes" unit="bytes" />{" "}
            </span>
          ))
        }
      />
      <p class="plan-segments">
        <b>{text("plan", chosen, "name")}</b>: {told(text("plan", chosen, "name")) || `one checkpoint for ${segmentsOf(chosen)}`}; at the end of the forward
        pass <Cell table="plan" row={chosen} column="kept" unit="bytes" /> are kept, <Cell table="plan" row={chosen} column="values" /> values are computed
        again.
      </p>
      <Choose key={[...begun].join()} start={begun} />
    </Section>
  );
}

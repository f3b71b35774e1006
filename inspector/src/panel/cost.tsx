/** Time by operation, forward and backward. */

import { useMemo } from "preact/hooks";
import { Event } from "../model/recording";
import { recording } from "../model/view";
import { Cell } from "../number";
import { number, text } from "./data";
import { download } from "./export";
import { Behind, Section } from "./section";

/** Of a product Y = X W: what the gradient of either factor took, over the forward. */
const SIDES = [
  ["left_ratio", "dX", "the product that gives the gradient of the left factor, over the forward of the same nodes"],
  ["right_ratio", "dW", "the product that gives the gradient of the right factor, over the forward of the same nodes"],
] as const;

/** The events as Chrome's trace format reads them; what has no time is left out. */
function chromeTrace(): string {
  const event = recording.event;
  const nanoseconds = event.numbers("ns", 0);
  const events = [];
  let at = 0;
  for (let i = 0; i < event.rows; i++) {
    const ns = nanoseconds[i]!;
    if (!(ns > 0) || recording.eventKind[i] === Event.recompute) continue; // which the rule of its checkpoint contains
    const node = recording.eventNode[i]!;
    const backward = recording.eventKind[i]! >= 2;
    events.push({
      name: recording.opName(node) || recording.label(node),
      cat: backward ? "backward" : "forward",
      ph: "X",
      ts: at / 1000,
      dur: ns / 1000,
      pid: 1,
      tid: backward ? 2 : 1,
      args: { node: recording.name(node), event: i },
    });
    at += ns;
  }
  return JSON.stringify({ traceEvents: events, displayTimeUnit: "ns" });
}

export function CostPanel() {
  const { rows } = recording.table("optime");
  const order = useMemo(() => {
    const sum = (r: number) => number("optime", r, "forward_ns") + number("optime", r, "backward_ns");
    return Array.from({ length: rows }, (_, i) => i).filter((r) => sum(r) > 0).sort((a, b) => sum(b) - sum(a));
  }, [rows]);
  if (order.length === 0) return <Section title="Time" empty="Times were not recorded." />;
  const most = Math.max(...order.flatMap((r) => [number("optime", r, "forward_ns"), number("optime", r, "backward_ns")]));
  const bar = (r: number, column: string, kind: string) => (
    <span class="time-bar">
      <i class={kind} style={{ width: `${Math.max(0.5, (number("optime", r, column) / most) * 100)}%` }} />
      <Cell table="optime" row={r} column={column} unit="time" />
    </span>
  );
  return (
    <Section
      title="Time by operation"
      note="as it ran while it was recorded"
      tools={
        <button type="button" class="tool" onClick={() => download("trace.json", chromeTrace(), "application/json")}>
          trace.json
        </button>
      }
    >
      <table class="times">
        <thead>
          <tr>
            <th scope="col">operation</th>
            <th scope="col">forward</th>
            <th scope="col">backward</th>
            <th scope="col" title="backward over forward">
              ratio
            </th>
          </tr>
        </thead>
        <tbody>
          {order.slice(0, 16).map((r) => (
            <tr key={r}>
              <th scope="row">
                {text("op", number("optime", r, "op"), "name")} <span class="quiet">×<Cell table="optime" row={r} column="count" /></span>
              </th>
              <td>{bar(r, "forward_ns", "forward")}</td>
              <td>{bar(r, "backward_ns", "backward")}</td>
              <td>
                {Number.isFinite(number("optime", r, "ratio")) ? <Cell table="optime" row={r} column="ratio" digits={3} /> : null}
                {SIDES.map(([column, name, about]) =>
                  Number.isFinite(number("optime", r, column)) ? (
                    <span key={column} class="side quiet small" title={about}>
                      {name} <Cell table="optime" row={r} column={column} digits={3} />
                    </span>
                  ) : null,
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {order.length > 16 ? (
        <Behind title={`All ${order.length} operations`}>
          <table class="stats">
            <tbody>
              {order.map((r) => (
                <tr key={r}>
                  <th scope="row">{text("op", number("optime", r, "op"), "name")}</th>
                  <td>
                    <Cell table="optime" row={r} column="forward_ns" unit="time" />
                  </td>
                  <td>
                    <Cell table="optime" row={r} column="backward_ns" unit="time" />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Behind>
      ) : null}
    </Section>
  );
}

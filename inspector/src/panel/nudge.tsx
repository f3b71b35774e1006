/** A finite difference beside the gradient, and how its error depends on the size of the nudge. */

import { useMemo } from "preact/hooks";
import { Lines } from "../charts/lines";
import { recording } from "../model/view";
import { Cell } from "../number";
import { elementText } from "./cell";
import { number, where } from "./data";
import { Behind, Section } from "./section";

type Picked = { which: "value" | "delta"; element: number };

interface Props {
  node: number;
  picked: Picked | null;
  onPick: (picked: Picked) => void;
}

export function Nudge({ node, picked, onPick }: Props) {
  const rows = where("nudge", "node", node);
  const row = rows.find((r) => picked && number("nudge", r, "element") === picked.element) ?? rows[0];
  const curve = useMemo(() => {
    if (row === undefined) return null;
    const start = number("nudge", row, "point_start");
    const end = start + number("nudge", row, "point_count");
    const points = recording.table("nudgepoint");
    return {
      start,
      x: points.numbers("h").subarray(start, end),
      y: points.numbers("error").subarray(start, end),
    };
  }, [row]);
  if (row === undefined || !curve) return null;
  return (
    <Section title="Nudge test" note="the loss is run again with one number moved by ±h">
      {rows.length > 1 ? (
        <p class="choices">
          {rows.map((r) => (
            <button
              key={r}
              type="button"
              class={`chip${r === row ? " chosen" : ""}`}
              onClick={() => onPick({ which: "delta", element: number("nudge", r, "element") })}
            >
              {elementText(node, number("nudge", r, "element")) || "it"}
            </button>
          ))}
        </p>
      ) : null}
      <table class="stats">
        <tbody>
          <tr>
            <th scope="row">gradient, by the rules</th>
            <td>
              <Cell table="nudge" row={row} column="delta" digits={8} />
            </td>
          </tr>
          <tr>
            <th scope="row">
              difference at h = <Cell table="nudge" row={row} column="step" digits={2} />
            </th>
            <td>
              <Cell table="nudge" row={row} column="estimate" digits={8} />
            </td>
          </tr>
          <tr>
            <th scope="row">apart by</th>
            <td>
              <Cell table="nudge" row={row} column="error" digits={2} />
            </td>
          </tr>
        </tbody>
      </table>
      <Lines
        curves={[{ name: "error", x: curve.x, y: curve.y }]}
        label="Error of the difference quotient against the size of the nudge"
        xLabel="size of the nudge h"
        logX
        logY
        height={150}
        tell={([i = 0]) => (
          <>
            h = <Cell table="nudgepoint" row={curve.start + i} column="h" digits={2} />: estimate{" "}
            <Cell table="nudgepoint" row={curve.start + i} column="estimate" digits={8} />, error{" "}
            <Cell table="nudgepoint" row={curve.start + i} column="error" digits={2} />
          </>
        )}
      />
      <p class="quiet small">Too large a nudge sees the curvature, too small a one only rounding.</p>
      <Behind>
        <table class="stats">
          <thead>
            <tr>
              <th scope="col">h</th>
              <th scope="col">estimate</th>
              <th scope="col">error</th>
            </tr>
          </thead>
          <tbody>
            {Array.from({ length: curve.x.length }, (_, i) => (
              <tr key={i}>
                {["h", "estimate", "error"].map((column) => (
                  <td key={column}>
                    <Cell table="nudgepoint" row={curve.start + i} column={column} digits={column === "estimate" ? 8 : 2} />
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </Behind>
    </Section>
  );
}

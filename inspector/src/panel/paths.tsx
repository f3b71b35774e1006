/** How many paths lead from the loss to a parameter, the heaviest of them, and the split by branches taken. */

import { useState } from "preact/hooks";
import { decade } from "../charts/axis";
import { recording, reveal } from "../model/view";
import { Cell } from "../number";
import { ShareBar } from "./contributions";
import { number, rowOf, text, where } from "./data";
import { shortName } from "./maths";
import { Section } from "./section";

const FEW = 200; // paths that are written out unasked

function Walk({ start, count }: { start: number; count: number }) {
  return (
    <span class="walk">
      {Array.from({ length: count }, (_, k) => {
        const node = number("pathnode", start + k, "node");
        return (
          <span key={k}>
            {k > 0 ? <span class="quiet"> → </span> : null}
            <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
              {shortName(node)}
            </button>
          </span>
        );
      })}
    </span>
  );
}

function digits(count: string): string {
  return count.length <= 15 ? count.replace(/\B(?=(\d{3})+$)/g, "\u202f") : `about ${count[0]}.${count.slice(1, 3)} × ${decade(count.length - 1)}`;
}

export function Paths({ target }: { target: number }) {
  const row = rowOf("paths", target, "target");
  const graded = where("graded", "target", target);
  const [shown, setShown] = useState(FEW);
  if (row < 0 && graded.length === 0) return null;
  const listed = row >= 0 ? where("path", "paths", row) : [];
  return (
    <Section title="Paths">
      {row >= 0 ? (
        <>
          <p>
            <b data-cell-text={`paths:${row}:count`} title={text("paths", row, "count")}>
              {digits(text("paths", row, "count"))}
            </b>{" "}
            {text("paths", row, "count") === "1" ? "path leads" : "paths lead"} from the loss to it. The reverse pass visits every node once instead.
          </p>
          {number("paths", row, "heaviest_count") > 0 ? (
            <p class="small">
              <span class="quiet">heaviest: </span>
              <Walk start={number("paths", row, "heaviest_start")} count={number("paths", row, "heaviest_count")} />
            </p>
          ) : null}
          {Number.isFinite(number("paths", row, "entropy")) ? (
            <p class="small quiet">
              entropy <Cell table="paths" row={row} column="entropy" /> (by scalar weights of the edges)
            </p>
          ) : null}
          {listed.length ? (
            <details class="behind">
              <summary>
                {String(listed.length) === text("paths", row, "count") ? "All" : "The heaviest"} {listed.length} paths
              </summary>
              <ol class="scroll tall">
                {listed.slice(0, shown).map((p) => (
                  <li key={p} class="small">
                    <Cell table="path" row={p} column="weight" />: <Walk start={number("path", p, "start")} count={number("path", p, "count")} />
                  </li>
                ))}
              </ol>
              {listed.length > shown ? (
                <button type="button" class="link" onClick={() => setShown(listed.length)}>
                  the other {listed.length - shown} too
                </button>
              ) : null}
            </details>
          ) : null}
        </>
      ) : null}
      {graded.length ? (
        <table class="stats">
          <thead>
            <tr>
              <th scope="col">residual branches taken</th>
              <th scope="col" />
              <th scope="col">share</th>
            </tr>
          </thead>
          <tbody>
            {graded.map((r) => (
              <tr key={r}>
                <th scope="row">
                  <Cell table="graded" row={r} column="branches" />
                </th>
                <td>
                  <ShareBar share={number("graded", r, "share")} />
                </td>
                <td>
                  <Cell table="graded" row={r} column="share" unit="percent" />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      ) : null}
    </Section>
  );
}

/** One element taken apart: the products it is the sum of. */

import { recording, select } from "../model/view";
import { Cell } from "../number";
import { number, text, where } from "./data";
import { Maths, fill, plainName, shortName } from "./maths";
import { argumentName } from "./rules";
import { Section } from "./section";
import { indices } from "./tensors";

type Picked = { which: "value" | "delta"; element: number };

interface Props {
  node: number;
  picked: Picked | null;
  onPick: (picked: Picked) => void;
}

export function elementText(node: number, element: number): string {
  const shape = recording.dims(node);
  return shape.length ? `[${indices(shape, element).join(", ")}]` : "";
}

/** Rows of `cellview` that take apart a node's value, or its gradient: what its users' rules pass back. */
function viewsOf(node: number, which: "value" | "delta"): number[] {
  if (which === "value") return where("cellview", "node", node).filter((r) => number("cellview", r, "argnum") < 0);
  const found: number[] = [];
  for (const edge of recording.contributions(node)) {
    const child = number("edge", edge, "to");
    const argnum = number("edge", edge, "argnum");
    for (const row of where("cellview", "node", child)) if (number("cellview", row, "argnum") === argnum) found.push(row);
  }
  return found;
}

function Operand({ row, side }: { row: number; side: "left" | "right" }) {
  const node = number("cellterm", row, `${side}_node`);
  if (!(node >= 0)) return <Cell table="cellterm" row={row} column={side} />;
  const delta = number("cellterm", row, `${side}_which`) === 1;
  return (
    <>
      <Cell table="cellterm" row={row} column={side} />{" "}
      <button type="button" class="link quiet" title={recording.name(node)} onClick={() => select(node)}>
        {delta ? "δ " : ""}
        {plainName(node)}
        {elementText(node, number("cellterm", row, `${side}_element`))}
      </button>
    </>
  );
}

export function CellView({ node, picked, onPick }: Props) {
  if (!recording.has("cellview")) return null;
  const value = viewsOf(node, "value");
  const delta = viewsOf(node, "delta");
  if (value.length + delta.length === 0) return null;
  const chosen = picked ? (picked.which === "value" ? value : delta).filter((r) => number("cellview", r, "element") === picked.element) : [];
  const choices: Picked[] = [];
  for (const [which, rows] of [["value", value], ["delta", delta]] as const) {
    for (const element of [...new Set(rows.map((r) => number("cellview", r, "element")))].slice(0, 6)) choices.push({ which, element });
  }
  return (
    <Section title="One element taken apart" note={picked ? `${picked.which === "delta" ? "δ" : "value"}${elementText(node, picked.element)}` : null}>
      <p class="choices">
        <span class="quiet">taken apart in this recording: </span>
        {choices.map((c) => (
          <button
            key={c.which + c.element}
            type="button"
            class={`chip${picked?.which === c.which && picked.element === c.element ? " chosen" : ""}`}
            onClick={() => onPick(c)}
          >
            {c.which === "delta" ? "δ" : "value"}
            {elementText(node, c.element)}
          </button>
        ))}
      </p>
      {picked && chosen.length === 0 ? <p class="quiet">This element was not taken apart when the recording was made.</p> : null}
      {chosen.map((row) => {
        const start = number("cellview", row, "term_start");
        const count = number("cellview", row, "term_count");
        const argnum = number("cellview", row, "argnum");
        const latex = text("cellview", row, "latex");
        const maker = number("cellview", row, "node");
        return (
          <div key={row} class="apart">
            {argnum >= 0 ? (
              <p class="quiet">passed back by {shortName(maker)}</p>
            ) : null}
            {latex ? <Maths latex={fill(latex, maker, (k) => argumentName(maker, k))} /> : null}
            <div class="scroll tall">
              <table class="products">
                <tbody>
                  {Array.from({ length: Math.min(count, 256) }, (_, k) => {
                    const term = start + k;
                    const note = text("cellterm", term, "text");
                    const right = Number.isFinite(number("cellterm", term, "right"));
                    return (
                      <tr key={k}>
                        <td>
                          <Operand row={term} side="left" />
                        </td>
                        {right ? (
                          <>
                            <td class="sign">×</td>
                            <td>
                              <Operand row={term} side="right" />
                            </td>
                          </>
                        ) : (
                          <td colSpan={2} class="quiet">
                            {note}
                          </td>
                        )}
                        <td class="sign">=</td>
                        <td>
                          <Cell table="cellterm" row={term} column="product" />
                        </td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
            <p class="total">
              {count > 1 ? `sum of ${count} terms ` : ""}= <Cell table="cellview" row={row} column="total" digits={6} />
            </p>
          </div>
        );
      })}
    </Section>
  );
}

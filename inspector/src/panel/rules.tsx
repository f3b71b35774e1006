/** The local rule of a node: what it computed, and what it passes back to each argument. */

import { recording, select } from "../model/view";
import { argumentsOf, number, text, where } from "./data";
import { Maths, fill, latexName, latexOf, plainName, nearName } from "./maths";
import type { Factor } from "./maths";
import { Section } from "./section";

interface Props {
  node: number;
  onFactor: (factor: Factor) => void;
}

/** What stands at argument `argnum`: the name of a node, or a number. */
export function argumentName(node: number, argnum: number): string {
  const edge = argumentsOf(node).find((e) => number("edge", e, "argnum") === argnum);
  if (edge !== undefined) return latexOf(number("edge", edge, "from"));
  const literal = where("number", "node", node).find((r) => number("number", r, "argnum") === argnum);
  return literal === undefined ? `x_{${argnum}}` : text("number", literal, "text");
}

export function argumentNode(node: number, argnum: number): number {
  const edge = argumentsOf(node).find((e) => number("edge", e, "argnum") === argnum);
  return edge === undefined ? -1 : number("edge", edge, "from");
}

function NumbersOf({ node, argnum }: { node: number; argnum: number }) {
  const row = where("rulenumbers", "node", node).find((r) => number("rulenumbers", r, "argnum") === argnum);
  if (row === undefined) return null;
  const latex = text("rulenumbers", row, "latex");
  return (
    <div class="rule-numbers" data-cell-text={`rulenumbers:${row}:text`}>
      {latex ? <Maths latex={`= ${latex}`} /> : <code>= {text("rulenumbers", row, "text")}</code>}
    </div>
  );
}

export function Rules({ node, onFactor }: Props) {
  const formula = number("node", node, "formula");
  if (!(formula >= 0) || formula >= recording.table("formula").rows) {
    const kind = recording.kind(node);
    if (kind === "op") return <Section title="Local rule" empty="The formulas of this recording were not kept." />;
    return null;
  }
  const name = (argnum: number) => argumentName(node, argnum);
  const own = latexName(nearName(node));
  const forward = text("formula", formula, "shapes") || text("formula", formula, "forward_latex");
  const note = text("formula", formula, "note");
  const rules = where("rule", "formula", formula);
  const wanted = new Set(
    argumentsOf(node).filter((e) => number("edge", e, "wanted") !== 0).map((e) => number("edge", e, "argnum")),
  );
  const shown = rules.filter((r) => wanted.has(number("rule", r, "argnum")));
  const params = text("node", node, "params");
  return (
    <Section title="Local rule" note={params}>
      <div class="rule">
        <span class="rule-tag">forward</span>
        <Maths latex={`${own} = ${fill(forward, node, name)}`} onFactor={onFactor} />
        <NumbersOf node={node} argnum={-1} />
      </div>
      {shown.map((rule) => {
        const argnum = number("rule", rule, "argnum");
        const argument = argumentNode(node, argnum);
        const several = argument >= 0 && recording.contributions(argument).length > 1;
        const written = text("rule", rule, "shapes") || text("rule", rule, "latex");
        const partial = text("rule", rule, "partial");
        const left = `\\delta_{${name(argnum)}} ${several ? "\\mathrel{+}=" : "="} `;
        return (
          <div class="rule" key={rule}>
            <span class="rule-tag">
              back to{" "}
              {argument >= 0 ? (
                <button type="button" class="link" onClick={() => select(argument)} title={recording.name(argument)}>
                  {plainName(argument)}
                </button>
              ) : (
                `argument ${argnum}`
              )}
            </span>
            <Maths latex={left + fill(written, node, name)} onFactor={onFactor} />
            <NumbersOf node={node} argnum={argnum} />
            {partial ? (
              <div class="rule-partial quiet small">
                local derivative{" "}
                <Maths latex={`\\frac{\\partial\\,${own}}{\\partial\\,${name(argnum)}} = ${fill(partial, node, name)}`} onFactor={onFactor} />
              </div>
            ) : null}
          </div>
        );
      })}
      {note ? <p class="quiet">{note}</p> : null}
      {shown.length === 0 ? <p class="quiet">Nothing is passed back: no argument asks for a gradient.</p> : null}
      <p class="quiet small">Printed from the rules that ran. A factor opens what it stands for.</p>
    </Section>
  );
}

/** Which node, and which of its arrays, a factor of this node's formulas stands for. */
export function meaning(node: number, factor: Factor): { node: number; which: "value" | "delta" } {
  if (factor.kind === "argument") return { node: argumentNode(node, factor.argnum), which: "value" };
  return { node, which: factor.kind === "delta" ? "delta" : "value" };
}


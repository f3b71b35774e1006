/** Text of a tour: a few kinds of markup, formulas, and numbers that name their cell. Anything else is left out. */

import { useMemo } from "preact/hooks";
import type { ComponentChildren } from "preact";
import { Maths } from "./maths";

const PLAIN = new Set(["P", "EM", "STRONG", "CODE", "UL", "OL", "LI", "BR", "PRE", "H4", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD"]);

function convert(node: Node, key: number): ComponentChildren {
  if (node.nodeType === Node.TEXT_NODE) return node.textContent;
  if (!(node instanceof HTMLElement)) return null;
  const latex = node.dataset.latex;
  if (latex !== undefined) return <Maths key={key} latex={latex} display={node.tagName === "DIV"} />;
  const cell = node.dataset.cell;
  if (cell !== undefined) {
    return (
      <b key={key} class="cell" data-cell={cell}>
        {node.textContent}
      </b>
    );
  }
  const inner = [...node.childNodes].map(convert);
  if (!PLAIN.has(node.tagName)) return inner;
  const Tag = node.tagName.toLowerCase() as "p";
  return <Tag key={key}>{inner}</Tag>;
}

/** The text of `html` as it is read aloud: formulas by their source. */
export function spokenText(html: string): string {
  const { body } = new DOMParser().parseFromString(html, "text/html");
  for (const formula of body.querySelectorAll<HTMLElement>("[data-latex]")) formula.textContent = formula.dataset.latex ?? "";
  return body.textContent ?? "";
}

/** The text of `html`, rebuilt from what is allowed in it: no markup of a file runs in the page. */
export function Prose({ html }: { html: string }) {
  const parts = useMemo(() => {
    const parsed = new DOMParser().parseFromString(html, "text/html");
    return [...parsed.body.childNodes].map(convert);
  }, [html]);
  return <>{parts}</>;
}

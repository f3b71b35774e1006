/** Formulas of the rules that ran, with the names of one node in them; each name leads to what it stands for. */

import katex from "katex";
import { useMemo } from "preact/hooks";
import { recording, selected } from "../model/view";

const drawn = new Map<string, string>();

/** A formula as HTML with MathML beside it; drawn once. */
export function render(latex: string, display = false): string {
  const key = (display ? "d" : "i") + latex;
  let html = drawn.get(key);
  if (html === undefined) {
    html = katex.renderToString(latex, {
      displayMode: display,
      output: "htmlAndMathml",
      strict: "ignore",
      throwOnError: false,
      trust: (context) => context.command === "\\htmlData",
    });
    if (drawn.size > 4000) drawn.clear();
    drawn.set(key, html);
  }
  return html;
}

const SPECIAL: Record<string, string> = {
  "\\": "\\backslash{}", "^": "\\hat{}", "~": "\\sim{}", "'": "{\\prime}", " ": "\\ ",
};

/** A name as it is written in formulas: one letter slanted, digits behind it as an index, longer names upright. */
export function latexName(name: string): string {
  const indexed = /^([A-Za-z])_?(\d+)$/.exec(name);
  if (indexed) return `${indexed[1]}_{${indexed[2]}}`;
  if (/^[A-Za-z]$/.test(name)) return name;
  const escaped = [...name].map((c) => SPECIAL[c] ?? ("#$%&_{}".includes(c) ? `\\${c}` : c)).join("");
  return `\\mathrm{${escaped}}`;
}

/** The last part of a call path, or the label where there is one. */
export function shortName(node: number): string {
  const label = recording.label(node);
  return label.slice(label.lastIndexOf("/") + 1);
}

/** Beside the module around it: "outer.add"; where that does not tell, with its number. */
function widerName(node: number, alike: readonly number[]): string {
  const short = shortName(node);
  const around = (n: number) => {
    const parts = recording.name(n).split("/");
    return parts.length > 1 ? `${parts[0]!.slice(parts[0]!.lastIndexOf(".") + 1)}.${short}` : "";
  };
  const wide = around(node);
  if (wide && alike.every((n) => around(n) !== wide)) return wide;
  const last = recording.name(node).split("/").at(-1)!;
  return wide ? `${wide}${last.slice(short.length)}` : last;
}

/** The short name of a node that is drawn beside the selected one; told apart where several of its neighbours have the same. */
export function nearName(node: number): string {
  const short = shortName(node);
  const centre = selected.value;
  if (centre < 0) return short;
  const near = new Set([centre, ...recording.arguments(centre)].map((x, i) => (i ? recording.edgeFrom[x]! : x)));
  for (const edge of recording.uses(centre).subarray(0, 64)) near.add(recording.edgeTo[edge]!);
  const alike = [...near].filter((n) => n !== node && shortName(n) === short);
  return alike.length ? widerName(node, alike) : short;
}

/** What a node is called in running text: a transposed weight by the weight's name. */
export function plainName(node: number): string {
  const inner = recording.opName(node) === "permute_dims" ? recording.arguments(node)[0] : undefined;
  return inner !== undefined && recording.dims(node).length === 2 ? `${nearName(recording.edgeFrom[inner]!)}ᵀ` : nearName(node);
}

/** What a factor of a formula stands for: the value of an argument or of the node itself, or its gradient. */
export type Factor = { readonly kind: "argument"; readonly argnum: number } | { readonly kind: "out" | "delta" };

function factorOf(data: string): Factor | null {
  if (data === "out" || data === "delta") return { kind: data };
  const argnum = Number(data);
  return Number.isInteger(argnum) ? { kind: "argument", argnum } : null;
}

const marked = (what: string, body: string) => `\\htmlData{factor=${what}}{${body}}`;

/** What a node is called in formulas: its name, or what it is of another where it only moves numbers about. */
export function latexOf(node: number): string {
  const op = recording.opName(node);
  const inner = op === "permute_dims" || op === "broadcast_to" ? recording.arguments(node)[0] : undefined;
  if (inner === undefined) return latexName(nearName(node));
  const of = latexName(nearName(recording.edgeFrom[inner]!));
  if (op === "broadcast_to") return `\\operatorname{broadcast}(${of})`;
  return recording.dims(node).length === 2 ? `{${of}}^{\\mathsf{T}}` : latexName(nearName(node));
}

/** The placeholders of a formula filled with the names that this node and its arguments have. */
export function fill(latex: string, node: number, argument: (argnum: number) => string): string {
  const own = latexName(nearName(node));
  return latex
    .replace(/\{\\arg\{(\d+)\}\}\^/g, (whole, k: string) =>
      argument(Number(k)).includes("^") ? `{${marked(k, `\\left(${argument(Number(k))}\\right)`)}}^` : whole,
    )
    .replace(/\\arg\{(\d+)\}/g, (_, k: string) => marked(k, argument(Number(k))))
    .replace(/\\out(?![A-Za-z])/g, () => marked("out", own))
    .replace(/\\up(?![A-Za-z])/g, () => marked("delta", `\\delta_{${own}}`));
}

interface MathsProps {
  latex: string;
  display?: boolean;
  onFactor?: (factor: Factor) => void;
  class?: string;
}

/** A formula; its factors are buttons where `onFactor` says what they do. */
export function Maths({ latex, display = false, onFactor, class: className }: MathsProps) {
  const html = useMemo(() => {
    const drawnHtml = render(latex, display);
    if (!onFactor) return drawnHtml;
    // what can be pressed must not be hidden: here the drawn formula is read, not the MathML beside it
    return drawnHtml
      .replace('class="katex-mathml"', 'class="katex-mathml" aria-hidden="true"')
      .replace('class="katex-html" aria-hidden="true"', 'class="katex-html"')
      .replace(/<span class="([^"]*)" data-factor="(\w+)"/g, '<span class="$1 factor" role="button" tabindex="0" data-factor="$2"')
      .replace(/<span data-factor="(\w+)"/g, '<span class="factor" role="button" tabindex="0" data-factor="$1"');
  }, [latex, display, !!onFactor]);
  const choose = (event: MouseEvent | KeyboardEvent) => {
    const target = (event.target as Element).closest<HTMLElement>("[data-factor]");
    const factor = target && factorOf(target.dataset.factor!);
    if (!factor || !onFactor) return;
    if (event instanceof KeyboardEvent) {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
    }
    onFactor(factor);
  };
  return (
    <span
      class={`maths ${className ?? ""}`}
      dangerouslySetInnerHTML={{ __html: html }}
      onClick={choose}
      onKeyDown={choose}
    />
  );
}

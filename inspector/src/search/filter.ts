// The language of the search box: words, and conditions on columns.
//
//   conv                 in the name                 op:matmul shape:64x10 dtype:float64 kind:parameter module:h.3
//   has:nan has:inf      in the value or δ           is:merge is:saved is:leaf
//   delta.norm>1e-3      any column of statistics    value.absmax>10 bytes>1e6 uses>1
//   -word                not

import { NODE_KINDS } from "../model/recording";
import { recording } from "../model/view";

export interface Found {
  nodes: number[];
  /** What is wrong with the question, or "". */
  problem: string;
}

type Test = (node: number) => boolean;

const COMPARE: Record<string, (a: number, b: number) => boolean> = {
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
  ">=": (a, b) => a >= b,
  "<=": (a, b) => a <= b,
  "=": (a, b) => a === b,
};

const TEXTS: Record<string, (node: number) => string> = {
  name: (n) => recording.name(n),
  op: (n) => recording.opName(n),
  shape: (n) => recording.dims(n).join("x"),
  dtype: (n) => recording.dtype(n),
  kind: (n) => recording.kind(n),
  module: (n) => recording.modulePath(recording.nodeModule[n]!),
  class: (n) => recording.module.text(recording.nodeModule[n]!, "class"),
  source: (n) => {
    const source = recording.sourceOf(n);
    return source ? `${source.file}:${source.line}` : "";
  },
};

const STAT_NAMES: Record<string, "value" | "delta"> = { value: "value", delta: "delta", grad: "delta", δ: "delta" };

/** Words, quoted words, and conditions. */
function words(query: string): string[] {
  return [...query.matchAll(/-?(?:[^\s"]*"[^"]*"|[^\s"]+)/g)].map((m) => m[0].replaceAll('"', ""));
}

function bad(node: number, column: "nans" | "infs"): boolean {
  return (["value", "delta"] as const).some((which) => {
    const row = recording.statRow(node, which);
    return row >= 0 && recording.stat.number(row, column) > 0;
  });
}

function is(what: string): Test | string {
  switch (what) {
    case "merge":
      return (n) => recording.contributions(n).length > 1;
    case "saved":
      return (n) => recording.savedOfNode.start[n]! < recording.savedOfNode.start[n + 1]!;
    case "leaf":
      return (n) => recording.nodeKind[n]! < 3 && recording.completedEvent[n]! >= 0;
    case "shared":
      return (n) => recording.nodeKind[n] === 0 && recording.uses(n).length > 1;
    default:
      return `is:${what}? There are is:merge, is:saved, is:leaf and is:shared`;
  }
}

function testOf(word: string): Test | string {
  const compared = /^([\wδ]+)(?:\.(\w+))?(>=|<=|>|<|=)(.+)$/.exec(word);
  if (compared) {
    const [, first, second, sign, right] = compared as unknown as [string, string, string | undefined, string, string];
    const limit = Number(right);
    if (Number.isNaN(limit)) return `${right} is no number`;
    const holds = COMPARE[sign]!;
    const which = STAT_NAMES[first];
    if (which) {
      const column = second ?? "rms";
      if (!recording.stat.has(column)) return `no statistic named ${column}`;
      return (n) => {
        const row = recording.statRow(n, which);
        return row >= 0 && holds(recording.stat.number(row, column), limit);
      };
    }
    if (!recording.node.has(first) || recording.node.isText(first)) return `no column of numbers named ${first}`;
    return (n) => holds(recording.node.number(n, first), limit);
  }
  const keyed = /^([a-z]+):(.*)$/.exec(word);
  if (keyed) {
    const [, key, wanted] = keyed as unknown as [string, string, string];
    if (key === "has") {
      if (wanted === "nan") return (n) => bad(n, "nans");
      if (wanted === "inf") return (n) => bad(n, "infs");
      return wanted ? `has:${wanted}? There are has:nan and has:inf` : () => true;
    }
    if (key === "is") return wanted ? is(wanted) : () => true;
    const read = TEXTS[key];
    if (!read) return `${key}: is no key; there are ${Object.keys(TEXTS).join(", ")}, has and is`;
    const lower = wanted.toLowerCase().replaceAll("×", "x");
    if (key === "op" || key === "kind") {
      if (key === "kind" && lower && !NODE_KINDS.some((k) => k.startsWith(lower))) return `kinds are ${NODE_KINDS.join(", ")}`;
      return (n) => read(n).startsWith(lower);
    }
    if (key === "shape") return (n) => read(n) === lower || read(n).startsWith(`${lower}x`) || read(n).endsWith(`x${lower}`);
    return (n) => read(n).toLowerCase().includes(lower);
  }
  const lower = word.toLowerCase();
  return (n) => lowered(n).includes(lower);
}

let names: string[] = [];
let namesOf: unknown = null;

function lowered(node: number): string {
  if (namesOf !== recording) [names, namesOf] = [[], recording];
  if (!names.length) names = Array.from({ length: recording.nodes }, (_, i) => recording.name(i).toLowerCase());
  return names[node]!;
}

export function find(query: string, from: number, to: number): Found {
  const tests: Test[] = [];
  for (const word of words(query)) {
    const not = word.length > 1 && word.startsWith("-");
    const test = testOf(not ? word.slice(1) : word);
    if (typeof test === "string") return { nodes: [], problem: test };
    tests.push(not ? (n) => !test(n) : test);
  }
  const nodes: number[] = [];
  for (let n = from; n < to; n++) if (tests.every((test) => test(n))) nodes.push(n);
  return { nodes, problem: "" };
}

// Events in words: for the slider, the live region and the strip above the time.

import { EVENT_KINDS, type EventKind } from "./recording";
import { recording, time } from "./view";
import { formatBytes } from "../number";

export interface Described {
  kind: EventKind | "start";
  text: string;
}

/** The latest event before `at`, in words: "contribution 2 of 2 to δ of y, from u". */
export function describe(at: number): Described {
  const event = at - 1;
  if (event < 0 || event >= recording.events) return { kind: "start", text: "before the first event" };
  const kind = EVENT_KINDS[recording.eventKind[event]!]!;
  const node = recording.eventNode[event]!;
  const edge = recording.eventEdge[event]!;
  const name = node >= 0 ? recording.name(node) : "";
  switch (kind) {
    case "forward":
      return { kind, text: `forward: ${name} is computed` };
    case "save":
      if (inCheckpoint(event, node)) return { kind, text: `save: the checkpoint ${name} keeps a value until its rule has read it` };
      return { kind, text: `save: ${name} is kept for the backward pass` };
    case "seed":
      return { kind, text: `seed: the backward pass starts at ${name}` };
    case "vjp":
      return { kind, text: `vjp: the rule of ${name} runs` };
    case "contribution": {
      if (edge < 0) return { kind, text: `contribution to δ of ${name}` };
      const all = recording.contributions(node);
      const from = recording.name(recording.edgeTo[edge]!);
      return { kind, text: `contribution ${all.indexOf(edge) + 1} of ${all.length} to δ of ${name}, from ${from}` };
    }
    case "completed":
      return { kind, text: `δ of ${name} is complete` };
    case "free":
      if (inCheckpoint(event, node)) return { kind, text: `free: what the checkpoint ${name} computed again is gone` };
      return { kind, text: `free: ${name} is no longer kept` };
    case "recompute":
      return { kind, text: `recompute: the checkpoint ${name} computes a value of ${formatBytes(recording.event.number(event, "bytes"))} again` };
    case "update":
      return { kind, text: `update: ${name} takes its step` };
  }
}

/** Is an event about what the checkpoint `node` computes again? */
function inCheckpoint(event: number, node: number): boolean {
  const again = recording.table("recompute");
  if (!again.rows) return false;
  const [nodes, from, to] = [again.numbers("node"), again.numbers("from_event"), again.numbers("to_event")];
  for (let row = 0; row < again.rows; row++) {
    if (nodes[row] === node && from[row]! <= event && (to[row]! < 0 || event <= to[row]!)) return true;
  }
  return false;
}

/** "event 412 of 1903: vjp of h.3/mlp/fc" */
export function valueText(at: number, from: number, to: number): string {
  return `event ${at - from} of ${to - from}: ${describe(at).text}`;
}

/** What the latest event is about. */
export function nodeNow(): number {
  const event = time.value - 1;
  return event >= 0 && event < recording.events ? recording.eventNode[event]! : -1;
}

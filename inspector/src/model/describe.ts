// Events in words: for the slider, the live region and the strip above the time.

import { EVENT_KINDS, type EventKind } from "./recording";
import { recording, time } from "./view";

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
      return { kind, text: `free: ${name} is no longer kept` };
    case "recompute":
      return { kind, text: `recompute: ${name} is computed again` };
    case "update":
      return { kind, text: `update: ${name} takes its step` };
  }
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

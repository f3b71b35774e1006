// What the reader looks at: signals that every part of the page reads, and nothing else does.

import { computed, signal } from "@preact/signals";
import { Recording } from "./recording";

export type PanelName = "node" | "provenance" | "flow" | "memory" | "training" | "cost" | "tour";
export type Theme = "light" | "dark";

/** The recording on show. Set once, before anything is drawn. */
export let recording: Recording;

export function setRecording(given: Recording): void {
  recording = given;
}

/** How often the numbers of the recording have changed under the page, which only a live page does. */
export const version = signal(0);
/** The element that is looked at, of the value or of δ of a node. */
export const picked = signal<{ node: number; which: "value" | "delta"; element: number } | null>(null);
/** What the reader asks the engine for beside edits, where the page is connected to it. */
export const request = signal<object | null>(null);
/** How many events have happened: event e is in the past when e < time. */
export const time = signal(0);
/** The node in the panel, or -1. */
export const selected = signal(-1);
/** The module in the panel when no node is selected, or -1. */
export const selectedModule = signal(-1);
/** The node under the pointer, or -1. */
export const hovered = signal(-1);
/** Which step of a recording of many. */
export const step = signal(0);
export const panel = signal<PanelName>("node");
/** A column that colours the boxes; "time" shows what has happened. */
export const colourBy = signal("time");
export const colourScale = signal<"log" | "linear">("log");
/** How the colours of heatmaps follow the numbers. */
export const heatScale = signal<"linear" | "log">("linear");
/** What gives the edges their width. */
export const widthBy = signal<"none" | "norm" | "share">("norm");
export const query = signal("");
/** Nodes that the query finds, in forward order; null where nothing is asked. */
export const hits = signal<readonly number[] | null>(null);
/** Modules shown opened. */
export const expanded = signal<ReadonlySet<number>>(new Set());
/** First members of folds (x12) that are shown member by member. */
export const unfolded = signal<ReadonlySet<number>>(new Set());
/** The node whose gradient's provenance is shown, or -1. */
export const target = signal(-1);
/** Which of the targets' contributions is looked at in the panel, or -1. */
export const contribution = signal(-1);
export const theme = signal<Theme>("light");
export const playing = signal(false);
/** Events a second while playing. */
export const speed = signal(8);
/** Nodes at whose completed delta playing stops. */
export const breakpoints = signal<ReadonlySet<number>>(new Set());
/** What the live region says. */
export const spoken = signal("");
export const helpShown = signal(false);

/** Where the events of the chosen step begin and end. */
export const span = computed<[number, number]>(() => {
  const steps = recording.table("step");
  const at = step.value;
  if (steps.rows <= 1 || !steps.has("event_from")) return [0, recording.events];
  return [steps.number(at, "event_from"), steps.number(at, "event_to")];
});

export function toggleHeatScale(): void {
  heatScale.value = heatScale.value === "log" ? "linear" : "log";
  spoken.value = `colours of heatmaps: ${heatScale.value === "log" ? "logarithmic" : "linear"}`;
}

export function select(node: number): void {
  if (selected.value !== node) contribution.value = -1;
  selected.value = node;
  if (node >= 0) selectedModule.value = -1;
}

/** Selects a node and shows it: opens the modules around it and moves the camera there if needed. */
export const revealed = signal<{ node: number; turn: number }>({ node: -1, turn: 0 });

export function reveal(node: number): void {
  select(node);
  if (node >= 0) revealed.value = { node, turn: revealed.value.turn + 1 };
}

export function goTo(position: number): void {
  const [from, to] = span.value;
  time.value = Math.max(from, Math.min(to, Math.round(position)));
}

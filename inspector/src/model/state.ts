// What is drawn at a time: comparisons of integers with the events of nodes and edges.

import { recording } from "./view";

export type DeltaPhase = "none" | "waiting" | "ready" | "done";

export interface DeltaState {
  /** none: no contribution yet (or never one); waiting: `arrived` of `of`; ready: all in, not yet complete; done. */
  state: DeltaPhase;
  arrived: number;
  of: number;
}

/** Has the node's value been computed at `time`? Parameters, inputs and constants are there from the start. */
export function forwardDone(node: number, time: number): boolean {
  return recording.forwardEvent[node]! < time;
}

export function deltaState(node: number, time: number): DeltaState {
  const { usesOf, edgeEvent, completedEvent } = recording;
  let arrived = 0;
  let of = 0;
  for (let i = usesOf.start[node]!, end = usesOf.start[node + 1]!; i < end; i++) {
    const event = edgeEvent[usesOf.rows[i]!]!;
    if (event < 0) continue;
    of++;
    if (event < time) arrived++;
  }
  const completed = completedEvent[node]!;
  if (completed >= 0 && completed < time) return { state: "done", arrived, of };
  if (arrived === 0) return { state: "none", arrived, of };
  return { state: arrived < of ? "waiting" : "ready", arrived, of };
}

/** Has the edge's contribution arrived? */
export function edgeDone(edge: number, time: number): boolean {
  const event = recording.edgeEvent[edge]!;
  return event >= 0 && event < time;
}

/** Is the node's value kept for the backward pass at `time`? */
export function isSaved(node: number, time: number): boolean {
  const saved = recording.table("saved");
  const { start, rows } = recording.savedOfNode;
  const from = saved.numbers("from_event");
  const to = saved.numbers("to_event");
  for (let i = start[node]!; i < start[node + 1]!; i++) {
    const row = rows[i]!;
    if (from[row]! < time && (to[row]! < 0 || to[row]! >= time)) return true;
  }
  return false;
}

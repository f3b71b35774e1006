// Moving through the events: steps, jumps, playing, and where playing stops.

import { effect } from "@preact/signals";
import { Event } from "./recording";
import { breakpoints, goTo, playing, recording, selected, span, speed, spoken, time } from "./view";
import { describe } from "./describe";

export function stepBy(events: number): void {
  goTo(time.value + events);
}

/** To the next (or previous) event that is about the selected node. */
export function stepOfNode(direction: 1 | -1): void {
  const node = selected.value;
  if (node < 0) return stepBy(direction);
  const events = recording.eventsOf(node);
  const at = time.value;
  if (direction > 0) {
    for (const e of events) if (e + 1 > at) return goTo(e + 1);
  } else {
    for (let i = events.length - 1; i >= 0; i--) if (events[i]! + 1 < at) return goTo(events[i]! + 1);
  }
  spoken.value = `no ${direction > 0 ? "later" : "earlier"} event of ${recording.name(node)}`;
}

export function forwardStart(): void {
  goTo(span.value[0]);
}

/** To the seed: where the backward pass of the step on show begins. */
export function backwardStart(): void {
  const [from, to] = span.value;
  for (let e = from; e < to; e++) {
    if (recording.eventKind[e] === Event.seed) return goTo(e);
  }
}

/** Past all events of the module in which the next one happens: as a debugger steps over a call. */
export function stepOver(module: (node: number) => number, direction: 1 | -1 = 1): void {
  const [from, to] = span.value;
  let e = direction > 0 ? time.value : time.value - 1;
  if (e < from || e >= to) return;
  const here = module(recording.eventNode[e]!);
  while (e >= from && e < to && module(recording.eventNode[e]!) === here) e += direction;
  goTo(direction > 0 ? e : e + 1);
}

/** Events at which the first value, and the first δ, that is not a number appears; -1 where all are. */
export function firstBad(): number {
  const stats = recording.stat;
  if (!stats.has("nans")) return -1;
  const [nodes, which] = [stats.numbers("node"), stats.numbers("which")];
  const [nans, infs] = [stats.numbers("nans", 0), stats.numbers("infs", 0)];
  let first = Infinity;
  for (let row = 0; row < stats.rows; row++) {
    if (!(nans[row]! > 0 || infs[row]! > 0)) continue;
    const event = which[row] === 0 ? recording.forwardEvent[nodes[row]!]! : recording.completedEvent[nodes[row]!]!;
    if (event >= 0) first = Math.min(first, event);
  }
  return first === Infinity ? -1 : first;
}

/** Does playing stop after this event? */
function stopsAt(event: number, bad: number): boolean {
  if (event === bad) return true;
  return recording.eventKind[event] === Event.completed && breakpoints.value.has(recording.eventNode[event]!);
}

export function toggleBreakpoint(node: number): void {
  if (node < 0) return;
  const next = new Set(breakpoints.value);
  if (!next.delete(node)) next.add(node);
  breakpoints.value = next;
  spoken.value = next.has(node) ? `stops when δ of ${recording.name(node)} is complete` : "stop removed";
}

export function togglePlay(): void {
  if (!playing.value && time.value >= span.value[1]) goTo(span.value[0]);
  playing.value = !playing.value;
}

export function startPlayer(): void {
  let frame = 0;
  effect(() => {
    cancelAnimationFrame(frame);
    if (!playing.value) return;
    const bad = firstBad();
    let last = performance.now();
    let due = 0;
    const tick = (now: number): void => {
      due += ((now - last) / 1000) * speed.peek();
      last = now;
      let steps = Math.floor(due);
      due -= steps;
      let at = time.peek();
      const end = span.peek()[1];
      while (steps-- > 0 && at < end) {
        at++;
        if (stopsAt(at - 1, bad)) {
          playing.value = false;
          spoken.value = `stopped: ${describe(at).text}`;
          break;
        }
      }
      goTo(at);
      if (at >= end) playing.value = false;
      if (playing.peek()) frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  });
}

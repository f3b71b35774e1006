// What the colours of the boxes mean.

import { Event } from "../model/recording";
import { recording, span, time } from "../model/view";
import { formatAs } from "../number";
import { type Colouring, shade } from "./colours";

const RAMP = `linear-gradient(90deg, ${Array.from({ length: 13 }, (_, i) => shade(i / 12)).join(", ")})`;

export function Legend({ colouring }: { colouring: Colouring | null }) {
  if (colouring) {
    const { choice, low, high, log } = colouring;
    return (
      <div class="legend" aria-label="Legend">
        <span>{choice.name}</span>
        <span class="number">{formatAs(low, choice.unit, 3)}</span>
        <i class="ramp" style={{ background: RAMP }} />
        <span class="number">{formatAs(high, choice.unit, 3)}</span>
        <span class="quiet">{log ? "log" : "linear"}</span>
      </div>
    );
  }
  return (
    <div class="legend" aria-label="Legend">
      <span>
        <i class="swatch forward" /> value computed
      </span>
      <span>
        <i class="swatch waiting" /> δ waiting
      </span>
      <span>
        <i class="swatch backward" /> δ complete
      </span>
      <span>
        <i class="swatch saved" /> kept for backward
      </span>
      <Phase />
    </div>
  );
}

function Phase() {
  const [from, to] = span.value;
  const at = time.value - 1;
  let text = "before the first event";
  if (at >= from) text = at >= to - 1 ? "all events done" : backwards(at, from) ? "backward pass" : "forward pass";
  return <span class="quiet">{text}</span>;
}

let seeds: number[] = [];
let seedsOf: unknown = null;

function backwards(at: number, from: number): boolean {
  if (seedsOf !== recording) {
    [seeds, seedsOf] = [[], recording];
    for (let e = 0; e < recording.events; e++) if (recording.eventKind[e] === Event.seed) seeds.push(e);
  }
  return seeds.some((e) => e >= from && e <= at);
}

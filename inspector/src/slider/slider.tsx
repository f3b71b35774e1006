// The time: a slider over every event, and the buttons that move it.

import { useComputed, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Icon } from "../frame/icons";
import { toggleInPlace } from "../graph/graph";
import { scene } from "../graph/client";
import { describe, valueText } from "../model/describe";
import { backwardStart, firstBad, forwardStart, stepBy, stepOver, toggleBreakpoint, togglePlay } from "../model/play";
import { Event } from "../model/recording";
import { breakpoints, goTo, playing, recording, reveal, selected, span, speed, step, theme, time } from "../model/view";
import { readPalette } from "../graph/palette";

const SPEEDS = [1, 4, 8, 30, 120, 500];

/** The module, as drawn, in which a node is: what a step over passes. */
export function moduleShown(node: number): number {
  const s = scene.peek();
  const b = s ? s.boxOfNode[node]! : -1;
  if (!s || b < 0) return recording.nodeModule[node]!;
  return s.kind[b] === 0 ? recording.nodeModule[node]! : s.id[b]!;
}

/** One event further, and into the module where it happens. */
export function stepInto(): void {
  stepBy(1);
  const node = recording.eventNode[time.value - 1] ?? -1;
  const s = scene.peek();
  const b = s && node >= 0 ? s.boxOfNode[node]! : -1;
  if (s && b >= 0 && s.kind[b] !== 0) toggleInPlace(s.id[b]!);
}

export function goToFirstBad(): void {
  const event = firstBad();
  if (event < 0) return;
  goTo(event + 1);
  reveal(recording.eventNode[event]!);
}

export function Slider() {
  const [from, to] = span.value;
  const now = useComputed(() => describe(time.value));
  const bad = useRef<number | null>(null);
  bad.current ??= firstBad();
  const steps = recording.table("step").rows;
  return (
    <section class="time" aria-label="Time">
      <div class="controls">
        <button type="button" title="start of the forward pass (F)" aria-label="start of the forward pass" onClick={forwardStart}>
          <Icon name="first" />
        </button>
        <button type="button" title="step back over the module" aria-label="step back over the module" onClick={() => stepOver(moduleShown, -1)}>
          <Icon name="back" />
        </button>
        <button type="button" title="one event back (←)" aria-label="one event back" onClick={() => stepBy(-1)}>
          <Icon name="previous" />
        </button>
        <button
          type="button"
          class="play"
          title="play or pause (space)"
          aria-label={playing.value ? "pause" : "play"}
          onClick={togglePlay}
        >
          <Icon name={playing.value ? "pause" : "play"} />
        </button>
        <button type="button" title="one event on (→)" aria-label="one event on" onClick={() => stepBy(1)}>
          <Icon name="next" />
        </button>
        <button type="button" title="step over the module (O)" aria-label="step over the module" onClick={() => stepOver(moduleShown)}>
          <Icon name="over" />
        </button>
        <button type="button" title="step into the module (I)" aria-label="step into the module" onClick={stepInto}>
          <Icon name="into" />
        </button>
        <button type="button" title="start of the backward pass (B)" onClick={backwardStart}>
          backward
        </button>
        <button type="button" title="the end (End)" aria-label="the end" onClick={() => goTo(to)}>
          <Icon name="last" />
        </button>
        <label class="speed">
          <span class="visually-hidden">events a second</span>
          <select
            title="events a second"
            value={String(speed.value)}
            onChange={(event) => (speed.value = Number(event.currentTarget.value))}
          >
            {SPEEDS.map((s) => (
              <option key={s} value={s}>
                {s}/s
              </option>
            ))}
          </select>
        </label>
        <Stop />
        {bad.current >= 0 ? (
          <button type="button" class="bad" title="the first value or δ that is not finite (N)" onClick={goToFirstBad}>
            first NaN
          </button>
        ) : null}
        {steps > 1 ? (
          <label class="step">
            step{" "}
            <input
              type="range"
              min={0}
              max={steps - 1}
              value={step.value}
              aria-label="training step"
              aria-valuetext={`step ${step.value + 1} of ${steps}`}
              onInput={(event) => (step.value = Number(event.currentTarget.value))}
            />{" "}
            <output>
              {step.value + 1}/{steps}
            </output>
          </label>
        ) : null}
        <span class={`now ${now.value.kind}`}>{now.value.text}</span>
      </div>
      <div class="track">
        <Strip />
        <input
          id="slider"
          type="range"
          min={from}
          max={to}
          step={1}
          value={time.value}
          aria-label="event"
          aria-valuetext={valueText(time.value, from, to)}
          onInput={(event) => goTo(Number(event.currentTarget.value))}
        />
      </div>
      <output class="count">
        {time.value - from} / {to - from}
      </output>
    </section>
  );
}

function Stop() {
  const node = selected.value;
  const set = breakpoints.value.has(node);
  return (
    <button
      type="button"
      class={`break${set ? " set" : ""}`}
      disabled={node < 0 || recording.completedEvent[node]! < 0}
      aria-pressed={set}
      title="stop playing when δ of the selected node is complete (X)"
      onClick={() => toggleBreakpoint(node)}
    >
      <Icon name="stop" /> stop at δ
    </button>
  );
}

/** Under the slider: which events are of the forward and which of the backward pass, and those of the selected node. */
function Strip() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const draw = (): void => {
    const element = canvas.current;
    if (!element) return;
    const p = readPalette();
    const ratio = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [element.clientWidth, element.clientHeight];
    element.width = Math.max(1, Math.round(w * ratio));
    element.height = Math.max(1, Math.round(h * ratio));
    const c = element.getContext("2d")!;
    c.scale(ratio, ratio);
    const [from, to] = span.peek();
    const scale = w / Math.max(1, to - from);
    // runs of one colour are one rectangle
    let begun = from;
    const colourOf = (e: number): string => {
      const kind = recording.eventKind[e]!;
      if (kind === Event.forward || kind === Event.save) return p.forward;
      if (kind === Event.recompute) return p.saved;
      return kind === Event.update ? p.saved : p.backward;
    };
    c.globalAlpha = 0.5;
    for (let e = from; e < to; e++) {
      if (e + 1 < to && colourOf(e + 1) === colourOf(e)) continue;
      c.fillStyle = colourOf(e);
      c.fillRect((begun - from) * scale, h / 2 - 2, (e + 1 - begun) * scale, 4);
      begun = e + 1;
    }
    c.globalAlpha = 1;
    const mark = (node: number, colour: string, high: number): void => {
      c.fillStyle = colour;
      for (const e of recording.eventsOf(node)) {
        if (e >= from && e < to) c.fillRect((e + 1 - from) * scale - 1, h / 2 - high, 2, 2 * high);
      }
    };
    if (selected.peek() >= 0) mark(selected.peek(), p.ink, 7);
    c.fillStyle = p.bad;
    for (const node of breakpoints.peek()) {
      const e = recording.completedEvent[node]!;
      c.beginPath();
      c.arc((e + 1 - from) * scale, h / 2, 4, 0, 7);
      c.fill();
    }
  };
  useSignalEffect(() => {
    void [selected.value, breakpoints.value, span.value, theme.value];
    queueMicrotask(draw);
  });
  useEffect(() => {
    const size = new ResizeObserver(draw);
    size.observe(canvas.current!);
    return () => size.disconnect();
  }, []);
  return <canvas ref={canvas} class="strip" aria-hidden="true" />;
}

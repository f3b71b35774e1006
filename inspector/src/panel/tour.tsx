/** Guided tours: a step says where to look; where paths meet the reader predicts before the answer is shown. */

import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { goTo, panel, recording, reveal, spoken } from "../model/view";
import type { PanelName } from "../model/view";
import { text } from "./data";
import { NodePanel } from "./node";
import { Prose, spokenText } from "./prose";
import { Section } from "./section";

interface Choice {
  html: string;
  right: boolean;
  why: string;
}

interface Ask {
  html: string;
  choices: Choice[];
  reveal: string;
}

interface Step {
  title: string;
  html: string;
  node?: number;
  time?: number;
  panel?: PanelName;
  follow?: number[];
  ask?: Ask | null;
}

interface Tour {
  name: string;
  title: string;
  kind: "example" | "practice";
  intro: string;
  steps: Step[];
}

/** Where the reader is: which tour, which of its steps. */
export const tourAt = signal<{ tour: number; step: number } | null>(null);

function tours(): Tour[] {
  return Array.from({ length: recording.table("tour").rows }, (_, row) => JSON.parse(text("tour", row, "json")) as Tour);
}

function Question({ ask, onDone }: { ask: Ask; onDone: () => void }) {
  const [chosen, setChosen] = useState(-1);
  const [shown, setShown] = useState(false);
  const open = () => {
    setShown(true);
    onDone();
  };
  const choose = (i: number) => {
    setChosen(i);
    const { right } = ask.choices[i]!;
    spoken.value = right ? "right" : "not so";
    if (right) open();
  };
  const choice = ask.choices[chosen];
  return (
    <div class="predict">
      <div class="question">
        <Prose html={ask.html} />
      </div>
      <div class="options" role="group" aria-label="Answers">
        {ask.choices.map((option, i) => (
          <button
            key={i}
            type="button"
            class={`option${i === chosen ? (option.right ? " right" : " wrong") : ""}`}
            aria-pressed={i === chosen}
            onClick={() => choose(i)}
          >
            {i === chosen ? <span aria-hidden="true">{option.right ? "✓ " : "✖ "}</span> : null}
            <span class="visually-hidden">{spokenText(option.html)}</span>
            <span aria-hidden="true">
              <Prose html={option.html} />
            </span>
          </button>
        ))}
      </div>
      {choice?.why ? (
        <div class={choice.right ? "verdict" : "alert"} role="status">
          <Prose html={choice.why} />
        </div>
      ) : null}
      {shown ? (
        <div class="answer" data-revealed>
          <Prose html={ask.reveal} />
        </div>
      ) : (
        <button type="button" class="link" onClick={open}>
          Show me
        </button>
      )}
    </div>
  );
}

function Player({ tour, number }: { tour: Tour; number: number }) {
  const at = tourAt.value!.step;
  const step = tour.steps[at]!;
  const [done, setDone] = useState(!step.ask);
  useEffect(() => {
    setDone(!step.ask);
    if (step.node !== undefined && step.node >= 0) reveal(step.node);
    if (step.time !== undefined && step.time >= 0) goTo(step.time);
    panel.value = step.panel && step.panel !== "node" ? step.panel : "tour";
    spoken.value = `step ${at + 1} of ${tour.steps.length}: ${step.title}`;
  }, [number, at]);
  const move = (to: number) => {
    tourAt.value = { tour: number, step: to };
  };
  const last = at + 1 === tour.steps.length;
  return (
    <article class="tour" aria-label={tour.title}>
      <header>
        <button type="button" class="link" onClick={() => (tourAt.value = null)}>
          All tours
        </button>
        <span class="quiet">
          {tour.title}, {at + 1} of {tour.steps.length}
        </span>
      </header>
      <div class="progress" aria-hidden="true">
        {tour.steps.map((_, i) => (
          <i key={i} class={i <= at ? "done" : ""} />
        ))}
      </div>
      <div class="tour-step" key={`${number}:${at}`} data-tour-step={at}>
        <h2>{step.title}</h2>
        <Prose html={step.html} />
        {step.ask ? <Question ask={step.ask} onDone={() => setDone(true)} /> : null}
      </div>
      {step.follow?.length ? (
        <p class="follow">
          <span class="quiet">see </span>
          {step.follow.map((node) => (
            <button key={node} type="button" class="chip" onClick={() => reveal(node)}>
              {recording.label(node)}
            </button>
          ))}
        </p>
      ) : null}
      <footer>
        <button type="button" disabled={at === 0} onClick={() => move(at - 1)}>
          Back
        </button>
        <button type="button" class={done ? "primary" : ""} onClick={() => (last ? (tourAt.value = null) : move(at + 1))}>
          {last ? "Finish" : "Next"}
        </button>
      </footer>
    </article>
  );
}

/** The running tour, above whatever panel it speaks of. */
export function TourStrip() {
  const all = useMemo(tours, []);
  const at = tourAt.value;
  const tour = at && all[at.tour];
  return tour ? <Player tour={tour} number={at.tour} /> : null;
}

export function TourPanel() {
  const all = useMemo(tours, []);
  if (all.length === 0) return <Section title="Tours" empty="This recording has no tour." />;
  if (tourAt.value) return <NodePanel />;
  return (
    <Section title="Tours" note="predict, then look">
      <ul class="tours">
        {all.map((tour, i) => (
          <li key={i}>
            <h4>
              {tour.title} {tour.kind === "practice" ? <span class="quiet">practice</span> : null}
            </h4>
            <Prose html={tour.intro} />
            <button type="button" class="primary" onClick={() => (tourAt.value = { tour: i, step: 0 })}>
              Begin
            </button>
          </li>
        ))}
      </ul>
    </Section>
  );
}

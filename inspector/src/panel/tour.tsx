/** Guided tours: a step says where to look; at a merge the reader predicts before the number is shown. */

import { signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { goTo, panel, recording, reveal, spoken } from "../model/view";
import type { PanelName } from "../model/view";
import { formatAs } from "../number";
import { text } from "./data";
import { Maths, Prose } from "./maths";
import { NodePanel } from "./node";
import { Section } from "./section";

interface Option {
  text?: string;
  latex?: string;
  right: boolean;
  says: string;
}

interface Prediction {
  question: string;
  options?: Option[];
  cell?: string;
  answer?: string;
  latex?: string;
}

interface Step {
  text: string;
  latex?: string;
  node?: string;
  event?: number;
  panel?: PanelName;
  predict?: Prediction;
}

interface Tour {
  title: string;
  intro: string;
  steps: Step[];
}

/** Where the reader is: which tour, which of its steps. */
export const tourAt = signal<{ tour: number; step: number } | null>(null);

function tours(): Tour[] {
  return Array.from({ length: recording.table("tour").rows }, (_, row) => JSON.parse(text("tour", row, "json")) as Tour);
}

/** The number in a cell named as table:row:column, or of an element as array:row:raw:index. */
export function cellValue(cell: string): number {
  const [table, row, column, index] = cell.split(":") as [string, string, string, string | undefined];
  if (index !== undefined) return recording.contents(Number(row))?.at(Number(index)) ?? NaN;
  return recording.table(table).number(Number(row), column);
}

function Shown({ cell }: { cell: string }) {
  return (
    <b class="cell" data-cell={cell} data-unit="number" data-digits={6}>
      {formatAs(cellValue(cell), "number", 6)}
    </b>
  );
}

/** Is the typed number the recorded one, to what people write down? */
function matches(typed: string, value: number): boolean {
  const given = Number(typed.replace(",", ".").replace("−", "-"));
  if (typed.trim() === "" || Number.isNaN(given)) return false;
  return Math.abs(given - value) <= 1e-6 * Math.max(Math.abs(value), 1e-300) || Number(value.toPrecision(3)) === given;
}

function Predict({ predict, onDone }: { predict: Prediction; onDone: () => void }) {
  const [typed, setTyped] = useState("");
  const [said, setSaid] = useState<{ right: boolean; text: string } | null>(null);
  const [shown, setShown] = useState(false);
  const say = (right: boolean, message: string) => {
    setSaid({ right, text: message });
    spoken.value = message;
    if (right) {
      setShown(true);
      onDone();
    }
  };
  const reveal = () => {
    setShown(true);
    onDone();
  };
  return (
    <div class="predict">
      <p class="question">
        <Prose text={predict.question} />
      </p>
      {predict.options ? (
        <div class="options" role="group" aria-label="Answers">
          {predict.options.map((option, i) => (
            <button
              key={i}
              type="button"
              class={`option${said && said.text === option.says ? (option.right ? " right" : " wrong") : ""}`}
              onClick={() => say(option.right, option.says)}
            >
              {option.latex ? <Maths latex={option.latex} /> : <Prose text={option.text ?? ""} />}
            </button>
          ))}
        </div>
      ) : predict.cell ? (
        <form
          onSubmit={(e) => {
            e.preventDefault();
            const right = matches(typed, cellValue(predict.cell!));
            say(right, right ? "Right." : "Not this number. Try again, or let it be shown.");
          }}
        >
          <input
            type="text"
            inputMode="decimal"
            aria-label="Your prediction"
            placeholder="a number"
            value={typed}
            onInput={(e) => setTyped(e.currentTarget.value)}
            onKeyDown={(e) => e.stopPropagation()}
          />
          <button type="submit">Check</button>
        </form>
      ) : null}
      {said ? (
        <p class={said.right ? "verdict" : "alert"} role="status">
          {said.right ? "✓ " : "✖ "}
          <Prose text={said.text} />
        </p>
      ) : null}
      {shown ? (
        <p class="answer" data-revealed>
          {predict.cell ? <Shown cell={predict.cell} /> : null} {predict.latex ? <Maths latex={predict.latex} /> : null}{" "}
          {predict.answer ? <Prose text={predict.answer} /> : null}
        </p>
      ) : (
        <button type="button" class="link" onClick={reveal}>
          Show me
        </button>
      )}
    </div>
  );
}

function Player({ tour, number }: { tour: Tour; number: number }) {
  const at = tourAt.value!.step;
  const step = tour.steps[at]!;
  const [done, setDone] = useState(!step.predict);
  useEffect(() => {
    setDone(!step.predict);
    if (step.node) {
      const node = recording.find(step.node);
      if (node >= 0) reveal(node);
    }
    if (step.event !== undefined) goTo(step.event);
    panel.value = step.panel && step.panel !== "node" ? step.panel : "tour";
    spoken.value = `step ${at + 1} of ${tour.steps.length}`;
  }, [number, at]);
  const move = (to: number) => {
    tourAt.value = { tour: number, step: to };
  };
  return (
    <article class="tour">
      <header>
        <button type="button" class="link" onClick={() => (tourAt.value = null)}>
          All tours
        </button>
        <span class="quiet">
          {at + 1} of {tour.steps.length}
        </span>
      </header>
      <h2>{tour.title}</h2>
      <div class="progress" aria-hidden="true">
        {tour.steps.map((_, i) => (
          <i key={i} class={i <= at ? "done" : ""} />
        ))}
      </div>
      <div class="tour-step" key={`${number}:${at}`} data-tour-step={at}>
        {step.text.split(/\n\n+/).map((paragraph, i) => (
          <p key={i}>
            <Prose text={paragraph} />
          </p>
        ))}
        {step.latex ? <Maths latex={step.latex} display /> : null}
        {step.predict ? <Predict predict={step.predict} onDone={() => setDone(true)} /> : null}
      </div>
      <footer>
        <button type="button" disabled={at === 0} onClick={() => move(at - 1)}>
          Back
        </button>
        {at + 1 < tour.steps.length ? (
          <button type="button" class={done ? "primary" : ""} onClick={() => move(at + 1)}>
            Next
          </button>
        ) : (
          <button type="button" class={done ? "primary" : ""} onClick={() => (tourAt.value = null)}>
            Finish
          </button>
        )}
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
  const at = tourAt.value;
  if (all.length === 0) return <Section title="Tours" empty="This recording has no tour." />;
  if (at) return <NodePanel />;
  return (
    <Section title="Tours" note="predict, then look">
      <ul class="tours">
        {all.map((tour, i) => (
          <li key={i}>
            <h4>{tour.title}</h4>
            <p>
              <Prose text={tour.intro} />
            </p>
            <button type="button" class="primary" onClick={() => (tourAt.value = { tour: i, step: 0 })}>
              Begin
            </button>
          </li>
        ))}
      </ul>
    </Section>
  );
}

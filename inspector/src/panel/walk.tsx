/** The first number that is not finite, and the way from there back to its cause. */

import { useMemo } from "preact/hooks";
import { goTo, recording, reveal } from "../model/view";
import { number, text } from "./data";
import { Section } from "./section";

const WHICH = ["value", "gradient", "contribution"];

/** How many values and gradients have NaN or infinities in them. */
function badCount(): number {
  const { stat } = recording;
  const nans = stat.numbers("nans", 0);
  const infs = stat.numbers("infs", 0);
  const which = stat.numbers("which");
  let count = 0;
  for (let row = 0; row < stat.rows; row++) if (which[row]! < 2 && (nans[row]! > 0 || infs[row]! > 0)) count++;
  return count;
}

export function BadNumbers() {
  const count = useMemo(badCount, []);
  const { rows } = recording.table("badwalk");
  if (!recording.stat.rows) return null;
  if (count === 0 && rows === 0) {
    return (
      <Section title="NaN and infinities">
        <p class="verdict">✓ None: all values and gradients are finite.</p>
      </Section>
    );
  }
  const event = number("badwalk", 0, "event");
  return (
    <Section title="NaN and infinities" note={`${count} arrays have some`}>
      {rows ? (
        <>
          <p class="alert bad">
            ✖ The first appears at{" "}
            <button type="button" class="link" onClick={() => goTo(event + 1)}>
              event {event}
            </button>
            . From there back to its cause:
          </p>
          <ol class="bad-walk">
            {Array.from({ length: rows }, (_, row) => {
              const node = number("badwalk", row, "node");
              const element = text("badwalk", row, "element");
              return (
                <li key={row}>
                  <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
                    {recording.name(node)}
                  </button>{" "}
                  <span class="quiet">
                    {WHICH[number("badwalk", row, "which")]}
                    {element === "[]" ? "" : ` ${element}`}:
                  </span>{" "}
                  {text("badwalk", row, "text")}
                </li>
              );
            })}
          </ol>
        </>
      ) : null}
    </Section>
  );
}

/** The limits beyond which something is amber or red, to be moved by the reader. */

import { useState } from "preact/hooks";
import { chooseLimit, chosenLimits, givenLimits, type Limit, limits, resetLimits } from "../model/bands";
import { spoken } from "../model/view";

const ABOUT: Readonly<Record<Limit, { name: string; unit: string; step: string; title: string }>> = {
  amber: { name: "amber beyond", unit: "powers of ten", step: "0.5", title: "by so much the gradient at a layer may be larger or smaller than at the last layer" },
  red: { name: "red beyond", unit: "powers of ten", step: "0.5", title: "by so much the gradient at a layer may be larger or smaller than at the last layer" },
  dead: { name: "dead above", unit: "of the units", step: "0.05", title: "the fraction of units that may be 0 for every example" },
  saturated: { name: "saturated above", unit: "of the elements", step: "0.05", title: "the fraction of elements whose slope may be below 5 % of the steepest" },
  least_update: { name: "update from", unit: "of the weight", step: "any", title: "norm of the change over that of the parameter; red below a tenth of it" },
  most_update: { name: "update to", unit: "of the weight", step: "any", title: "norm of the change over that of the parameter; red above ten times it" },
};

function Field({ name }: { name: Limit }) {
  const [wrong, setWrong] = useState(false);
  const { name: label, unit, step, title } = ABOUT[name];
  return (
    <label class="limit" title={title}>
      <span>{label}</span>
      <input
        type="number"
        min={0}
        step={step}
        data-limit={name}
        aria-label={`${label}, ${unit}: ${title}`}
        aria-invalid={wrong}
        value={limits.value[name]}
        onKeyDown={(e) => e.stopPropagation()}
        onInput={(e) => setWrong(e.currentTarget.value === "" || !chooseLimit(name, Number(e.currentTarget.value)))}
        onBlur={(e) => {
          e.currentTarget.value = String(limits.peek()[name]);
          setWrong(false);
        }}
      />
      <span class="quiet">{unit}</span>
    </label>
  );
}

/** The limits named, closed until asked for; "reset" goes back to those of the file. */
export function BandLimits({ names }: { names: readonly Limit[] }) {
  const changed = names.some((name) => name in chosenLimits.value);
  const told = names.map((name) => `${ABOUT[name].name} ${limits.value[name]}`).join(", ");
  return (
    <details class="behind limits">
      <summary>
        Bands: {told}
        {changed ? " (changed)" : ""}
      </summary>
      <div class="limit-fields">
        {names.map((name) => (
          <Field key={name} name={name} />
        ))}
        <button
          type="button"
          class="link"
          disabled={Object.keys(chosenLimits.value).length === 0}
          title={Object.entries(givenLimits.value)
            .map(([name, value]) => `${ABOUT[name as Limit]?.name ?? name} ${value}`)
            .join(", ")}
          onClick={() => {
            resetLimits();
            spoken.value = "the bands of the recording again";
          }}
        >
          reset
        </button>
      </div>
    </details>
  );
}

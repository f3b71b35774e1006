/** Value and gradient of a node side by side under one cursor. */

import { useSignal } from "@preact/signals";
import type { Signal } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Heatmap } from "../charts/heatmap";
import type { Place } from "../charts/heatmap";
import { inkOn, isDark, signed, toned } from "../charts/colour";
import type { Contents } from "../model/recording";
import { goTo, heatScale, recording, theme, toggleHeatScale } from "../model/view";
import { Element } from "../number";
import { CopyButton } from "./copy";
import { contents, number, reach, where } from "./data";
import { usePhase } from "./phase";
import type { Phase } from "./phase";
import { Section } from "./section";

/** Which row of `array` shows the gradient of a node: the running sum while contributions arrive. */
function deltaArray(node: number, { state, arrived }: Phase): number {
  if (state === "done") return recording.arrayRow(node, "delta");
  if (arrived === 0) return -1;
  const partial = where("partial", "node", node).find((r) => number("partial", r, "order") === arrived - 1);
  return partial === undefined ? -1 : number("partial", partial, "array");
}

interface FaceProps {
  title: string;
  about: string;
  array: number;
  shape: number[];
  cursor: Signal<Place | null>;
  slice: number;
  lit: boolean;
  missing: string;
  python: string;
  onPick?: ((place: Place) => void) | undefined;
  picked?: Place | null | undefined;
}

/** Indices of an element from its place in the contents. */
export function indices(shape: readonly number[], index: number): number[] {
  const found: number[] = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    found.unshift(index % shape[axis]!);
    index = Math.floor(index / shape[axis]!);
  }
  return found;
}

const FEW_ROWS = 8;
const FEW_COLS = 5;

/** Few numbers are written into their coloured cells. */
function Written({ array, matrix, slice, cursor, absmax, onPick, picked, label }: {
  array: number;
  matrix: Contents;
  slice: number;
  cursor: Signal<Place | null>;
  absmax: number;
  label: string;
  onPick?: ((place: Place) => void) | undefined;
  picked?: Place | null | undefined;
}) {
  const dark = theme.value === "dark" || isDark();
  const { rows, cols } = matrix;
  const base = slice * rows * cols;
  const at = cursor.value;
  return (
    <table class="written" aria-label={label} onPointerLeave={() => (cursor.value = null)}>
      <tbody>
        {Array.from({ length: rows }, (_, row) => (
          <tr key={row}>
            {Array.from({ length: cols }, (_, col) => {
              const index = base + row * cols + col;
              const value = matrix.at(index);
              const t = toned(value, absmax, heatScale.value);
              const here = at?.row === row && at.col === col;
              const chosen = picked?.row === row && picked.col === col;
              const tone = Number.isNaN(value) ? "rgb(240,200,0)" : signed(t * 0.8, dark);
              return (
                <td
                  key={col}
                  class={`${here ? "cursor" : ""}${chosen ? " picked" : ""}${value < 0 ? " negative" : ""}`}
                  style={{ background: tone, color: Number.isNaN(value) ? "#101214" : inkOn(t * 0.8, dark) }}
                  onPointerEnter={() => (cursor.value = { row, col })}
                  onFocus={() => (cursor.value = { row, col })}
                  tabIndex={onPick ? 0 : undefined}
                  onClick={() => onPick?.({ row, col })}
                  onKeyDown={(e) => {
                    if (onPick && (e.key === "Enter" || e.key === " ")) {
                      onPick({ row, col });
                      e.preventDefault();
                      e.stopPropagation();
                    }
                  }}
                >
                  <Element array={array} index={index} />
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A window of the numbers around the cursor, for those who read rather than look. */
function Numbers({ array, matrix, slice, cursor }: { array: number; matrix: Contents; slice: number; cursor: Signal<Place | null> }) {
  const { rows, cols } = matrix;
  const at = cursor.value ?? { row: 0, col: 0 };
  const height = Math.min(rows, 8);
  const width = Math.min(cols, 5);
  const top = Math.max(0, Math.min(rows - height, at.row - 3));
  const left = Math.max(0, Math.min(cols - width, at.col - 2));
  const base = slice * rows * cols;
  return (
    <table class="numbers">
      <thead>
        <tr>
          <td />
          {Array.from({ length: width }, (_, c) => (
            <th key={c} scope="col">
              {left + c}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {Array.from({ length: height }, (_, r) => (
          <tr key={r}>
            <th scope="row">{top + r}</th>
            {Array.from({ length: width }, (_, c) => (
              <td key={c}>
                <Element array={array} index={base + (top + r) * cols + left + c} digits={3} />
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Face(props: FaceProps) {
  const { title, about, array, shape, cursor, slice, lit, missing, python, onPick, picked } = props;
  const matrix = contents(array);
  const absmax = useMemo(() => (matrix ? reach(matrix) : 0), [matrix]);
  const [open, setOpen] = useState(false);
  if (!matrix) {
    return (
      <div class={`face${lit ? " lit" : ""}`}>
        <h4>
          {title} <span class="quiet">{about}</span>
        </h4>
        <p class="quiet blank">{missing}</p>
      </div>
    );
  }
  const { rows, cols, slices } = matrix;
  const single = rows * cols * slices === 1;
  const few = matrix.full && rows <= FEW_ROWS && cols <= FEW_COLS;
  const use = Math.min(slice, slices - 1);
  const at = cursor.value;
  const place = at && at.row < rows && at.col < cols ? at : null;
  const index = place ? use * rows * cols + place.row * cols + place.col : -1;
  const written = place && matrix.full ? indices(shape, index) : [];
  const pick = matrix.full ? onPick : undefined;
  return (
    <div class={`face${lit ? " lit" : ""}`} data-face={title}>
      <h4>
        {title} <span class="quiet">{about}</span>
      </h4>
      {single && matrix.full ? (
        <div class="single">
          <Element array={array} index={0} digits={6} />
          <CopyButton text={python} what="as Python" />
        </div>
      ) : few ? (
        <Written array={array} matrix={matrix} slice={use} cursor={cursor} absmax={absmax} onPick={pick} picked={picked} label={title} />
      ) : (
        <Heatmap
          matrix={matrix}
          slice={use}
          absmax={absmax}
          cursor={cursor}
          label={title}
          theme={theme.value}
          scale={heatScale.value}
          {...(pick ? { onPick: pick } : {})}
          picked={picked ?? null}
        />
      )}
      {single ? null : (
        <p class="readout">
          {place ? (
            <>
              <code>[{(matrix.full ? written : [place.row, place.col]).join(", ")}]</code>{" "}
              <Element array={array} index={index} digits={6} />
              {matrix.full ? <CopyButton text={`${python}[${written.join(", ")}]`} what="as Python" /> : null}
            </>
          ) : (
            <span class="quiet">{matrix.full ? `${shape.join(" × ") || "one number"}` : `largest of each block, ${rows} × ${cols}`}</span>
          )}
        </p>
      )}
      {few || single ? null : (
        <details class="behind" open={open} onToggle={(e) => setOpen(e.currentTarget.open)}>
          <summary>Numbers</summary>
          {open ? <Numbers array={array} matrix={matrix} slice={use} cursor={cursor} /> : null}
        </details>
      )}
    </div>
  );
}

function Slices({ shape, slice, onChange }: { shape: number[]; slice: number; onChange: (slice: number) => void }) {
  const lead = shape.slice(0, -2);
  const at = indices(lead, slice);
  const change = (axis: number, value: number) => {
    const next = at.map((v, i) => (i === axis ? value : v));
    onChange(next.reduce((sum, v, i) => sum * lead[i]! + v, 0));
  };
  return (
    <div class="slices">
      {lead.map((n, axis) => (
        <label key={axis}>
          axis {axis}
          <input
            type="range"
            min={0}
            max={n - 1}
            value={at[axis]}
            disabled={n === 1}
            onInput={(e) => change(axis, Number(e.currentTarget.value))}
            onKeyDown={(e) => e.stopPropagation()}
          />
          <output>
            {at[axis]} of {n}
          </output>
        </label>
      ))}
    </div>
  );
}

/** Colours by size or by powers of ten: small numbers beside large ones. */
function ScaleButton() {
  return (
    <button
      type="button"
      class="tool"
      aria-pressed={heatScale.value === "log"}
      title="colours by powers of ten, down to a millionth of the largest (L)"
      onClick={toggleHeatScale}
    >
      log colours
    </button>
  );
}

interface Props {
  node: number;
  lit: "value" | "delta" | null;
  onPick?: ((which: "value" | "delta", element: number) => void) | undefined;
  picked?: { which: "value" | "delta"; element: number } | null | undefined;
}

export function Tensors({ node, lit, onPick, picked }: Props) {
  const cursor = useSignal<Place | null>(null);
  const [slice, setSlice] = useState(0);
  useEffect(() => {
    cursor.value = null;
    setSlice(0);
  }, [node]);
  const phase = usePhase(node);
  const { there, arrived, of } = phase;
  const done = phase.state === "done";
  const shape = recording.dims(node);
  const value = recording.arrayRow(node, "value");
  const delta = deltaArray(node, phase);
  const valueContents = contents(value);
  const slices = valueContents?.full ? valueContents.slices : 1;
  const name = JSON.stringify(recording.name(node));
  const cols = shape.at(-1) ?? 1;
  const rows = shape.length > 1 ? shape.at(-2)! : 1;
  const pick = onPick
    ? (which: "value" | "delta") => (place: Place) => onPick(which, slice * rows * cols + place.row * cols + place.col)
    : undefined;
  const placeOf = (which: "value" | "delta"): Place | null => {
    if (!picked || picked.which !== which) return null;
    const inside = picked.element % (rows * cols);
    return { row: Math.floor(inside / cols), col: inside % cols };
  };
  let missing = "No gradient reaches this node.";
  if (of > 0 || recording.completedEvent[node]! >= 0) missing = "No gradient has arrived yet.";
  if (arrived > 0 && delta < 0) missing = `${arrived} of ${of} terms have arrived; the sum so far was not kept.`;
  if (done && delta < 0) missing = "Its contents were not kept.";
  const about = done ? "" : arrived > 0 ? `so far, ${arrived} of ${of}` : "";
  return (
    <Section
      title="Value and gradient"
      tools={valueContents || delta >= 0 ? <ScaleButton /> : null}
      note={
        there ? null : (
          <button type="button" class="link" onClick={() => goTo(recording.forwardEvent[node]! + 1)}>
            go to where it is computed
          </button>
        )
      }
    >
      {slices > 1 && shape.length > 2 ? <Slices shape={shape} slice={slice} onChange={setSlice} /> : null}
      <div class="faces">
        <Face
          title="value"
          about=""
          array={there ? value : -1}
          shape={shape}
          cursor={cursor}
          slice={slice}
          lit={lit === "value"}
          missing={there ? "Its contents were not kept." : "Not computed yet."}
          python={`recording[${name}].value`}
          onPick={pick?.("value")}
          picked={placeOf("value")}
        />
        <Face
          title="gradient δ"
          about={about}
          array={delta}
          shape={shape}
          cursor={cursor}
          slice={slice}
          lit={lit === "delta"}
          missing={missing}
          python={`recording[${name}].cotangent`}
          onPick={done ? pick?.("delta") : undefined}
          picked={placeOf("delta")}
        />
      </div>
    </Section>
  );
}


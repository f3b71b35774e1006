/** A training run: its curves, the recorded steps, what each update did, and what is still wrong. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import { Lines } from "../charts/lines";
import type { Curve } from "../charts/lines";
import { limits, updateBand } from "../model/bands";
import { recording, reveal, step, theme } from "../model/view";
import { Cell } from "../number";
import { BandLimits } from "./bands";
import { Thumbnail } from "./contributions";
import { contents, number, reach, rowOf, text, where } from "./data";
import { Behind, Section } from "./section";

interface Series extends Curve {
  readonly rows: number[];
  /** The table and columns that hold the curve. */
  readonly table: string;
  readonly columns: readonly [string, string];
}

function allSeries(): Series[] {
  const table = recording.table("series");
  const found = new Map<string, number[]>();
  for (let row = 0; row < table.rows; row++) {
    const name = table.text(row, "name");
    const list = found.get(name);
    if (list) list.push(row);
    else found.set(name, [row]);
  }
  const curve = (name: string, of: string, rows: number[], columns: [string, string]): Series => ({
    name,
    rows,
    table: of,
    columns,
    x: rows.map((r) => number(of, r, columns[0])),
    y: rows.map((r) => number(of, r, columns[1])),
  });
  const curves = [...found].map(([name, rows]) => curve(name, "series", rows, ["step", "value"]));
  const steps = recording.table("step");
  if (curves.length || steps.rows < 2) return curves;
  const rows = Array.from({ length: steps.rows }, (_, r) => r).filter((r) => Number.isFinite(steps.number(r, "loss")));
  return rows.length > 1 ? [curve("loss", "step", rows, [number("step", 0, "number") >= 0 ? "number" : "index", "loss"])] : [];
}

/** Curves that belong into one picture: all losses; those of one kind "of" several things, at most four in each. */
function grouped(series: readonly Series[]): { title: string; curves: Series[] }[] {
  const found = new Map<string, Series[]>();
  for (const curve of series) {
    const [kind, of] = curve.name.split(" of ", 2);
    const title = /^loss/.test(curve.name) ? "loss" : of ? kind! : curve.name;
    const list = found.get(title);
    const short = of && title !== "loss" ? { ...curve, name: of } : curve;
    if (list && list.length < 4) list.push(short);
    else found.set(list ? curve.name : title, [short]);
  }
  return [...found].map(([title, curves]) => ({ title, curves }));
}

/** Which number a recorded step has in training. */
function stepNumber(row: number): number {
  const given = number("step", row, "number");
  return Number.isFinite(given) && given >= 0 ? given : number("step", row, "index");
}

/** Shows another recorded step, at the same place in it. */
export function chooseStep(to: number): void {
  step.value = to;
}

function Curves() {
  const series = useMemo(allSeries, []);
  const steps = recording.table("step");
  if (series.length === 0) return steps.rows > 1 ? null : <p class="quiet">No curve was recorded.</p>;
  const groups = grouped(series);
  const here = steps.rows > 0 ? stepNumber(step.value) : null;
  const pick = (x: number) => {
    let best = 0;
    for (let row = 0; row < steps.rows; row++) if (Math.abs(stepNumber(row) - x) < Math.abs(stepNumber(best) - x)) best = row;
    if (steps.rows) chooseStep(best);
  };
  return (
    <>
      {groups.map(({ title, curves }) => {
        const log = curves.every((s) => Array.from(s.y).every((y) => y > 0)) && /loss|norm/.test(title);
        const first = curves[0]!;
        return (
          <div key={title}>
            <h4>{title}</h4>
            <Lines
              curves={curves}
              label={title}
              xLabel="step"
              logY={log}
              height={title === "loss" ? 180 : 120}
              at={here}
              {...(steps.rows > 1 ? { onPick: pick } : {})}
              tell={(at) => (
                <>
                  step <Cell table={first.table} row={first.rows[at[0]!]!} column={first.columns[0]} />:{" "}
                  {curves.map((s, k) => (
                    <span key={s.name}>
                      {curves.length > 1 ? `${s.name} ` : ""}
                      <Cell table={s.table} row={s.rows[at[k]!]!} column={s.columns[1]} />
                      {k + 1 < curves.length ? ", " : ""}
                    </span>
                  ))}
                </>
              )}
            />
          </div>
        );
      })}
      <Behind>
        {series.map((s) => (
          <table class="stats" key={s.name}>
            <thead>
              <tr>
                <th scope="col">step</th>
                <th scope="col">{s.name}</th>
              </tr>
            </thead>
            <tbody>
              {s.rows.filter((_, i) => i % Math.ceil(s.rows.length / 50) === 0 || i === s.rows.length - 1).map((row) => (
                <tr key={row}>
                  <th scope="row">
                    <Cell table={s.table} row={row} column={s.columns[0]} />
                  </th>
                  <td>
                    <Cell table={s.table} row={row} column={s.columns[1]} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        ))}
      </Behind>
    </>
  );
}

function Steps() {
  const { rows } = recording.table("step");
  if (rows < 2) return null;
  const at = step.value;
  return (
    <label class="scrub">
      <span>
        recorded step {at + 1} of {rows}: step{" "}
        <b>
          {number("step", at, "number") >= 0 ? <Cell table="step" row={at} column="number" /> : <Cell table="step" row={at} column="index" />}
        </b>
        , loss <Cell table="step" row={at} column="loss" />
      </span>
      <input
        type="range"
        min={0}
        max={rows - 1}
        value={at}
        aria-valuetext={`recorded step ${stepNumber(at)}`}
        onInput={(e) => chooseStep(Number(e.currentTarget.value))}
        onKeyDown={(e) => e.stopPropagation()}
      />
    </label>
  );
}

/** What an optimizer keeps of a parameter, as far as it can be drawn. */
function statesOf(update: number): readonly number[] {
  return where("optstate", "update", update).filter((s) => number("optstate", s, "array") >= 0);
}

/** The settings of the optimizer, and the size of what it keeps of each parameter. */
function Ruled({ rows }: { rows: readonly number[] }) {
  const settings = where("optsetting", "update", rows[0]!);
  const kept = rows.flatMap((r) => where("optstate", "update", r).map((s) => ({ r, s })));
  if (settings.length + kept.length === 0) return null;
  return (
    <>
      <p class="quiet">
        {settings.map((s, k) => (
          <span key={s}>
            {k ? ", " : ""}
            {text("optsetting", s, "name")} <Cell table="optsetting" row={s} column="value" />
          </span>
        ))}
      </p>
      {kept.length ? (
        <Behind title="What the optimizer keeps of each parameter">
          <table class="stats">
            <tbody>
              {kept.map(({ r, s }) => (
                <tr key={s}>
                  <th scope="row">{recording.name(number("update", r, "node"))}</th>
                  <td class="text">{text("optstate", s, "name")}</td>
                  <td>
                    {number("optstate", s, "array") >= 0 ? (
                      <>
                        ‖·‖ <Cell table="optstate" row={s} column="norm" />
                      </>
                    ) : (
                      <Cell table="optstate" row={s} column="value" />
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Behind>
      ) : null}
    </>
  );
}

function Updates() {
  const rows = where("update", "step", step.value);
  if (rows.length === 0) return null;
  const effect = rowOf("effect", step.value, "step");
  const known = rows.some((r) => recording.table("update").has("actual") && Number.isFinite(number("update", r, "actual")));
  return (
    <Section title="What the update did">
      <div class="scroll wide">
      <table class="stats">
        <thead>
          <tr>
            <th scope="col">parameter</th>
            <th scope="col">‖W‖</th>
            <th scope="col">‖g‖</th>
            <th scope="col">‖ΔW‖</th>
            <th scope="col" title="‖ΔW‖ over ‖W‖">
              ratio
            </th>
            <th scope="col" title="the change of the loss: foretold by g·ΔW, and that of the loss computed again with this parameter alone updated">
              ΔL: g·ΔW,
              <br />
              actual
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((r) => {
            const { band, side } = updateBand(r);
            const node = number("update", r, "node");
            return (
              <tr key={r}>
                <th scope="row">
                  <button type="button" class="link" onClick={() => reveal(node)} title={recording.name(node)}>
                    {recording.name(node)}
                  </button>
                </th>
                {["value_norm", "grad_norm", "change_norm"].map((c) => (
                  <td key={c}>
                    <Cell table="update" row={r} column={c} digits={3} />
                  </td>
                ))}
                <td
                  class={band ? (band > 1 ? "bad" : "warn") : ""}
                  title={side ? `${side}: expected from ${limits.value.least_update} to ${limits.value.most_update}` : undefined}
                >
                  {band ? (band > 1 ? "✖ " : "▲ ") : ""}
                  <Cell table="update" row={r} column="ratio" digits={2} />
                </td>
                <td class="two">
                  <Cell table="update" row={r} column="predicted" digits={3} />
                  {known ? <Cell table="update" row={r} column="actual" digits={3} /> : null}
                </td>
              </tr>
            );
          })}
        </tbody>
        {effect >= 0 && Number.isFinite(number("effect", effect, "actual")) ? (
          <tfoot>
            <tr>
              <th scope="row">together</th>
              <td colSpan={4} class="text">
                loss <Cell table="effect" row={effect} column="before" digits={6} /> → <Cell table="effect" row={effect} column="after" digits={6} />
              </td>
              <td class="two">
                <Cell table="effect" row={effect} column="predicted" digits={3} />
                <Cell table="effect" row={effect} column="actual" digits={3} />
              </td>
            </tr>
          </tfoot>
        ) : null}
      </table>
      </div>
      {effect < 0 ? null : text("effect", effect, "note") ? (
        <p class="quiet">The actual change of the loss is not here: {text("effect", effect, "note")}.</p>
      ) : (
        <p class="quiet small">
          The engine ran this step's forward pass again with the updated parameters, on the same batch, in double precision: each alone, and all together.
        </p>
      )}
      <BandLimits names={["least_update", "most_update"]} />
      <Ruled rows={rows} />
      <div class="update-pictures">
        {rows
          .filter((r) => number("update", r, "change") >= 0)
          .slice(0, 4)
          .map((r) => (
            <figure key={r}>
              <figcaption class="quiet">
                {recording.name(number("update", r, "node"))}: W, g, ΔW
                {statesOf(r).map((s) => `, ${text("optstate", s, "name")}`).join("")}
              </figcaption>
              {["weight", "grad", "change"].map((c) => (
                <Thumbnail key={c} array={number("update", r, c)} label={c} />
              ))}
              {statesOf(r).map((s) => (
                <Thumbnail key={s} array={number("optstate", s, "array")} label={text("optstate", s, "name")} />
              ))}
            </figure>
          ))}
      </div>
    </Section>
  );
}

/** A picture in grey, as the data set has it. */
function Grey({ array }: { array: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const dark = theme.value === "dark";
  useEffect(() => {
    const matrix = contents(array);
    const element = canvas.current;
    if (!matrix || !element) return;
    element.width = matrix.cols;
    element.height = matrix.rows;
    const context = element.getContext("2d")!;
    const image = context.createImageData(matrix.cols, matrix.rows);
    const most = reach(matrix) || 1;
    for (let i = 0; i < matrix.rows * matrix.cols; i++) {
      const ink = Math.max(0, Math.min(1, matrix.at(i) / most));
      const tone = Math.round(255 * (dark ? ink : 1 - ink));
      image.data.set([tone, tone, tone, 255], 4 * i);
    }
    context.putImageData(image, 0, 0);
  }, [array, dark]);
  return <canvas ref={canvas} class="grey" aria-hidden="true" />;
}

function Examples() {
  const { rows } = recording.table("example");
  if (!rows) return null;
  return (
    <Section title="What it gets wrong" note={`${rows} examples`}>
      <ul class="examples">
        {Array.from({ length: Math.min(rows, 48) }, (_, r) => (
          <li key={r}>
            {number("example", r, "array") >= 0 ? <Grey array={number("example", r, "array")} /> : null}
            <span>
              <b>{text("example", r, "truth")}</b> <span class="quiet">taken for</span> <b class="wrong">{text("example", r, "predicted")}</b>
            </span>
            <span class="quiet">
              <Cell table="example" row={r} column="probability" unit="percent" />
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

export function TrainingPanel() {
  return (
    <>
      <Section title="Training">
        <Steps />
        <Curves />
      </Section>
      <Updates />
      <Examples />
    </>
  );
}

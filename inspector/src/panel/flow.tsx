/** The flow of gradients through the layers on one logarithmic axis, with the gain of each and the running product. */

import { useMemo, useState } from "preact/hooks";
import { decade, decadeTicks } from "../charts/axis";
import { useWidth } from "../charts/size";
import { layerBand } from "../model/bands";
import { hovered, recording, reveal, selected, step } from "../model/view";
import { Cell } from "../number";
import { BandLimits } from "./bands";
import { all, number, text, where } from "./data";
import { shortName } from "./maths";
import { BadNumbers } from "./walk";
import { Behind, Section } from "./section";
import { Units } from "./units";

const SERIES = [
  { column: "delta_norm", name: "gradient that arrives, ‖δ‖", shape: "circle" },
  { column: "grad_norm", name: "gradient of its parameters, ‖g‖", shape: "diamond" },
  { column: "value_rms", name: "size of its values (rms)", shape: "tick" },
] as const;

/** What is said of a layer that is out of band. */
function bandText(row: number): string {
  const way = number("flow", row, "product") > 1 ? "exploding" : "vanishing";
  return layerBand(row) > 1 ? `badly ${way}` : way;
}

function Mark({ shape, x, y }: { shape: string; x: number; y: number }) {
  if (shape === "circle") return <circle class="mark circle" cx={x} cy={y} r={3.4} />;
  if (shape === "diamond") return <path class="mark diamond" d={`M${x},${y - 4.4}L${x + 4.4},${y}L${x},${y + 4.4}L${x - 4.4},${y}Z`} />;
  return <path class="mark tick" d={`M${x},${y - 4}V${y + 4}`} />;
}

function layerName(row: number): string {
  const module = number("flow", row, "module");
  const name = text("flow", row, "name");
  const kind = module >= 0 ? recording.module.text(module, "class") : "";
  if (name) return /^[\d.]+$/.test(name) && kind ? `${name} ${kind}` : name;
  const path = module >= 0 ? recording.modulePath(module) || recording.module.text(module, "name") : "";
  const node = number("flow", row, "node");
  return path || (node >= 0 ? shortName(node) : "the whole");
}

function Chart({ rows }: { rows: readonly number[] }) {
  const [box, width] = useWidth<HTMLDivElement>();
  const [near, setNear] = useState(-1);
  const height = Math.max(9, Math.min(26, Math.floor(560 / rows.length)));
  const every = Math.ceil(15 / height); // rows whose text is shown
  const [low, high] = useMemo(() => {
    let least = Infinity;
    let most = -Infinity;
    for (const row of rows) {
      for (const { column } of SERIES) {
        const exponent = Math.log10(number("flow", row, column));
        if (!Number.isFinite(exponent)) continue;
        least = Math.min(least, exponent);
        most = Math.max(most, exponent);
      }
    }
    if (least > most) return [-1, 1];
    return [Math.floor(least - 0.2), Math.ceil(most + 0.2)];
  }, [rows]);
  const label = Math.min(150, Math.max(84, width * 0.27));
  const right = 138;
  const strip = Math.max(90, width - label - right);
  const x = (value: number) => ((Math.log10(value) - low) / (high - low)) * strip;
  const total = rows.length * height;
  const line = (column: string) => {
    let d = "";
    rows.forEach((row, i) => {
      const at = x(number("flow", row, column));
      if (Number.isFinite(at)) d += `${d ? "L" : "M"}${at.toFixed(1)},${(i + 0.5) * height}`;
    });
    return d;
  };
  const pick = (row: number) => {
    const node = number("flow", row, "node");
    if (node >= 0) reveal(node);
  };
  return (
    <div class="flow-chart" ref={box}>
      <div class="flow-head quiet" style={{ gridTemplateColumns: `${label}px ${strip}px 1fr 1fr` }}>
        <span>layer</span>
        <span />
        <span title="‖δ‖ here over ‖δ‖ at the next layer">gain</span>
        <span title="of all gains from the loss to here">product</span>
      </div>
      <div class="flow-rows" style={{ height: `${total}px` }}>
        <svg width={strip} height={total} style={{ left: `${label}px` }} role="img" aria-label="Norms of gradients by layer, logarithmic">
          {decadeTicks(low, high, 5).map((e) => (
            <line key={e} class="grid" x1={((e - low) / (high - low)) * strip} x2={((e - low) / (high - low)) * strip} y1={0} y2={total} />
          ))}
          {SERIES.map(({ column, shape }) => (
            <path key={column} class={`flow-line ${shape}`} d={line(column)} />
          ))}
          {rows.map((row, i) =>
            SERIES.map(({ column, shape }) => {
              const at = x(number("flow", row, column));
              return Number.isFinite(at) ? <Mark key={`${row}${column}`} shape={shape} x={at} y={(i + 0.5) * height} /> : null;
            }),
          )}
        </svg>
        {rows.map((row, i) => {
          const band = layerBand(row);
          const shown = i % every === 0 || near === row;
          return (
            <button
              key={row}
              type="button"
              class={`flow-row band-${band}${number("flow", row, "node") === selected.value ? " selected" : ""}`}
              style={{ top: `${i * height}px`, height: `${height}px`, gridTemplateColumns: `${label}px ${strip}px 1fr 1fr` }}
              onClick={() => pick(row)}
              onPointerEnter={() => {
                setNear(row);
                hovered.value = number("flow", row, "node");
              }}
              onPointerLeave={() => {
                setNear(-1);
                hovered.value = -1;
              }}
              title={layerName(row) + (band > 0 ? `: ${bandText(row)}` : "")}
            >
              <span class="name">{shown ? layerName(row) : ""}</span>
              <span />
              <span>{shown && Number.isFinite(number("flow", row, "gain")) ? <Cell table="flow" row={row} column="gain" digits={3} /> : null}</span>
              <span>
                {shown && Number.isFinite(number("flow", row, "product")) ? <Cell table="flow" row={row} column="product" digits={3} /> : null}
              </span>
            </button>
          );
        })}
      </div>
      <div class="flow-axis quiet" style={{ marginLeft: `${label}px`, width: `${strip}px` }}>
        {decadeTicks(low, high, 5).map((e) => (
          <span key={e} style={{ left: `${((e - low) / (high - low)) * strip}px` }}>
            {decade(e)}
          </span>
        ))}
      </div>
      <p class="keys">
        {SERIES.map(({ column, name, shape }) => (
          <span key={column}>
            <svg width="12" height="12" aria-hidden="true">
              <Mark shape={shape} x={6} y={6} />
            </svg>{" "}
            {name}
          </span>
        ))}
      </p>
    </div>
  );
}

function Verdict({ rows }: { rows: readonly number[] }) {
  const bad = rows.filter((row) => layerBand(row) > 0);
  if (bad.length === 0) return <p class="verdict">✓ No layer is out of band: gradients neither vanish nor explode.</p>;
  const worst = [...bad].sort((a, b) => layerBand(b) - layerBand(a));
  return (
    <ul class="culprits">
      {worst.slice(0, 4).map((row) => {
        const factors = where("culprit", "flow", row);
        return (
          <li key={row} class={`band-${layerBand(row)}`}>
            <button type="button" class="link" onClick={() => reveal(number("flow", row, "node"))}>
              {layerName(row)}
            </button>
            : {bandText(row)}, product <Cell table="flow" row={row} column="product" digits={3} />
            {factors.length ? (
              <ol>
                {factors.slice(0, 4).map((f) => (
                  <li key={f}>
                    × <Cell table="culprit" row={f} column="factor" digits={3} /> by {text("culprit", f, "what")}{" "}
                    <button type="button" class="link" onClick={() => reveal(number("culprit", f, "node"))}>
                      show
                    </button>
                  </li>
                ))}
              </ol>
            ) : null}
          </li>
        );
      })}
      {worst.length > 4 ? <li class="band-1 quiet">and {worst.length - 4} more</li> : null}
    </ul>
  );
}

export function FlowPanel() {
  const at = step.value;
  const order = useMemo(() => (recording.table("flow").has("step") ? where("flow", "step", at) : all("flow")), [at]);
  if (order.length === 0) {
    return (
      <>
        <Section title="Gradient flow" empty="Not recorded: there are no layers with parameters, or no backward pass." />
        <BadNumbers />
      </>
    );
  }
  return (
    <>
      <Section title="Gradient flow" note="first layer on top; the gradient comes from below">
        <Chart rows={order} />
        <Verdict rows={order} />
        <BandLimits names={["amber", "red"]} />
        <Behind>
          <table class="stats">
            <thead>
              <tr>
                <th scope="col">layer</th>
                <th scope="col">‖δ‖</th>
                <th scope="col">‖g‖</th>
                <th scope="col">rms</th>
                <th scope="col">gain</th>
                <th scope="col">product</th>
              </tr>
            </thead>
            <tbody>
              {order.map((row) => (
                <tr key={row}>
                  <th scope="row">{layerName(row)}</th>
                  {["delta_norm", "grad_norm", "value_rms", "gain", "product"].map((column) => (
                    <td key={column}>
                      <Cell table="flow" row={row} column={column} digits={3} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Behind>
      </Section>
      <Units />
      <BadNumbers />
    </>
  );
}

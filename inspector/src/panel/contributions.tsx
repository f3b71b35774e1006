/** The terms of a gradient where paths meet, and their running sum up to the time of the slider. */

import { useMemo } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { Heatmap } from "../charts/heatmap";
import type { Place } from "../charts/heatmap";
import { contribution, goTo, hovered, recording, select, heatScale, theme } from "../model/view";
import { Cell, Element } from "../number";
import { contents, number, reach, where } from "./data";
import { Maths, latexName, nearName } from "./maths";
import { usePhase } from "./phase";
import { Section } from "./section";

const METHOD_WIDTH = 96; // of a thumbnail in the list

/** A small picture of an array, or its number where it is one. */
export function Thumbnail({ array, label, height = 56 }: { array: number; label: string; height?: number }) {
  const cursor = useSignal<Place | null>(null);
  const matrix = contents(array);
  const absmax = useMemo(() => (matrix ? reach(matrix) : 0), [matrix]);
  if (!matrix) return null;
  if (matrix.full && matrix.rows * matrix.cols * matrix.slices === 1) {
    return (
      <span class="single small">
        <Element array={array} index={0} digits={6} />
      </span>
    );
  }
  const at = cursor.value;
  const index = at ? at.row * matrix.cols + at.col : -1;
  return (
    <div class="thumbnail" style={{ width: `${METHOD_WIDTH}px` }}>
      <Heatmap matrix={matrix} slice={0} absmax={absmax} cursor={cursor} label={label} theme={theme.value} scale={heatScale.value} maxHeight={height} />
      <span class="readout small">{at ? <Element array={array} index={index} digits={3} /> : null}</span>
    </div>
  );
}

/** A bar to the right of the middle for a positive share, to the left and hatched for a negative one. */
export function ShareBar({ share }: { share: number }) {
  if (!Number.isFinite(share)) return null;
  const size = Math.min(1, Math.abs(share)) * 50;
  return (
    <span class="share-bar" aria-hidden="true">
      <i class={share < 0 ? "against" : "along"} style={share < 0 ? { right: "50%", width: `${size}%` } : { left: "50%", width: `${size}%` }} />
    </span>
  );
}

function RunningSum({ node, arrived, of, done }: { node: number; arrived: number; of: number; done: boolean }) {
  const row = where("partial", "node", node).find((r) => number("partial", r, "order") === arrived - 1);
  const array = done ? recording.arrayRow(node, "delta") : row === undefined ? -1 : number("partial", row, "array");
  const name = latexName(nearName(node));
  return (
    <div class={`running${done ? " done" : ""}`}>
      <span class="rule-tag">
        {arrived === 0 ? "nothing has arrived" : arrived < of ? `sum of ${arrived} of ${of}` : `sum of all ${of}`}
      </span>
      <span class="running-name">
        <Maths latex={`\\delta_{${name}}${arrived < of ? `^{(${arrived}/${of})}` : ""}`} />
      </span>
      {arrived > 0 ? <Thumbnail array={array} label={`running sum of ${recording.name(node)}`} /> : null}
      {arrived > 0 && row !== undefined ? (
        <span>
          norm <Cell table="partial" row={row} column="norm" />
        </span>
      ) : null}
    </div>
  );
}

export function Contributions({ node }: { node: number }) {
  const edges = recording.contributions(node);
  const { arrived, of, state } = usePhase(node);
  if (edges.length === 0) return null;
  const merge = where("merge", "node", node)[0] ?? -1;
  const cancels = merge >= 0 && number("merge", merge, "cancels") === 1;
  const shares = recording.edge.has("share") && edges.some((e) => Number.isFinite(number("edge", e, "share")));
  const chosen = contribution.value;
  const several = edges.length > 1;
  return (
    <Section
      title={several ? "Where paths meet" : "Where the gradient comes from"}
      note={several ? `${of} terms, added in this order` : null}
    >
      <ol class="terms">
        {edges.map((edge, i) => {
          const child = number("edge", edge, "to");
          const there = i < arrived; // they arrive in the order in which they are added
          const row = contributionStat(edge);
          const array = number("edge", edge, "array") >= 0 ? number("edge", edge, "array") : row >= 0 ? number("stat", row, "array") : -1;
          const share = number("edge", edge, "share");
          return (
            <li key={edge} class={`${there ? "there" : "pending"}${chosen === edge ? " chosen" : ""}`}>
              <div class="term-head">
                <button
                  type="button"
                  class="link"
                  title={recording.name(child)}
                  onClick={() => select(child)}
                  onPointerEnter={() => (hovered.value = child)}
                  onPointerLeave={() => (hovered.value = -1)}
                >
                  {several ? `${i + 1}. ` : ""}from {nearName(child)}
                </button>
                <span class="quiet"> {recording.opName(child)}, argument {number("edge", edge, "argnum")}</span>
                {there ? null : (
                  <button type="button" class="link later" onClick={() => goTo(number("edge", edge, "event") + 1)}>
                    not yet: go there
                  </button>
                )}
              </div>
              {there ? (
                <div class="term-body">
                  {several ? <Thumbnail array={array} label={`term ${i + 1}`} /> : null}
                  <dl>
                    <dt>norm</dt>
                    <dd>
                      <Cell table="edge" row={edge} column="norm" />
                    </dd>
                    {several && Number.isFinite(number("edge", edge, "cosine")) ? (
                      <>
                        <dt title="with the whole gradient">cosine</dt>
                        <dd>
                          <Cell table="edge" row={edge} column="cosine" digits={3} />
                        </dd>
                      </>
                    ) : null}
                    {several && shares && Number.isFinite(share) ? (
                      <>
                        <dt title="how much of the whole gradient, by sign; shares add to 1">share</dt>
                        <dd>
                          <ShareBar share={share} />
                          <Cell table="edge" row={edge} column="share" unit="percent" />
                        </dd>
                      </>
                    ) : null}
                  </dl>
                </div>
              ) : null}
            </li>
          );
        })}
      </ol>
      {several ? <RunningSum node={node} arrived={arrived} of={of} done={state === "done"} /> : null}
      {cancels && state === "done" ? (
        <p class="alert">
          ▲ The terms cancel: their norms add to <Cell table="merge" row={merge} column="norm_sum" />, their sum has norm{" "}
          <Cell table="merge" row={merge} column="norm" />.
        </p>
      ) : null}
    </Section>
  );
}

function contributionStat(edge: number): number {
  const row = where("stat", "edge", edge)[0];
  return row === undefined ? -1 : row;
}

// Numbers in the boxes of scalars: value and δ once they are there, as text of the document above the canvas.

import { type Signal, useComputed } from "@preact/signals";
import { Fragment } from "preact";
import { recording, time, version } from "../model/view";
import { deltaState, edgeDone, forwardDone } from "../model/state";
import { Element } from "../number";
import { scene } from "./client";
import { view } from "./graph";
import { BOX, type Scene } from "./scene";

/** Beyond so many scalars in view the canvas alone is drawn. */
const MOST = 80;
const READABLE = 0.5;

export function Values({ moved }: { moved: Signal<number> }) {
  // the boxes of scalars in view; moving without new ones only changes the transform
  const shown = useComputed(() => {
    void moved.value;
    const s = scene.value;
    const camera = view.camera;
    if (!s || !camera || camera.k < READABLE) return "";
    const v = camera.view();
    const found: number[] = [];
    for (let b = 0; b < s.boxes && found.length <= MOST; b++) {
      if (s.kind[b] !== BOX.node || s.h[b]! <= 30) continue;
      if (s.x[b]! + s.w[b]! < v.x || s.x[b]! > v.x + v.w || s.y[b]! + s.h[b]! < v.y || s.y[b]! > v.y + v.h) continue;
      found.push(b);
    }
    return found.length > MOST ? "" : found.join(" ");
  });
  const transform = useComputed(() => {
    void [moved.value, scene.value];
    const { x, y, k } = view.camera ?? { x: 0, y: 0, k: 1 };
    return `transform: translate(${x}px, ${y}px) scale(${k})`;
  });
  return (
    <div class="values" style={transform}>
      <Numbers boxes={shown} />
    </div>
  );
}

function Numbers({ boxes }: { boxes: Signal<string> }) {
  const s = scene.value;
  if (!s || !boxes.value) return null;
  return (
    <>
      {boxes.value.split(" ").map((text) => {
        const b = Number(text);
        return (
          <Fragment key={b}>
            <ScalarOf node={s.id[b]!} x={s.x[b]!} y={s.y[b]!} w={s.w[b]!} />
            <Arriving node={s.id[b]!} />
          </Fragment>
        );
      })}
    </>
  );
}

function ScalarOf({ node, x, y, w }: { node: number; x: number; y: number; w: number }) {
  void version.value;
  const t = time.value;
  const value = forwardDone(node, t) ? recording.arrayRow(node, "value") : -1;
  const delta = deltaState(node, t).state === "done" ? recording.arrayRow(node, "delta") : -1;
  return (
    <div class="value" style={{ left: `${x}px`, top: `${y + 22}px`, width: `${w}px` }}>
      {value >= 0 ? (
        <span class="of-value">
          <Element array={value} index={0} />
        </span>
      ) : null}
      {delta >= 0 ? (
        <span class="of-delta">
          δ <Element array={delta} index={0} />
        </span>
      ) : null}
    </div>
  );
}

/** Where paths meet, each contribution beside the line on which it arrived. */
function Arriving({ node }: { node: number }) {
  const s = scene.value!;
  void version.value;
  const t = time.value;
  const edges = recording.contributions(node);
  if (edges.length < 2) return null;
  return (
    <>
      {edges.map((e) => {
        const array = recording.edge.has("array") ? recording.edge.number(e, "array") : -1;
        if (!edgeDone(e, t) || !(array >= 0) || recording.table("array").number(array, "full") !== 1) return null;
        const first = s.paths[s.pathStart[e]!];
        if (first === undefined) return null;
        const [x, y] = along(s, first);
        return (
          <div key={e} class="value arriving" style={{ left: `${x}px`, top: `${y}px` }}>
            <span class="of-delta">
              <Element array={array} index={0} />
            </span>
          </div>
        );
      })}
    </>
  );
}

/** A place on a line, near its middle. */
function along(s: Scene, segment: number): [number, number] {
  const [from, to] = [s.pointStart[segment]!, s.pointStart[segment + 1]!];
  const points = (to - from) / 2;
  if (points === 2) return [(s.points[from]! + s.points[to - 2]!) / 2, (s.points[from + 1]! + s.points[to - 1]!) / 2];
  const i = from + 2 * Math.floor(points / 2);
  return [(s.points[i]! + s.points[i - 2]!) / 2, (s.points[i + 1]! + s.points[i - 1]!) / 2];
}

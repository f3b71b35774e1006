// Another recording of the same program takes the place of the one on show.

import { batch, signal } from "@preact/signals";
import { restructure } from "../graph/client";
import type { Recording } from "../model/recording";
import { picked, recording, selected, setRecording, span, step, time, version } from "../model/view";
import { forget } from "../panel/data";

/** How often another recording has come. */
export const turn = signal(0);

let redraw: () => void = () => {};

/** How the whole application is drawn anew, where the program has done something else. */
export function setRedraw(draw: () => void): void {
  redraw = draw;
}

/** Whether the same values were computed in the same places, so that the drawing stays. */
function alike(a: Recording, b: Recording): boolean {
  if (a.nodes !== b.nodes || a.edges !== b.edges || a.modules !== b.modules || a.events !== b.events) return false;
  for (let n = 0; n < a.nodes; n++) if (a.name(n) !== b.name(n)) return false;
  return true;
}

/** What every number on the page says. */
function said(): Map<string, string> {
  const found = new Map<string, string>();
  for (const cell of document.querySelectorAll<HTMLElement>("[data-cell]")) found.set(cell.dataset.cell!, cell.title);
  return found;
}

/** Lights the numbers that are others than before, once they are drawn. */
function flash(old: ReadonlyMap<string, string>): void {
  requestAnimationFrame(() => {
    for (const cell of document.querySelectorAll<HTMLElement>("[data-cell]")) {
      const was = old.get(cell.dataset.cell!);
      if (was !== undefined && was !== cell.title) cell.classList.add("changed");
    }
  });
}

/** Shows another recording in the place of this one; the drawing stays where the same values were computed. */
export function show(next: Recording): void {
  if (alike(recording, next)) {
    flash(said());
    batch(() => {
      setRecording(next);
      forget();
      version.value++;
      turn.value++;
    });
    return;
  }
  const atEnd = time.peek() >= span.peek()[1];
  const name = selected.peek() >= 0 ? recording.name(selected.peek()) : "";
  batch(() => {
    setRecording(next);
    forget();
    picked.value = null;
    step.value = Math.min(step.peek(), Math.max(0, next.table("step").rows - 1));
    selected.value = name ? next.find(name) : -1;
    time.value = atEnd ? next.events : Math.min(time.peek(), next.events);
    turn.value++;
  });
  redraw();
  restructure();
}

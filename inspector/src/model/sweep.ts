// The recordings of a declared sweep that the page carries: one for each row of the table `sweep`.

import { signal } from "@preact/signals";
import { decode } from "./decode";
import { Recording } from "./recording";

/** The row that is shown, or -1: the recording that was saved. */
export const sweptTo = signal(-1);

/** The recording that was saved, which has the table. */
let base: Recording;
let carriers: string[] = [];
const made = new Map<number, Promise<Recording>>();

/** Takes the recordings out of the page; they are read when they are asked for. */
export function collect(of: Recording): void {
  base = of;
  const found = [...document.querySelectorAll("script.swept")];
  carriers = found.map((carrier) => carrier.textContent ?? "");
  for (const carrier of found) carrier.remove();
}

export function baseRecording(): Recording {
  return base;
}

export function sweptRows(): number {
  return Math.min(carriers.length, base.table("sweep").rows);
}

const KEPT = 24; // recordings that stay decoded

export function sweptRecording(row: number): Promise<Recording> {
  let found = made.get(row);
  if (!found) {
    found = decode(carriers[row]!).then((container) => new Recording(container));
    if (made.size >= KEPT) made.delete(made.keys().next().value!);
    made.set(row, found);
  }
  return found;
}

/** What a row is called in an address: "lr=0.1". */
export function sweptName(row: number): string {
  const table = base.table("sweep");
  return `${table.text(row, "variable")}=${table.text(row, "text")}`;
}

export function sweptFind(name: string): number {
  for (let row = 0; name && row < sweptRows(); row++) if (sweptName(row) === name) return row;
  return -1;
}

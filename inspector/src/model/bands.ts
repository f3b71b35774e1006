// The limits of health: those of the file until the reader chooses others. Numbers of the recording are held against
// them here; the numbers themselves were all worked out in Python.

import { computed, signal } from "@preact/signals";
import { recording, version } from "./view";

export type Limit = "amber" | "red" | "dead" | "saturated" | "least_update" | "most_update";
export type Limits = Readonly<Record<Limit, number>>;
export type Band = 0 | 1 | 2;

/** For files that name none. */
const DEFAULTS: Limits = { amber: 3, red: 6, dead: 0, saturated: 0.3, least_update: 1e-4, most_update: 1e-2 };
const PAIRS: readonly [Limit, Limit][] = [
  ["amber", "red"],
  ["least_update", "most_update"],
];

/** What the reader chose; the others are the file's. */
export const chosenLimits = signal<Partial<Limits>>({});

export const givenLimits = computed<Limits>(() => {
  void version.value;
  return { ...DEFAULTS, ...recording.info<Partial<Limits>>("bands") };
});

export const limits = computed<Limits>(() => ({ ...givenLimits.value, ...chosenLimits.value }));

/** Whether these limits make bands: numbers from 0 up, the pairs the right way round. */
function sound(tried: Limits): boolean {
  return Object.values(tried).every((x) => x >= 0 && x < Infinity) && PAIRS.every(([low, high]) => tried[low] <= tried[high]);
}

/** Sets a limit, where that is possible. */
export function chooseLimit(name: Limit, value: number): boolean {
  if (!sound({ ...limits.peek(), [name]: value })) return false;
  const { [name]: _, ...others } = chosenLimits.peek();
  chosenLimits.value = value === givenLimits.peek()[name] ? others : { ...others, [name]: value };
  return true;
}

export function resetLimits(): void {
  chosenLimits.value = {};
}

/** The choice in an address: "amber:2,red:4". */
export function writtenLimits(): string {
  return Object.entries(chosenLimits.value)
    .map(([name, value]) => `${name}:${value}`)
    .join(",");
}

export function readLimits(text: string): void {
  const found: Partial<Record<Limit, number>> = {};
  for (const part of text.split(",")) {
    const [name, value] = part.split(":");
    if (name && value && Object.hasOwn(DEFAULTS, name)) found[name as Limit] = Number(value);
  }
  chosenLimits.value = sound({ ...givenLimits.value, ...found }) ? found : {};
}

/** The band of a layer; files of old have no powers, but a band. */
export function layerBand(row: number): Band {
  const table = recording.table("flow");
  if (!table.has("powers")) return Math.max(0, table.number(row, "band")) as Band;
  const powers = table.number(row, "powers");
  return powers > limits.value.red ? 2 : powers > limits.value.amber ? 1 : 0;
}

/** What is too much about an activation. */
export function unitBand(row: number): { dead: boolean; saturated: boolean } {
  const table = recording.table("activation");
  return { dead: table.number(row, "dead") > limits.value.dead, saturated: table.number(row, "saturated") > limits.value.saturated };
}

/** The band of an update, and on which side of the limits it is. */
export function updateBand(row: number): { band: Band; side: "" | "small" | "large" } {
  const ratio = recording.table("update").number(row, "ratio");
  const { least_update: least, most_update: most } = limits.value;
  if (ratio >= least && ratio <= most) return { band: 0, side: "" };
  return { band: ratio >= least / 10 && ratio <= most * 10 ? 1 : 2, side: ratio < least ? "small" : "large" };
}

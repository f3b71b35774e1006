/** Rows of the recording's tables as the panels ask for them; an index is made once, at the first question. */

import type { Contents } from "../model/recording";
import { recording } from "../model/view";

const indexes = new Map<string, Map<number, number[]>>();
const NONE: readonly number[] = [];

/** Rows of `table` whose `column` is `key`, in the order of the table. */
export function where(table: string, column: string, key: number): readonly number[] {
  const name = `${table}.${column}`;
  let index = indexes.get(name);
  if (!index) {
    index = new Map();
    const { rows } = recording.table(table);
    const values = recording.table(table).numbers(column);
    for (let row = 0; row < rows; row++) {
      const list = index.get(values[row]!);
      if (list) list.push(row);
      else index.set(values[row]!, [row]);
    }
    indexes.set(name, index);
  }
  return index.get(key) ?? NONE;
}

/** Every row of `table`. */
export function all(table: string): number[] {
  return Array.from({ length: recording.table(table).rows }, (_, row) => row);
}

/** The first row of `table` about `key`, or -1. */
export function rowOf(table: string, key: number, column = "node"): number {
  return where(table, column, key)[0] ?? -1;
}

export function number(table: string, row: number, column: string): number {
  return recording.table(table).number(row, column);
}

export function text(table: string, row: number, column: string): string {
  return recording.table(table).text(row, column);
}


/** Arguments of `node`: edges into it by their place. */
export function argumentsOf(node: number): number[] {
  return [...recording.arguments(node)].sort((a, b) => number("edge", a, "argnum") - number("edge", b, "argnum"));
}

const drawn = new Map<number, Contents | null>();

/** Forgets what was made from a recording that is no longer shown. */
export function forget(): void {
  indexes.clear();
  drawn.clear();
}

/** The contents of a row of `array`, made once. */
export function contents(row: number): Contents | null {
  if (!drawn.has(row)) drawn.set(row, recording.contents(row));
  return drawn.get(row) ?? null;
}

/** How far from zero the drawable numbers reach; infinities and NaN do not count. */
export function reach(matrix: Contents): number {
  let most = 0;
  const count = matrix.rows * matrix.cols * matrix.slices;
  for (let i = 0; i < count; i++) {
    const size = Math.abs(matrix.at(i));
    if (size > most && size < Infinity) most = size;
  }
  return most;
}

/** The module around everything else: what stands first in a dotted path, of a node. */
export function modulePathOf(node: number): string {
  return recording.modulePath(recording.nodeModule[node]!);
}

// How every number on the page is written, and the element that says which cell of the recording it is.

import { recording } from "./model/view";

const SPACE = "\u202f"; // narrow, no break

/** Integers exactly (grouped from 10,000), others to `digits` significant digits; ties round away from zero. */
export function format(x: number, digits = 4): string {
  if (Number.isNaN(x)) return "NaN";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  if (Object.is(x, -0)) return "−0";
  const size = Math.abs(x);
  const sign = x < 0 ? "−" : "";
  if (Number.isInteger(x) && size < 1e15) return sign + group(String(size));
  let text: string;
  if (size >= 1e-3 && size < 10 ** Math.max(digits, 6)) {
    text = size.toPrecision(digits);
    if (text.includes("e")) text = String(Number(text));
    if (text.includes(".")) text = text.replace(/0+$/, "").replace(/\.$/, "");
    return sign + text;
  }
  const [mantissa, exponent] = size.toExponential(digits - 1).split("e") as [string, string];
  const short = mantissa.includes(".") ? mantissa.replace(/0+$/, "").replace(/\.$/, "") : mantissa;
  return `${sign}${short}e${exponent.replace("+", "").replace("-", "−")}`;
}

function group(digits: string): string {
  return digits.length < 5 ? digits : digits.replace(/\B(?=(\d{3})+$)/g, SPACE);
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Bytes in decimal units, three digits: "1.23 MB". */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let size = bytes;
  while (size >= 999.5 && unit < UNITS.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 ? size : format(Number(size.toPrecision(3)), 3)} ${UNITS[unit]}`;
}

const THOUSANDS = ["", "k", "M", "G", "T", "P"];

/** A count of many, three digits: "34.5 M". */
export function formatCount(count: number): string {
  let unit = 0;
  let size = count;
  while (size >= 999.5 && unit < THOUSANDS.length - 1) {
    size /= 1000;
    unit++;
  }
  return unit === 0 ? format(size) : `${format(Number(size.toPrecision(3)), 3)} ${THOUSANDS[unit]}`;
}

/** Nanoseconds in the unit that fits: "12.3 µs". */
export function formatTime(ns: number): string {
  const [size, unit] = ns < 1e3 ? [ns, "ns"] : ns < 1e6 ? [ns / 1e3, "µs"] : ns < 1e9 ? [ns / 1e6, "ms"] : [ns / 1e9, "s"];
  return `${format(Number(size.toPrecision(3)), 3)} ${unit}`;
}

export type Unit = "number" | "bytes" | "time" | "percent" | "count";

export function formatAs(x: number, unit: Unit, digits = 4): string {
  if (unit === "bytes") return formatBytes(x);
  if (unit === "time") return formatTime(x);
  if (unit === "count") return formatCount(x);
  if (unit === "percent") return `${format(x * 100, 3)}${SPACE}%`;
  return format(x, digits);
}

interface CellProps {
  table: string;
  row: number;
  column: string;
  digits?: number;
  unit?: Unit;
  class?: string;
}

/** One number of the recording on the page, with its cell and its exact value beside it. */
export function Cell({ table, row, column, digits = 4, unit = "number", class: className }: CellProps) {
  const value = recording.table(table).number(row, column);
  return (
    <span
      class={className ? `cell ${className}` : "cell"}
      data-cell={`${table}:${row}:${column}`}
      data-unit={unit}
      data-digits={digits}
      title={String(value)}
    >
      {formatAs(value, unit, digits)}
    </span>
  );
}

/** One element of an array's contents: `index` counts in the recorded (row-major) order. */
export function Element({ array, index, digits = 4 }: { array: number; index: number; digits?: number }) {
  const contents = recording.contents(array);
  const value = contents ? contents.at(index) : NaN;
  return (
    <span class="cell" data-cell={`array:${array}:raw:${index}`} data-unit="number" data-digits={digits} title={String(value)}>
      {format(value, digits)}
    </span>
  );
}

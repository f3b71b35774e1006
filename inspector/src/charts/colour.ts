/** Colours of numbers: red above zero, blue below, the page's own ground at zero. Sign is never told by hue alone. */

export type Rgb = readonly [number, number, number];

const LIGHT = {
  positive: ["#f6f5f2", "#fbdcc9", "#f4a582", "#d6604d", "#b2182b", "#67001f"],
  negative: ["#f6f5f2", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"],
};
const DARK = {
  positive: ["#262b33", "#5a2b2b", "#a23c35", "#e0695a", "#f7a893", "#ffe6dc"],
  negative: ["#262b33", "#1f4465", "#2a6ea6", "#4f9fd9", "#97cbf3", "#e2f2ff"],
};

/** Steps on each side of zero in a table of colours. */
export const STEPS = 255;

export function isDark(): boolean {
  const theme = document.documentElement.dataset.theme;
  if (theme === "dark" || theme === "light") return theme === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function parse(hex: string): Rgb {
  const n = parseInt(hex.slice(1), 16);
  return [n >> 16, (n >> 8) & 255, n & 255];
}

function ramp(stops: string[], t: number): Rgb {
  const at = Math.min(t, 1) * (stops.length - 1);
  const i = Math.min(Math.floor(at), stops.length - 2);
  const a = parse(stops[i]!);
  const b = parse(stops[i + 1]!);
  const f = at - i;
  return [a[0] + (b[0] - a[0]) * f, a[1] + (b[1] - a[1]) * f, a[2] + (b[2] - a[2]) * f];
}

const tables = new Map<boolean, Uint8ClampedArray>();

/** RGB triples for -STEPS..STEPS: entry (k + STEPS) is the colour of k / STEPS. */
export function palette(dark: boolean): Uint8ClampedArray {
  let table = tables.get(dark);
  if (!table) {
    const stops = dark ? DARK : LIGHT;
    table = new Uint8ClampedArray(3 * (2 * STEPS + 1));
    for (let k = -STEPS; k <= STEPS; k++) {
      table.set(ramp(k < 0 ? stops.negative : stops.positive, Math.abs(k) / STEPS), 3 * (k + STEPS));
    }
    tables.set(dark, table);
  }
  return table;
}

export type HeatScale = "linear" | "log";

/** Powers of ten below the largest size that a logarithmic scale shows. */
export const DECADES = 6;

/** Where a number stands between -1 and 1 in colours that are full at `absmax`. */
export function toned(value: number, absmax: number, scale: HeatScale): number {
  if (!(absmax > 0)) return 0;
  const t = value / absmax;
  if (scale === "linear" || t === 0) return t;
  const size = 1 + Math.log10(Math.min(Math.abs(t), 1)) / DECADES;
  // the smallest that is shown differs from zero
  return Math.sign(t) * Math.max(size, 0.04);
}

/** The CSS colour of a number between -1 and 1. */
export function signed(t: number, dark: boolean): string {
  const table = palette(dark);
  const k = 3 * (Math.round(Math.max(-1, Math.min(1, t)) * STEPS) + STEPS);
  return `rgb(${table[k]},${table[k + 1]},${table[k + 2]})`;
}

/** Black or white, whichever is read better on the colour of `t`. */
export function inkOn(t: number, dark: boolean): string {
  const table = palette(dark);
  const k = 3 * (Math.round(Math.max(-1, Math.min(1, t)) * STEPS) + STEPS);
  const linear = (c: number) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const light = 0.2126 * linear(table[k]!) + 0.7152 * linear(table[k + 1]!) + 0.0722 * linear(table[k + 2]!);
  return light > 0.18 ? "#101214" : "#ffffff";
}

const WHEEL = ["#4477aa", "#cc6677", "#228833", "#b8a028", "#33a5b8", "#aa3377", "#887755", "#6c6cc4", "#d07a3e", "#5f8f78"];

/** A colour for a thing among equals, by its place in their order. */
export function categorical(i: number): string {
  return WHEEL[((i % WHEEL.length) + WHEEL.length) % WHEEL.length]!;
}

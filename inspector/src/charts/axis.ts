/** Ticks of axes. */

/** About `count` round numbers between `low` and `high`. */
export function linearTicks(low: number, high: number, count = 5): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 2.5, 5, 10].find((m) => m * power >= raw) ?? 10);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(k * step);
  return ticks;
}

/** Powers of ten between the exponents, `count` of them at most. */
export function decadeTicks(low: number, high: number, count = 6): number[] {
  const step = Math.max(1, Math.ceil((high - low) / count));
  const ticks = [];
  for (let e = Math.ceil(low / step) * step; e <= high + 1e-9; e += step) ticks.push(e);
  return ticks;
}

/** Numbers between powers of ten: the powers where there are several, else also twice and five times them. */
export function logTicks(low: number, high: number, count = 5): number[] {
  if ((high - low) * 3 > count + 1) return decadeTicks(low, high, count).map((e) => 10 ** e);
  const ticks = [];
  for (let e = Math.floor(low); e <= high; e++) {
    for (const m of [1, 2, 5]) {
      const at = e + Math.log10(m);
      if (at >= low && at <= high) ticks.push(Number((m * 10 ** e).toPrecision(1)));
    }
  }
  return ticks;
}

const SUPERSCRIPT: Record<string, string> = {
  "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸", "9": "⁹",
};

/** 10 to the `exponent`, as it is written by hand. */
export function decade(exponent: number, base = "10"): string {
  if (exponent === 0) return "1";
  return base + [...String(exponent)].map((c) => SUPERSCRIPT[c] ?? c).join("");
}

/** A short text of a tick. */
export function tickText(x: number): string {
  if (x === 0) return "0";
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(0).replace("e+", "e") : String(+x.toPrecision(4));
  return text.replace("-", "−");
}


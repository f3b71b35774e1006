/** How many of the sorted numbers in `[from, to)` are below `limit`. */
export function countBefore(sorted: Int32Array, from: number, to: number, limit: number): number {
  let [low, high] = [from, to];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low - from;
}

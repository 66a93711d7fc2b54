/** Moving up and down through tokens laid out in lines. */

export interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/**
 * The index of the box on the next line (`direction` 1) or the previous (-1) nearest to box `from` horizontally;
 * `from` itself when there is no such line.
 */
export function verticalNeighbour(boxes: readonly Box[], from: number, direction: 1 | -1): number {
  const origin = boxes[from];
  if (!origin) return from;
  const middle = (origin.left + origin.right) / 2;
  let lineTop: number | null = null;
  let best = from;
  let bestDistance = Number.POSITIVE_INFINITY;
  for (let i = from + direction; i >= 0 && i < boxes.length; i += direction) {
    const box = boxes[i];
    if (!box) break;
    const beyond = direction === 1 ? box.top >= origin.bottom - 2 : box.bottom <= origin.top + 2;
    if (!beyond) continue;
    lineTop ??= box.top;
    // Half a line of tolerance: a fallback font on the same line sits a few pixels off.
    if (Math.abs(box.top - lineTop) > (origin.bottom - origin.top) / 2) break;
    const distance = Math.abs((box.left + box.right) / 2 - middle);
    if (distance < bestDistance) {
      best = i;
      bestDistance = distance;
    }
  }
  return best;
}

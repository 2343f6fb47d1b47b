/** 2²⁷ + 1: parts a double into two halves whose products are exact (T. J. Dekker, 1971). */
const SPLITTER = 134_217_729

/** What rounding took from `product`, which is `a * b` as a double. */
function roundedOff(a: number, b: number, product: number): number {
  const wideA = SPLITTER * a
  const highA = wideA - (wideA - a)
  const lowA = a - highA
  const wideB = SPLITTER * b
  const highB = wideB - (wideB - b)
  const lowB = b - highB
  return lowA * lowB - (product - highA * highB - lowA * highB - highA * lowB)
}

/** Whether `a × b ≥ c × d`, exactly: as doubles the two products can be equal while they are not. */
export function productAtLeast(a: number, b: number, c: number, d: number): boolean {
  const left = a * b
  const right = c * d
  if (left !== right) return left > right
  return roundedOff(a, b, left) >= roundedOff(c, d, right)
}

import Table from 'cli-table3'

/** A table without lines, as kubectl prints: a header, columns two spaces apart. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const none = ''
  const t = new Table({
    head: [...head],
    chars: {
      top: none, 'top-mid': none, 'top-left': none, 'top-right': none,
      bottom: none, 'bottom-mid': none, 'bottom-left': none, 'bottom-right': none,
      left: none, 'left-mid': none, mid: none, 'mid-mid': none,
      right: none, 'right-mid': none, middle: '  ',
    }, // biome-ignore format: three lines
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
  })
  t.push(...rows.map((row) => [...row]))
  return t
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

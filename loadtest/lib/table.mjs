// The table of one scenario.
import Table from 'cli-table3'

const sorted = (numbers) => [...numbers].sort((a, b) => a - b)

/** The middle value, or the mean of the two in the middle. */
export function median(numbers) {
  const s = sorted(numbers)
  const half = s.length / 2
  return s.length % 2 ? s[Math.floor(half)] : (s[half - 1] + s[half]) / 2
}

/**
 * CPU ratios to another peer, taken within each round and then the median of the rounds: what slows the machine
 * for a while slows both.
 */
export function ratio(peer, base) {
  const pairs = Math.min(peer.samples.length, base.samples.length)
  if (pairs === 0) return Number.NaN
  return median(Array.from({ length: pairs }, (_, i) => peer.samples[i].micros / base.samples[i].micros))
}

export function printTable(title, peers) {
  const base = peers.find((p) => p.name === 'nginx') ?? peers[0]
  const table = new Table({
    head: ['', 'CPU µs/request', 'min', `× ${base?.name ?? ''}`, 'requests/s', 'p50 ms', 'p99 ms', 'RSS MB', 'errors'],
    style: { head: [], border: [] },
    colAligns: ['left', ...Array(8).fill('right')],
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
  })
  for (const peer of peers) {
    const of = (key) => peer.samples.map((s) => s[key])
    table.push([
      peer.name,
      median(of('micros')).toFixed(1),
      Math.min(...of('micros')).toFixed(1),
      ratio(peer, base).toFixed(2),
      Math.round(median(of('rate'))),
      median(of('p50')).toFixed(2),
      median(of('p99')).toFixed(2),
      Math.max(...of('rss')).toFixed(0),
      of('errors').reduce((a, b) => a + b, 0),
    ])
  }
  console.log(`\n${title}\n${table.toString()}`)
}

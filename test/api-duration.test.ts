import { describe, expect, it } from 'vitest'
import { isDuration, parseDuration } from '../src/api/duration.ts'
import { closest } from '../src/api/suggest.ts'

describe("durations in Go's notation", () => {
  it.each([
    ['5s', 5000],
    ['1.5s', 1500],
    ['3m', 180_000],
    ['1h30m', 5_400_000],
    ['100ms', 100],
    ['1h2m3.5s', 3_723_500],
    ['250us', 0.25],
    ['1µs', 0.001],
    ['15ns', 0.000015],
    ['0', 0],
    ['0s', 0],
    ['.5s', 500],
    ['1.s', 1000],
    ['-2ms', -2],
    ['+2ms', 2],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['', '5', '5 s', '5S', 's', '1d', '.s', '--1s', '1s-', 'forever'])('%j is none', (text) => {
    expect(isDuration(text)).toBe(false)
    expect(() => parseDuration(text)).toThrow(RangeError)
  })
})

describe('the field that was meant', () => {
  const known = ['weight', 'destination', 'headers', 'mirrorPercentage', 'retries', 'route']

  it.each([
    ['weigth', 'weight'],
    ['Weight', 'weight'],
    ['mirror_percentage', 'mirrorPercentage'],
    ['retrie', 'retries'],
    ['routes', 'route'],
    ['destinations', 'destination'],
    ['header', 'headers'],
    ['something', undefined],
    ['x', undefined],
  ])('%s', (word, meant) => {
    expect(closest(word, known)).toBe(meant)
  })
})

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HeaderMap, headerName, RequestHead, ResponseHead } from '../src/proxy/http/headers.ts'

const list = (map: HeaderMap): string[] => {
  const out: string[] = []
  map.forEach((name, value) => {
    out.push(`${name}: ${value}`)
  })
  return out
}

const bytes = (map: HeaderMap): string => {
  const to = Buffer.alloc(map.linesSize())
  return to.toString('latin1', 0, map.copyLines(to, 0))
}

const A = headerName('X-A')
const B = headerName('x-b')
const C = headerName('x-c')

describe('a header map', () => {
  test('keeps lines in order, and repeated ones', () => {
    const map = new HeaderMap()
    map.add(A, '1')
    map.add(B, '2')
    map.add(A, '3')
    expect(list(map)).toEqual(['x-a: 1', 'x-b: 2', 'x-a: 3'])
    expect(map.get(A)).toBe('1')
    expect(map.values(A)).toEqual(['1', '3'])
    expect(map.get(C)).toBeUndefined()
    expect(map.count).toBe(3)
    expect(map.byteSize).toBe(12)
  })

  test('set leaves one line, where the first one was', () => {
    const map = new HeaderMap()
    for (const [name, value] of [
      [A, '1'],
      [B, '2'],
      [A, '3'],
    ] as const)
      map.add(name, value)
    map.set(A, 'longer than before')
    map.set(C, 'new')
    expect(list(map)).toEqual(['x-a: longer than before', 'x-b: 2', 'x-c: new'])
    expect(bytes(map)).toBe('x-a: longer than before\r\nx-b: 2\r\nx-c: new\r\n')
  })

  test('remove takes all lines of a name', () => {
    const map = new HeaderMap()
    for (const [name, value] of [
      [A, '1'],
      [B, '2'],
      [A, '3'],
    ] as const)
      map.add(name, value)
    expect(map.remove(A)).toBe(true)
    expect(map.remove(A)).toBe(false)
    expect(bytes(map)).toBe('x-b: 2\r\n')
  })

  test('names with the same hash are told apart', () => {
    const one = headerName('x-1~')
    const two = headerName('x-2_')
    expect(one.hash).toBe(two.hash)
    const map = new HeaderMap()
    map.add(one, '1')
    expect([map.has(two), map.get(one)]).toEqual([false, '1'])
  })

  test('a copy shares nothing', () => {
    const head = RequestHead.create('GET', '/p', 'a')
    head.add(A, '1')
    const copy = head.clone()
    head.set(A, '2')
    head.path = '/q'
    expect([copy.get(A), copy.path, copy.method, copy.authority]).toEqual(['1', '/p', 'GET', 'a'])
  })

  test('a value beyond latin1 leaves as UTF-8, line breaks never leave', () => {
    const map = new HeaderMap()
    map.add(A, 'ü→\r\nx')
    map.add(B, '\xe9')
    expect(Buffer.from(bytes(map), 'latin1').toString('latin1')).toBe(
      `x-a: ${Buffer.from('ü→x').toString('latin1')}\r\nx-b: \xe9\r\n`,
    )
  })

  test('tokens are found whatever their case', () => {
    const map = new HeaderMap()
    map.add(A, 'foo, Bar ,baz')
    expect([map.hasToken(A, 'bar'), map.hasToken(A, 'ba')]).toEqual([true, false])
  })

  test('a released response head starts empty', () => {
    const head = ResponseHead.create(404)
    head.add(A, '1')
    head.release()
    expect(ResponseHead.create(200).count).toBe(0)
  })

  test('behaves as a list of pairs would, whatever is done to it', () => {
    const name = fc.constantFrom(...['a', 'b', 'x-long-name-of-a-header', 'q1', 'q2', 'q3'].map((n) => headerName(n)))
    const step = fc.record({
      op: fc.constantFrom('add', 'set', 'remove'),
      name,
      value: fc.string({ unit: fc.constantFrom('a', 'b', ' ', 'é'), maxLength: 80 }),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const map = new HeaderMap(16)
        let model: [string, string][] = []
        for (const s of steps) {
          const n = s.name.name
          if (s.op === 'add') {
            map.add(s.name, s.value)
            model.push([n, s.value])
          } else if (s.op === 'remove') {
            map.remove(s.name)
            model = model.filter(([m]) => m !== n)
          } else {
            map.set(s.name, s.value)
            const first = model.findIndex(([m]) => m === n)
            if (first < 0) model.push([n, s.value])
            else
              model = model.flatMap((p, i) => (i === first ? [[n, s.value]] : p[0] === n ? [] : [p])) as [
                string,
                string,
              ][]
          }
        }
        expect(list(map)).toEqual(model.map(([n, v]) => `${n}: ${v}`))
        expect(bytes(map)).toBe(model.map(([n, v]) => `${n}: ${v}\r\n`).join(''))
        for (const n of ['a', 'b', 'q1']) expect(map.has(headerName(n))).toBe(model.some(([m]) => m === n))
      }),
      { numRuns: 200 },
    )
  })
})

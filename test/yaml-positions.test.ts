import { describe, expect, it } from 'vitest'
import { formatProblem, formatProblems, pathText } from '../src/api/problems.ts'
import { parseYaml } from '../src/api/yaml.ts'

const said = (text: string, options = {}) =>
  parseYaml('f.yaml', text, options).problems.map(
    ({ line, col, severity, message }) => `${line}:${col} ${severity} ${message}`,
  )

describe('a path is found in the file', () => {
  const text = `# a comment
a:
  - b: yes
    "c d": {x: 010, y: [1, two]}
    e: &anchor
      m: 1
  - *anchor
  - <<: *anchor
    n: |
      text
empty:
`
  const [document] = parseYaml('f.yaml', text).documents
  const at = (...path: (string | number)[]) => {
    const { line, col } = document!.locate(path)
    return `${line}:${col}`
  }

  it('of a scalar', () => {
    expect(at('a', 0, 'b')).toBe('3:8')
    expect(at('a', 0, 'c d', 'x')).toBe('4:16')
    expect(at('a', 0, 'c d', 'y', 1)).toBe('4:28')
  })

  it('of a block, which is where its key is', () => {
    expect(at('a')).toBe('2:1')
    expect(at('a', 0, 'e')).toBe('5:5')
  })

  it('of an entry of a list', () => {
    expect(at('a', 0)).toBe('3:5')
  })

  it('of what an alias or a merge key brings in', () => {
    expect(at('a', 1, 'm')).toBe('6:10')
    expect(at('a', 2, 'm')).toBe('6:10')
    expect(at('a', 2, 'n')).toBe('9:8')
  })

  it('of an empty value, and of the nearest parent of what is not there', () => {
    expect(at('empty')).toBe('11:1')
    expect(at('a', 0, 'nope', 'deeper')).toBe('3:5')
    expect(at('nope')).toBe('2:1')
  })

  it('with values as kubectl reads them', () => {
    expect(document!.value).toEqual({
      a: [{ b: true, 'c d': { x: 8, y: [1, 'two'] }, e: { m: 1 } }, { m: 1 }, { m: 1, n: 'text\n' }],
      empty: null,
    })
  })
})

describe('a stream of documents', () => {
  it('may mix YAML and JSON, with places in the whole file', () => {
    const text = 'a: 1\n---\n{"b": {"c": 2}}\n--- # three\nd:\n  e: 3\n---\n{"f": [1,\n 2]}\n'
    const { documents, problems } = parseYaml('f.yaml', text)
    expect(problems).toEqual([])
    expect(documents.map(({ value }) => value)).toEqual([{ a: 1 }, { b: { c: 2 } }, { d: { e: 3 } }, { f: [1, 2] }])
    expect(documents.map(({ start }) => `${start.line}:${start.col}`)).toEqual(['1:1', '3:1', '5:1', '8:1'])
    expect(documents[1]!.locate(['b', 'c'])).toEqual({ file: 'f.yaml', line: 3, col: 13 })
    expect(documents[3]!.locate(['f', 1])).toEqual({ file: 'f.yaml', line: 9, col: 2 })
  })

  it('may be empty, or have empty documents', () => {
    expect(parseYaml('f.yaml', '')).toEqual({ documents: [], problems: [] })
    expect(parseYaml('f.yaml', '# nothing\n---\n---\n').problems).toEqual([])
  })

  it('may have directives, CRLFs and a byte order mark', () => {
    expect(parseYaml('f.yaml', '%YAML 1.2\n---\na: 1\n').documents.map(({ value }) => value)).toEqual([{ a: 1 }])
    const { documents } = parseYaml('f.yaml', '\uFEFFa: 1\r\nb:\r\n  c: 2\r\n')
    expect(documents[0]!.value).toEqual({ a: 1, b: { c: 2 } })
    expect(documents[0]!.locate(['b', 'c'])).toMatchObject({ line: 3, col: 6 })
  })

  it('is read quickly', () => {
    const one =
      'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {app: a}\ndata:\n  a: b\n  c: |\n    d\n'
    const text = Array.from({ length: 100 }, () => one).join('---\n')
    const cpu = [1, 2, 3].map(() => {
      const start = process.cpuUsage().user
      expect(parseYaml('f.yaml', text).documents).toHaveLength(100)
      return (process.cpuUsage().user - start) / 1000
    })
    expect(Math.min(...cpu)).toBeLessThan(300)
  })
})

describe('what is no YAML is one problem per document, and leaves the others', () => {
  it('syntax errors', () => {
    const text = 'a: [1\n---\nb: 2\n---\nc: "x\n'
    expect(said(text)).toEqual([
      '1:6 error YAML: Flow sequence in block collection must be sufficiently indented and end with a ]',
      '5:6 error YAML: Missing closing "quote',
    ])
    expect(parseYaml('f.yaml', text).documents.map(({ value }) => value)).toEqual([{ b: 2 }])
  })

  it('tabs, and wrong indentation', () => {
    expect(said('a:\n\tb: 1\n')[0]).toMatch(/^2:1 error YAML: /)
    expect(said('a:\n  b: 1\n c: 2\n')[0]).toMatch(/^3:\d error YAML: /)
  })

  it('duplicate keys', () => {
    expect(said('a:\n  b: 1\n  b: 2\n')).toEqual(['3:3 error field "b" is given twice'])
    expect(said('{"a": {"b c": 1, "b c": 2}}')).toEqual(['1:18 error field "b c" is given twice'])
  })

  it('aliases that lead nowhere, or explode', () => {
    expect(said('a: *nope\n')[0]).toMatch(/^1:\d error YAML: /)
    let bomb = 'a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n'
    for (let i = 1; i < 9; i++) bomb += `a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]\n`
    expect(said(bomb)[0]).toMatch(/^1:1 error YAML: Excessive alias count/)
  })
})

describe('three dots for what is left out', () => {
  const text = 'kind: Pod\nspec:\n  a: 1\n  ...\n'

  it('are left out, with a warning', () => {
    expect(said(text)).toEqual(['4:3 warning "..." is not YAML: taken as "left out", and ignored'])
    const [document] = parseYaml('f.yaml', text).documents
    expect(document).toMatchObject({ value: { kind: 'Pod', spec: { a: 1 } }, elided: true })
  })

  it('are the error that they are, if strict', () => {
    expect(said(text, { strict: true })[0]).toMatch(/^4:\d error YAML: /)
  })

  it('are text inside of text', () => {
    expect(parseYaml('f.yaml', 'a: |\n  ...\n').documents[0]!.value).toEqual({ a: '...\n' })
  })
})

describe('a problem is printed', () => {
  it('with the line and a caret', () => {
    const [document] = parseYaml('dir/f.yaml', 'a:\n\n  b: {c: 1}\n').documents
    expect(formatProblem(document!.problem('error', ['a', 'b', 'c'], 'no'))).toBe(
      'dir/f.yaml:3:10: error: no\n    b: {c: 1}\n           ^',
    )
  })

  it('with only a part of a very long line', () => {
    const json = JSON.stringify({ a: 'x'.repeat(500), b: 1, c: 'y'.repeat(500) })
    const [document] = parseYaml('f.json', json).documents
    const [head, line, caret] = formatProblem(document!.problem('warning', ['b'], 'no')).split('\n')
    expect(head).toBe('f.json:1:513: warning: no')
    expect(line!.length).toBeLessThan(170)
    expect(line![caret!.indexOf('^')]).toBe('1')
  })

  it('with the tabs of the line', () => {
    expect(formatProblem({ severity: 'info', message: 'm', file: 'f', line: 1, col: 3, excerpt: '\t\tx' })).toBe(
      'f:1:3: info: m\n  \t\tx\n  \t\t^',
    )
  })

  it('without a place where there is none', () => {
    expect(formatProblems([{ severity: 'error', message: 'gone', file: 'f', line: 0, col: 0 }])).toBe('f: error: gone')
  })

  it('with a path as people write it', () => {
    expect(pathText(['spec', 'http', 0, 'match'])).toBe('spec.http[0].match')
    expect(pathText(['metadata', 'labels', 'a.b/c'])).toBe('metadata.labels["a.b/c"]')
  })
})

import { mkdir, mkdtemp, open as openFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SystemRuntime } from '../src/runtime-system.ts'
import type { FilesReport, FilesSource } from '../src/store/files.ts'
import { openFiles } from '../src/store/files.ts'
import type { Change, Store } from '../src/store/store.ts'
import { createStore } from '../src/store/store.ts'

const configMap = (name: string, value: string) =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}}\ndata: {v: "${value}"}\n`

let folder: string
let store: Store
let source: FilesSource | undefined
let changes: Change[]
let reports: FilesReport[]
let wake: () => void

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dinghy-files-'))
  store = createStore(new SystemRuntime())
  changes = []
  reports = []
  wake = () => {}
  store.subscribe((change) => changes.push(change))
})

afterEach(async () => {
  await source?.close()
  source = undefined
  await rm(folder, { recursive: true })
})

const write = (name: string, text: string) => writeFile(join(folder, name), text)

const open = async (
  paths: string[],
  options: { watch?: boolean; strict?: boolean; settleMs?: number; readStdin?: () => Promise<string> } = {},
) => {
  source = await openFiles({
    store,
    runtime: new SystemRuntime(),
    paths,
    settleMs: 20,
    onReport: (report) => {
      reports.push(report)
      wake()
    },
    ...options,
  })
  return source.report
}

/** The next report that is not there yet. */
const nextReport = async (): Promise<FilesReport> => {
  if (reports.length === 0) {
    await new Promise<void>((done) => {
      wake = done
    })
  }
  return reports.shift()!
}

const values = () => store.list('ConfigMap').map(({ metadata, data }) => `${metadata.name}=${data?.v}`)

describe('at the start', () => {
  it('files, folders and the standard input are read, as one change', async () => {
    await mkdir(join(folder, 'dir/deep'), { recursive: true })
    await write('one.yaml', `${configMap('a', '1')}---\n${configMap('b', '1')}`)
    await write('dir/z.yml', configMap('c', '1'))
    await write(
      'dir/deep/y.json',
      JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'd' }, data: { v: '1' } }),
    )
    await write('dir/README.md', 'not: read\n')
    const report = await open([join(folder, 'one.yaml'), join(folder, 'dir'), '-'], {
      readStdin: async () => configMap('e', '1'),
    })
    expect(report.problems).toEqual([])
    expect(report.files).toEqual([
      join(folder, 'one.yaml'),
      join(folder, 'dir/deep/y.json'),
      join(folder, 'dir/z.yml'),
      'stdin',
    ])
    expect(values()).toEqual(['a=1', 'b=1', 'c=1', 'd=1', 'e=1'])
    expect(changes).toHaveLength(1)
  })

  it('a file that is given twice is read once', async () => {
    await write('a.yaml', configMap('a', '1'))
    const report = await open([join(folder, 'a.yaml'), folder])
    expect(report).toEqual({ files: [join(folder, 'a.yaml')], problems: [] })
  })

  it('what cannot be read is a problem with its name, and the rest is there', async () => {
    await write('a.yaml', configMap('a', '1'))
    await mkdir(join(folder, 'empty'))
    const { problems } = await open([join(folder, 'nope.yaml'), join(folder, 'empty'), join(folder, 'a.yaml')])
    expect(problems.map(({ file, line, severity, message }) => `${file}:${line} ${severity} ${message}`)).toEqual([
      `${join(folder, 'nope.yaml')}:0 error cannot be read: no such file or folder`,
      `${join(folder, 'empty')}:0 warning no *.yaml, *.yml or *.json file in this folder`,
    ])
    expect(values()).toEqual(['a=1'])
  })

  it('a file with an error is not applied in part', async () => {
    await write('a.yaml', `${configMap('a', '1')}---\nkind: Nope\n`)
    await write('b.yaml', configMap('b', '1'))
    const { problems } = await open([folder])
    expect(problems.map(({ file, line, message }) => `${file}:${line} ${message}`)).toEqual([
      `${join(folder, 'a.yaml')}:6 no apiVersion: not an object that can be applied`,
    ])
    expect(values()).toEqual(['b=1'])
  })

  it('what is defined twice is a warning', async () => {
    await write('a.yaml', configMap('a', '1'))
    await write('b.yaml', configMap('a', '2'))
    const { problems } = await open([folder])
    expect(problems.map(({ file, message }) => `${file} ${message}`)).toEqual([
      `${join(folder, 'b.yaml')} ConfigMap default/a is defined twice: this one takes the place of the one at ${join(folder, 'a.yaml')}:1`,
    ])
    expect(values()).toEqual(['a=2'])
  })
})

describe('while it runs', () => {
  it('an edit is one change', async () => {
    await write('a.yaml', `${configMap('a', '1')}---\n${configMap('b', '1')}`)
    await open([join(folder, 'a.yaml')], { watch: true })
    await write('a.yaml', `${configMap('a', '2')}---\n${configMap('c', '1')}`)
    expect(await nextReport()).toEqual({ files: [join(folder, 'a.yaml')], problems: [] })
    expect(values()).toEqual(['a=2', 'c=1'])
    expect(changes).toHaveLength(2)
  })

  it('an edit by rename, as editors save, is one change, again and again', async () => {
    await write('a.yaml', configMap('a', '0'))
    await open([join(folder, 'a.yaml')], { watch: true })
    for (const value of ['1', '2', '3']) {
      await write('.a.yaml.swp', configMap('a', value))
      await rename(join(folder, '.a.yaml.swp'), join(folder, 'a.yaml'))
      await nextReport()
      expect(values()).toEqual([`a=${value}`])
    }
    expect(changes).toHaveLength(4)
    expect(changes.every(({ deleted }) => deleted.length === 0)).toBe(true)
  })

  it('a bad edit is reported and changes nothing, until it is mended', async () => {
    await write('a.yaml', configMap('a', '1'))
    await open([folder], { watch: true })
    await write('a.yaml', 'apiVersion: v1\nkind: [\n')
    const { problems } = await nextReport()
    expect(problems).toMatchObject([{ severity: 'error', file: join(folder, 'a.yaml') }])
    expect(values()).toEqual(['a=1'])
    expect(changes).toHaveLength(1)
    await write('a.yaml', configMap('a', '2'))
    expect((await nextReport()).problems).toEqual([])
    expect(values()).toEqual(['a=2'])
  })

  it('files that come and go in a folder', async () => {
    await mkdir(join(folder, 'deep'))
    await write('a.yaml', configMap('a', '1'))
    await open([folder], { watch: true })
    await write('deep/b.yaml', configMap('b', '1'))
    await nextReport()
    expect(values()).toEqual(['a=1', 'b=1'])
    await rm(join(folder, 'a.yaml'))
    await nextReport()
    expect(values()).toEqual(['b=1'])
    await write('notes.txt', 'nothing')
    await write('deep/b.yaml', configMap('b', '2'))
    expect((await nextReport()).files).toEqual([join(folder, 'deep/b.yaml')])
  })

  it('a file that is empty for a moment loses nothing', async () => {
    await write('a.yaml', configMap('a', '1'))
    await open([folder], { watch: true })
    await write('a.yaml', '')
    setTimeout(() => void write('a.yaml', configMap('a', '2')), 120)
    await nextReport()
    expect(values()).toEqual(['a=2'])
    expect(changes.every(({ deleted }) => deleted.length === 0)).toBe(true)
  })

  /** A writer as most are: the file is emptied, then filled in pieces. */
  const writeInHalves = async (name: string, text: string, pauseMs: number) => {
    const file = await openFile(join(folder, name), 'w')
    const middle = Math.floor(text.length / 2)
    await file.write(text.slice(0, middle))
    await delay(pauseMs)
    await file.write(text.slice(middle))
    await file.close()
  }
  /** Some 200 KB, with more objects from version to version. */
  const big = (version: number) =>
    Array.from({ length: 300 + version }, (_, i) => configMap(`m${i}`, `${version} ${'x'.repeat(600)}`)).join('---\n')

  it.each([30, 120])('a big file that is written in halves %i ms apart is never read half', async (pauseMs) => {
    await write('a.yaml', big(0))
    await open([folder], { watch: true, settleMs: 50 })
    const rounds = pauseMs === 30 ? 12 : 4
    for (let version = 1; version <= rounds; version++) {
      await writeInHalves('a.yaml', big(version), pauseMs)
      const written = performance.now()
      expect(await nextReport()).toEqual({ files: [join(folder, 'a.yaml')], problems: [] })
      expect(values()).toHaveLength(300 + version)
      expect(performance.now() - written).toBeLessThan(1000)
    }
    expect(changes).toHaveLength(1 + rounds)
    expect(changes.every(({ deleted }) => deleted.length === 0)).toBe(true)
  })

  it('a file that is written to without a rest is followed all the same, and never half', async () => {
    await write('a.yaml', big(0))
    await open([folder], { watch: true, settleMs: 50 })
    for (let version = 1; version <= 20; version++) {
      await writeInHalves('a.yaml', big(version), 30)
      await delay(20)
    }
    while (values().length < 320) await nextReport()
    expect(reports.flatMap(({ problems }) => problems)).toEqual([])
    expect(changes.every(({ deleted }) => deleted.length === 0)).toBe(true)
  })

  it('files that are edited together are one change, also when one of them takes longer', async () => {
    await write('a.yaml', big(0))
    await write('b.yaml', configMap('b', '0'))
    await open([folder], { watch: true, settleMs: 50 })
    await write('b.yaml', configMap('b', '1'))
    await writeInHalves('a.yaml', big(1), 30)
    await nextReport()
    expect(changes).toHaveLength(2)
    expect(values()).toHaveLength(302)
  })

  it('a file that is broken is told once, whatever happens to others', async () => {
    await write('a.yaml', configMap('a', '1'))
    await open([folder], { watch: true })
    await writeInHalves('a.yaml', 'apiVersion: v1\nkind: [\n', 30)
    expect((await nextReport()).problems).toHaveLength(1)
    await write('b.yaml', configMap('b', '1'))
    expect(await nextReport()).toEqual({ files: [join(folder, 'b.yaml')], problems: [] })
    expect(values()).toEqual(['a=1', 'b=1'])
  })

  it('a file that stays empty has no objects', async () => {
    await write('a.yaml', configMap('a', '1'))
    await open([folder], { watch: true })
    await write('a.yaml', '')
    await nextReport()
    expect(values()).toEqual([])
  })
})

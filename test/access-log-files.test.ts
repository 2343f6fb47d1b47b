import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BufferedLogFiles } from '../src/proxy/observe/log-files.ts'
import { StatsStore } from '../src/proxy/observe/stats.ts'
import { TestRuntime } from '../src/runtime-test.ts'

let dir: string
let runtime: TestRuntime
let stats: StatsStore
let logs: BufferedLogFiles

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'log-files-'))
  runtime = new TestRuntime()
  stats = new StatsStore()
  logs = new BufferedLogFiles(runtime, stats)
})

afterEach(async () => {
  await logs.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

const counter = (name: string): number => stats.counter(`filesystem.${name}`).value

describe('an access-log file', () => {
  it('keeps lines in memory and has them within a second', async () => {
    const file = path.join(dir, 'a.log')
    const log = logs.open(file)
    log.write('one\n')
    log.write('two\n')
    expect(fs.readFileSync(file, 'utf8')).toBe('')
    expect(stats.gauge('filesystem.write_total_buffered').value).toBe(8)
    runtime.advance(1000)
    await logs.flush()
    expect(fs.readFileSync(file, 'utf8')).toBe('one\ntwo\n')
    expect([counter('write_buffered'), counter('write_completed'), counter('flushed_by_timer')]).toEqual([2, 1, 1])
    expect(stats.gauge('filesystem.write_total_buffered').value).toBe(0)
  })

  it('writes a batch of 64 KB without waiting', async () => {
    const file = path.join(dir, 'a.log')
    const log = logs.open(file)
    for (let i = 0; i < 70; i++) log.write(`${'x'.repeat(1023)}\n`)
    await logs.flush()
    expect(fs.statSync(file).size).toBe(70 * 1024)
    expect(counter('flushed_by_timer')).toBe(0)
  })

  it('is one file however often it is opened, and keeps what was in it', async () => {
    const file = path.join(dir, 'a.log')
    fs.writeFileSync(file, 'before\n')
    expect(logs.open(file)).toBe(logs.open(file))
    logs.open(file).write('after\n')
    await logs.flush()
    expect(fs.readFileSync(file, 'utf8')).toBe('before\nafter\n')
  })

  it('is created again when it was moved away', async () => {
    const file = path.join(dir, 'a.log')
    const log = logs.open(file)
    log.write('one\n')
    await logs.flush()
    fs.renameSync(file, `${file}.1`)
    runtime.advance(1000)
    log.write('two\n')
    await logs.flush()
    expect(fs.readFileSync(file, 'utf8')).toBe('two\n')
    expect(fs.readFileSync(`${file}.1`, 'utf8')).toBe('one\n')
  })

  it('gets what is waiting when the proxy stops', async () => {
    const file = path.join(dir, 'a.log')
    logs.open(file).write('last\n')
    await logs.close()
    expect(fs.readFileSync(file, 'utf8')).toBe('last\n')
  })

  it('loses and counts lines rather than pile them up without end', async () => {
    const log = logs.open(path.join(dir, 'a.log'))
    const line = 'x'.repeat(1024 * 1024)
    for (let i = 0; i < 40; i++) log.write(line)
    expect(counter('write_failed')).toBeGreaterThan(0)
    expect(counter('write_buffered') + counter('write_failed')).toBe(40)
  })

  it('refuses a path that cannot be opened', () => {
    expect(() => logs.open(path.join(dir, 'no/such/folder/a.log'))).toThrow('ENOENT')
  })
})

describe('/dev/stdout and /dev/stderr', () => {
  it('go to whoever embeds the proxy', async () => {
    const out: string[] = []
    const embedded = new BufferedLogFiles(runtime, stats, {
      stdout: (bytes) => out.push(`out ${Buffer.from(bytes).toString()}`),
      stderr: (bytes) => out.push(`err ${Buffer.from(bytes).toString()}`),
    })
    embedded.open('/dev/stdout').write('a\xc3\xa9\n')
    embedded.open('/dev/stderr').write('b\n')
    await embedded.close()
    expect(out).toEqual(['out aé\n', 'err b\n'])
  })
})

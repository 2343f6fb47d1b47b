import fs from 'node:fs'
import type { Runtime, Timer } from '../../runtime.ts'
import type { LogFile, LogFiles } from '../context.ts'
import type { Counter, Gauge, StatsStore } from './stats.ts'

/** Longest time, in ms, that a line waits before it is written. */
const FLUSH_MS = 500
/** A file is looked for in its place at most this often, in ms. */
const LOOK_MS = 1000
/** A buffer of this many bytes is written at once, as Envoy does. */
const FLUSH_BYTES = 64 * 1024
/** Past this many bytes waiting for a stalled disk, lines are dropped and counted as failed writes. */
const MAX_WAITING = 16 * 1024 * 1024

/** Where the lines of the two standard streams go when the proxy is part of another program. */
export interface StandardStreams {
  stdout(bytes: Uint8Array): void
  stderr(bytes: Uint8Array): void
}

const processStreams: StandardStreams = {
  stdout: (bytes) => writeStream(process.stdout, bytes),
  stderr: (bytes) => writeStream(process.stderr, bytes),
}

function writeStream(stream: NodeJS.WriteStream, bytes: Uint8Array): void {
  if (stream.writableLength < MAX_WAITING) stream.write(bytes)
}

/** Counters of all log files (source/common/access_log/access_log_manager_impl.h). */
class FileStats {
  readonly writeBuffered: Counter
  readonly writeCompleted: Counter
  readonly writeFailed: Counter
  readonly flushedByTimer: Counter
  readonly reopenFailed: Counter
  readonly writeTotalBuffered: Gauge

  constructor(stats: StatsStore) {
    this.writeBuffered = stats.counter('filesystem.write_buffered')
    this.writeCompleted = stats.counter('filesystem.write_completed')
    this.writeFailed = stats.counter('filesystem.write_failed')
    this.flushedByTimer = stats.counter('filesystem.flushed_by_timer')
    this.reopenFailed = stats.counter('filesystem.reopen_failed')
    this.writeTotalBuffered = stats.gauge('filesystem.write_total_buffered')
  }
}

/**
 * Log files appended to in batches: lines are kept in memory and written within half a second, or at 64 KB,
 * away from traffic. A file that was moved or removed is created again; one that cannot be written loses
 * lines (`filesystem.write_failed`) rather than stop traffic. Lines are byte strings.
 */
export class BufferedLogFiles implements LogFiles {
  readonly #files = new Map<string, BufferedLog>()
  readonly #runtime: Runtime
  readonly #stats: FileStats
  readonly #streams: StandardStreams

  constructor(runtime: Runtime, stats: StatsStore, streams: StandardStreams = processStreams) {
    this.#runtime = runtime
    this.#stats = new FileStats(stats)
    this.#streams = streams
  }

  /** Opens, and creates, the file; the same path gives the same file. Throws the system's error when it cannot. */
  open(path: string): LogFile {
    let file = this.#files.get(path)
    if (!file) {
      file = new BufferedLog(this.#runtime, this.#stats, this.#sink(path))
      this.#files.set(path, file)
    }
    return file
  }

  #sink(path: string): Sink {
    if (path === '/dev/stdout') return streamSink((bytes) => this.#streams.stdout(bytes))
    if (path === '/dev/stderr') return streamSink((bytes) => this.#streams.stderr(bytes))
    return new FileSink(path)
  }

  /** Writes what is waiting; resolves when it is on its way to the disk. */
  async flush(): Promise<void> {
    await Promise.all([...this.#files.values()].map((file) => file.flushed()))
  }

  /** Opens each file again before its next write, for log rotation. */
  reopen(): void {
    for (const file of this.#files.values()) file.reopen()
  }

  /** Writes what is waiting and closes all files. */
  async close(): Promise<void> {
    const files = [...this.#files.values()]
    this.#files.clear()
    await Promise.all(files.map((file) => file.close()))
  }
}

/** Takes whole batches, one at a time. */
interface Sink {
  /**
   * `done` is called once, with whether all of it was written; maybe before `write` returns. `look`: see whether
   * the file is still in its place.
   */
  write(bytes: Buffer, look: boolean, done: (ok: boolean) => void): void
  /** Opens again; false when that failed. */
  reopen(): boolean
  close(): void
}

function streamSink(write: (bytes: Uint8Array) => void): Sink {
  return {
    write(bytes, _look, done) {
      write(bytes)
      done(true)
    },
    reopen: () => true,
    close() {},
  }
}

class FileSink implements Sink {
  readonly #path: string
  #fd: number
  #inode: number

  constructor(path: string) {
    this.#path = path
    this.#fd = fs.openSync(path, 'a')
    this.#inode = fs.fstatSync(this.#fd).ino
  }

  write(bytes: Buffer, look: boolean, done: (ok: boolean) => void): void {
    if (!look) {
      this.#append(bytes, done)
      return
    }
    fs.stat(this.#path, (error, stat) => {
      if ((error?.code === 'ENOENT' || (stat && stat.ino !== this.#inode)) && !this.reopen()) done(false)
      else this.#append(bytes, done)
    })
  }

  #append(bytes: Buffer, done: (ok: boolean) => void): void {
    fs.write(this.#fd, bytes, 0, bytes.length, null, (error, written) => {
      if (error) done(false)
      else if (written < bytes.length) this.#append(bytes.subarray(written), done)
      else done(true)
    })
  }

  reopen(): boolean {
    try {
      const fd = fs.openSync(this.#path, 'a')
      fs.closeSync(this.#fd)
      this.#fd = fd
      this.#inode = fs.fstatSync(fd).ino
      return true
    } catch {
      return false
    }
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}

class BufferedLog implements LogFile {
  readonly #runtime: Runtime
  readonly #stats: FileStats
  readonly #sink: Sink
  #waiting = ''
  #inFlight = 0
  #looked = Number.NEGATIVE_INFINITY
  #timer: Timer | undefined
  #reopen = false
  #idle: (() => void)[] = []

  constructor(runtime: Runtime, stats: FileStats, sink: Sink) {
    this.#runtime = runtime
    this.#stats = stats
    this.#sink = sink
  }

  write(line: string): void {
    const size = this.#waiting.length + line.length
    if (size + this.#inFlight > MAX_WAITING) {
      this.#stats.writeFailed.inc()
      return
    }
    this.#stats.writeBuffered.value++
    this.#stats.writeTotalBuffered.value += line.length
    this.#waiting += line
    if (size >= FLUSH_BYTES) this.#flush()
    else if (this.#timer === undefined) this.#timer = this.#runtime.after(FLUSH_MS, this.#onTimer)
  }

  readonly #onTimer = (): void => {
    this.#stats.flushedByTimer.inc()
    this.#flush()
  }

  #flush(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    if (this.#waiting === '' || this.#inFlight > 0) return
    if (this.#reopen) {
      this.#reopen = !this.#sink.reopen()
      if (this.#reopen) this.#stats.reopenFailed.inc()
    }
    const bytes = Buffer.from(this.#waiting, 'latin1')
    this.#waiting = ''
    this.#inFlight = bytes.length
    const now = this.#runtime.now()
    const look = now - this.#looked >= LOOK_MS
    if (look) this.#looked = now
    this.#sink.write(bytes, look, this.#written)
  }

  readonly #written = (ok: boolean): void => {
    if (ok) this.#stats.writeCompleted.inc()
    else this.#stats.writeFailed.inc()
    this.#stats.writeTotalBuffered.value -= this.#inFlight
    this.#inFlight = 0
    // What came meanwhile goes at once if it is a batch or somebody waits for it, else with the next tick.
    if (this.#waiting !== '') {
      if (this.#waiting.length >= FLUSH_BYTES || this.#idle.length > 0) this.#flush()
      else this.#timer ??= this.#runtime.after(FLUSH_MS, this.#onTimer)
    } else {
      const idle = this.#idle
      this.#idle = []
      for (const resolve of idle) resolve()
    }
  }

  reopen(): void {
    this.#reopen = true
  }

  /** Resolves when nothing is waiting any more. */
  flushed(): Promise<void> {
    if (this.#waiting === '' && this.#inFlight === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#idle.push(resolve)
      this.#flush()
    })
  }

  async close(): Promise<void> {
    await this.flushed()
    this.#timer?.cancel()
    this.#sink.close()
  }
}

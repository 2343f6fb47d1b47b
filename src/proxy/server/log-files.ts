import fs from 'node:fs'
import type { Runtime, Timer } from '../../runtime.ts'
import type { LogFile, LogFiles } from '../context.ts'

/** Longest time that a line waits before it is written. */
const FLUSH_MS = 200
/** A buffer of this size is written at once. */
const FLUSH_BYTES = 64 * 1024

/** Where the lines of the two standard streams go when the proxy is part of another program. */
export interface StandardStreams {
  stdout(text: string): void
  stderr(text: string): void
}

const processStreams: StandardStreams = {
  stdout: (text) => {
    process.stdout.write(text)
  },
  stderr: (text) => {
    process.stderr.write(text)
  },
}

/** Log files that are appended to in batches; one that cannot be written drops its lines rather than stop traffic. */
export class BufferedLogFiles implements LogFiles {
  private readonly files = new Map<string, BufferedLogFile>()
  private readonly runtime: Runtime
  private readonly streams: StandardStreams

  constructor(runtime: Runtime, streams: StandardStreams = processStreams) {
    this.runtime = runtime
    this.streams = streams
  }

  /** Opens, and creates, the file; throws the system's error when it cannot. */
  open(path: string): LogFile {
    let file = this.files.get(path)
    if (!file) {
      file = new BufferedLogFile(this.runtime, this.sink(path))
      this.files.set(path, file)
    }
    return file
  }

  private sink(path: string): Sink {
    if (path === '/dev/stdout') return { write: (text) => this.streams.stdout(text), close() {} }
    if (path === '/dev/stderr') return { write: (text) => this.streams.stderr(text), close() {} }
    return new FileSink(path)
  }

  /** Writes out what is waiting. */
  flush(): void {
    for (const file of this.files.values()) file.flush()
  }

  /** Closes and opens each file again, for log rotation. */
  reopen(): void {
    for (const [path, file] of this.files) file.replace(this.sink(path))
  }

  close(): void {
    for (const file of this.files.values()) file.close()
    this.files.clear()
  }
}

interface Sink {
  write(text: string): void
  close(): void
}

class FileSink implements Sink {
  private readonly fd: number

  constructor(path: string) {
    this.fd = fs.openSync(path, 'a')
  }

  /** A batch is small and goes to the page cache: waiting for a thread would cost more than it saves. */
  write(text: string): void {
    try {
      fs.writeSync(this.fd, text)
    } catch {
      // A full disk or a broken pipe must not end connections.
    }
  }

  close(): void {
    fs.closeSync(this.fd)
  }
}

class BufferedLogFile implements LogFile {
  private waiting = ''
  private timer: Timer | undefined
  private readonly runtime: Runtime
  private sink: Sink

  constructor(runtime: Runtime, sink: Sink) {
    this.runtime = runtime
    this.sink = sink
  }

  write(line: string): void {
    this.waiting += line
    if (this.waiting.length >= FLUSH_BYTES) this.flush()
    else this.timer ??= this.runtime.after(FLUSH_MS, () => this.flush())
  }

  flush(): void {
    this.timer?.cancel()
    this.timer = undefined
    if (this.waiting === '') return
    const text = this.waiting
    this.waiting = ''
    this.sink.write(text)
  }

  replace(sink: Sink): void {
    this.flush()
    this.sink.close()
    this.sink = sink
  }

  close(): void {
    this.flush()
    this.sink.close()
  }
}

// Load on one port in bursts: wrk where it is installed and can do it, else load.mjs, which keeps its connections.
import path from 'node:path'
import readline from 'node:readline'
import { fileURLToPath } from 'node:url'
import { OTHER_CORE, start, stop, which } from './processes.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const wrk = which('wrk')

/** Which generator a scenario gets: wrk has no client certificates. */
export function generatorFor(scenario) {
  return wrk && !scenario.tls ? 'wrk' : 'load.mjs'
}

const UNITS = { us: 1e-3, ms: 1, s: 1e3, m: 6e4 }

function milliseconds(text) {
  const found = /^([\d.]+)(us|ms|s|m)$/.exec(text ?? '')
  return found ? Number(found[1]) * UNITS[found[2]] : Number.NaN
}

async function burstOfWrk(port, connections, seconds) {
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--latency', `http://127.0.0.1:${port}/`]
  const handle = start(wrk, args, { core: OTHER_CORE })
  await handle.done
  const out = handle.output
  const total = /(\d+) requests in ([\d.]+)(ms|s|m)/.exec(out)
  if (!total) throw new Error(`wrk: ${out.trim().slice(-300)}`)
  const bad = /Non-2xx or 3xx responses: (\d+)/.exec(out)
  const socket = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(out)
  const failed = Number(bad?.[1] ?? 0)
  return {
    requests: Number(total[1]) - failed,
    seconds: (Number(total[2]) * UNITS[total[3]]) / 1e3,
    p50: milliseconds(/^\s+50%\s+(\S+)/m.exec(out)?.[1]),
    p99: milliseconds(/^\s+99%\s+(\S+)/m.exec(out)?.[1]),
    errors: failed + (socket ? socket.slice(1).reduce((sum, n) => sum + Number(n), 0) : 0),
  }
}

/**
 * A generator for one port. `burst(seconds)` answers successful requests, seconds, p50 and p99 in ms, and errors;
 * `close()` ends it.
 */
export function generator({ port, connections, tls }) {
  if (generatorFor({ tls }) === 'wrk') {
    return { burst: (seconds) => burstOfWrk(port, connections, seconds), close: async () => {} }
  }
  const job = { port, connections, tls: tls && { ca: tls.ca, cert: tls.cert, key: tls.key } }
  const handle = start(process.execPath, [path.join(here, '../load.mjs'), JSON.stringify(job)], {
    core: OTHER_CORE,
    input: true,
  })
  const lines = readline.createInterface({ input: handle.child.stdout })[Symbol.asyncIterator]()
  return {
    async burst(seconds) {
      handle.child.stdin.write(`${seconds}\n`)
      const { value } = await lines.next()
      if (value === undefined) throw new Error(`load.mjs: ${handle.output.trim().slice(-300)}`)
      return JSON.parse(value)
    },
    close: () => stop(handle),
  }
}

// Child processes of a benchmark run: pinned to a core, ended by pid whatever happens.
import { spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

/** The first executable of that name on PATH, or in the usual system folders; undefined when there is none. */
export function which(name) {
  for (const dir of [...(process.env.PATH ?? '').split(path.delimiter), '/usr/sbin', '/usr/local/sbin']) {
    const file = path.join(dir, name)
    try {
      fs.accessSync(file, fs.constants.X_OK)
      return file
    } catch {}
  }
  return undefined
}

const taskset = os.cpus().length > 1 ? which('taskset') : undefined

/** Whether the proxy has a core of its own. */
export const pinned = taskset !== undefined

/** Core 0 is the proxy's, core 1 everybody else's. */
export const PROXY_CORE = 0
export const OTHER_CORE = 1

const running = new Set()

/** Starts a process on a core. The end of its output is kept for error messages. `input`: it reads from a pipe. */
export function start(command, args, { core, input = false } = {}) {
  const line = taskset && core !== undefined ? [taskset, '-c', String(core), command, ...args] : [command, ...args]
  const child = spawn(line[0], line.slice(1), {
    stdio: [input ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  })
  const handle = { child, pid: child.pid, output: '', exited: undefined }
  const keep = (chunk) => {
    handle.output = (handle.output + chunk).slice(-4000)
  }
  child.stdin?.on('error', () => {})
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  handle.done = new Promise((resolve) => {
    child.on('error', (error) => {
      keep(error.message)
      handle.exited = -1
      running.delete(handle)
      resolve(-1)
    })
    child.on('exit', (code, signal) => {
      handle.exited = code ?? signal
      running.delete(handle)
      resolve(handle.exited)
    })
  })
  running.add(handle)
  return handle
}

/** Ends one process: politely, then for good. */
export async function stop(handle) {
  if (handle.exited !== undefined) return
  handle.child.kill('SIGTERM')
  const timer = setTimeout(() => handle.child.kill('SIGKILL'), 1500)
  await handle.done
  clearTimeout(timer)
}

/** Ends all that still runs. */
export async function stopAll() {
  await Promise.all([...running].map(stop))
}

process.on('exit', () => {
  for (const handle of running) handle.child.kill('SIGKILL')
})

/** A port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

/** Resolves once a port takes connections; rejects with the process's output when it ended before. */
export async function listening(port, handle, timeoutMs = 10_000) {
  const end = Date.now() + timeoutMs
  while (Date.now() < end) {
    if (handle.exited !== undefined) throw new Error(`ended with ${handle.exited}: ${handle.output.trim().slice(-600)}`)
    const ok = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1')
      socket.on('connect', () => {
        socket.destroy()
        resolve(true)
      })
      socket.on('error', () => resolve(false))
    })
    if (ok) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`does not listen on ${port}: ${handle.output.trim().slice(-600)}`)
}

function tasksOf(pid) {
  try {
    return fs.readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}

/**
 * CPU time, user and system, that a process's threads have used so far, in microseconds: from the scheduler's
 * nanoseconds where the kernel keeps them, else from clock ticks.
 */
export function cpuMicros(pid) {
  let nanos = 0
  for (const task of tasksOf(pid)) {
    try {
      nanos += Number(fs.readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0])
    } catch {}
  }
  if (nanos > 0) return nanos / 1000
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * (1e6 / clockTicks())
}

let ticks
function clockTicks() {
  ticks ??= Number(spawnSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }).stdout) || 100
  return ticks
}

/** Resident memory in MB. */
export function residentMb(pid) {
  const found = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found?.[1] ?? 0) / 1024
}

import { type ChildProcess, spawn } from 'node:child_process'
import net from 'node:net'
import type { AppIdentity } from './identity.ts'

/** How long a command has to end after SIGTERM before it is killed, ms. */
const STOP_TIMEOUT_MS = 3000

/** A running command that is a pod's app. */
export interface AppCommand {
  readonly process: ChildProcess
  /** Container port to the loopback address the command was told to listen on. */
  readonly ports: ReadonlyMap<number, { host: string; port: number }>
  close(): Promise<void>
  /** Kills it and whatever it started, without a word. */
  kill(): Promise<void>
}

/**
 * Starts the command of the annotation `dinghy.dev/command` in a shell. It learns its ports from `PORT` (that of the
 * first container port) and `PORT_<container port>`, who it is from `POD_NAME`, `POD_NAMESPACE`, `POD_IP`,
 * `SERVICE_ACCOUNT`, and reaches the mesh by `http_proxy`. Its output goes to `onLine`; `onExit` tells of an end
 * nobody asked for.
 */
export async function startCommand(
  command: string,
  identity: AppIdentity,
  containerPorts: readonly number[],
  proxyUrl: string | undefined,
  onLine: (line: string) => void,
  onExit: (why: string) => void,
): Promise<AppCommand> {
  const ports = new Map<number, { host: string; port: number }>()
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    POD_NAME: identity.instance,
    POD_NAMESPACE: identity.namespace,
    POD_IP: identity.podIp,
    SERVICE_ACCOUNT: identity.serviceAccount,
    ...(proxyUrl ? proxyVariables(proxyUrl) : {}),
  }
  for (const containerPort of containerPorts) {
    const port = await freePort()
    ports.set(containerPort, { host: '127.0.0.1', port })
    env[`PORT_${containerPort}`] = String(port)
    env.PORT ??= String(port)
  }
  if (containerPorts[0] !== undefined) env.PORT = String(ports.get(containerPorts[0])!.port)
  const child = spawn(command, { shell: true, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  let stopping = false
  for (const stream of [child.stdout, child.stderr]) {
    let rest = ''
    stream.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      lines.forEach(onLine)
    })
    stream.on('end', () => rest && onLine(rest))
  }
  child.on('error', (e) => onExit(e.message))
  let closed = false
  const ended = new Promise<void>((resolve) => {
    child.on('close', (code, signal) => {
      closed = true
      if (!stopping) onExit(signal ? `ended by ${signal}` : `exited with status ${code}`)
      resolve()
    })
  })
  return {
    process: child,
    ports,
    async close() {
      stopping = true
      // What the shell has started may outlive it: as long as that holds the pipes, there is something to end.
      if (child.pid === undefined || closed) return
      signalGroup(child.pid, 'SIGTERM')
      const timer = setTimeout(() => signalGroup(child.pid!, 'SIGKILL'), STOP_TIMEOUT_MS)
      await ended
      clearTimeout(timer)
    },
    async kill() {
      stopping = true
      if (child.pid === undefined || closed) return
      signalGroup(child.pid, 'SIGKILL')
      await ended
    },
  }
}

/** The variables that make ordinary programs use an HTTP proxy: curl, wget, Python's requests, Go, Java's tools. */
export function proxyVariables(url: string): Record<string, string> {
  return { http_proxy: url, HTTP_PROXY: url, no_proxy: '', NO_PROXY: '' }
}

/** The shell and whatever it started: the command runs in a process group of its own. */
function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // the group has ended in the meantime
  }
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

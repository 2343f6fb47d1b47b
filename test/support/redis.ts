import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'

/** A redis-server of a test. */
export interface TestRedis {
  readonly port: number
  /** `redis://127.0.0.1:PORT`; with TLS `rediss://` and its port for that. */
  readonly url: string
  /** The path of its unix socket. */
  readonly socket: string
  /** Ends it at once, as a crash does; it can be started again. */
  kill(): Promise<void>
  /** Starts it again on its port, empty. Resolves when it answers. */
  start(): Promise<void>
  /** Halts it, or lets it go on: it keeps its connections, and does not answer. */
  freeze(frozen: boolean): void
  /** The reply to a command that has a number, a string or nothing for an answer, as text. */
  ask(...command: string[]): Promise<string>
  stop(): Promise<void>
}

/** How a Redis of a test is to be. */
export interface RedisOptions {
  readonly password?: string
  /** PEM: it listens with TLS, too. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string }
}

/**
 * Starts a real Redis on a free port, without any file. Rejects, with what to do, when there is none: a test that needs one
 * never passes without having run. `DINGHY_TEST_REDIS` names another binary.
 */
export async function startRedis(options: RedisOptions = {}): Promise<TestRedis> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-redis-'))
  const port = await freePort()
  const socket = path.join(dir, 'redis.sock')
  const doors = ['--port', String(port), '--unixsocket', socket]
  let url = `redis://127.0.0.1:${port}`
  if (options.tls) {
    const tlsPort = await freePort()
    url = `rediss://127.0.0.1:${tlsPort}`
    for (const [name, pem] of Object.entries(options.tls)) {
      fs.writeFileSync(path.join(dir, name), pem)
      doors.push(`--tls-${name === 'ca' ? 'ca-cert' : name}-file`, path.join(dir, name))
    }
    doors.push('--tls-port', String(tlsPort), '--tls-auth-clients', 'no')
  }
  let child: ChildProcess | undefined
  const start = async () => {
    const login = options.password === undefined ? [] : ['--requirepass', options.password]
    const args = [...doors, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir, ...login]
    child = spawn(process.env.DINGHY_TEST_REDIS ?? 'redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] })
    await ready(child)
  }
  const kill = async () => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  try {
    await start()
  } catch (error) {
    fs.rmSync(dir, { recursive: true, force: true })
    throw error
  }
  return {
    port,
    url,
    socket,
    start,
    kill,
    freeze: (frozen) => child!.kill(frozen ? 'SIGSTOP' : 'SIGCONT'),
    ask: (...command) => ask(port, options.password === undefined ? [command] : [['AUTH', options.password], command]),
    async stop() {
      await kill()
      fs.rmSync(dir, { recursive: true, force: true })
    },
  }
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    let log = ''
    child.once('error', (error) =>
      reject(
        new Error(
          `THIS TEST HAS NOT RUN: there is no redis-server (${error.message}). Debian and Ubuntu have it as a package: ` +
            'apt-get install redis-server. DINGHY_TEST_REDIS may name another binary.',
        ),
      ),
    )
    child.once('exit', () => reject(new Error(`redis-server has ended:\n${log}`)))
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      log += text
      if (log.includes('Ready to accept connections')) resolve()
    })
  })
}

/** Sends commands over a connection of their own; the reply to the last, without its type. */
function ask(port: number, commands: readonly (readonly string[])[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1')
    let text = ''
    socket.on('error', reject)
    socket.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    socket.on('close', () => {
      // What QUIT is answered comes last.
      const replies = text.replace(/\+OK\r\n$/, '').split('\r\n')
      const bulk = /^\$\d+$/.test(replies.at(-3) ?? '')
      resolve(bulk ? replies.at(-2)! : replies.at(-2)!.slice(1))
    })
    const lines = [...commands, ['QUIT']].map(
      (words) => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`,
    )
    socket.write(lines.join(''))
  })
}

async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

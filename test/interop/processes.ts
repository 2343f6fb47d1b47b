import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import { dinghyCli } from './envoy.ts'

/** A command of ours that runs in a process of its own. */
export interface RunningCommand {
  readonly child: ChildProcess
  /** What it has written so far. */
  output(): string
  errors(): string
  /** Resolves with the match once the output has one; rejects when the command ends before. */
  said(pattern: RegExp): Promise<RegExpExecArray>
  /** Asks it to end; resolves with its exit status. */
  stop(): Promise<number | null>
}

/** Starts `dinghy …`. */
export function startCommand(args: readonly string[], env: NodeJS.ProcessEnv = {}): RunningCommand {
  const child = spawn(process.execPath, [dinghyCli(), ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const written = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      written[name] += text
    })
  const gone = once(child, 'close').then(([status]) => status as number | null)
  return {
    child,
    output: () => written.stdout,
    errors: () => written.stderr,
    said(pattern) {
      return new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(written.stdout)
          if (match) resolve(match)
        }
        child.stdout!.on('data', look)
        void gone.then(() => reject(new Error(`${args.join(' ')} ended:\n${written.stderr}`)))
        look()
      })
    },
    stop() {
      child.kill('SIGTERM')
      return gone
    },
  }
}

/** Ports of 0.0.0.0 that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = net.createServer()
      await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

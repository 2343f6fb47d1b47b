import { FAULT_ANNOTATION } from '../api/server-fault.ts'
import type { Workload } from '../registry/model.ts'
import type { SocketAddress } from './address-book.ts'
import { type Call, parseCalls } from './apps/calls.ts'
import { STANDS_IN } from './stand-in-gateways.ts'

/** What a pod's annotations say of its app. */
export interface AppSettings {
  /** `dinghy.dev/app`: container port to where the app listens. */
  readonly addresses: ReadonlyMap<number, SocketAddress>
  /** `dinghy.dev/command`: what to start. */
  readonly command: string | undefined
  /** `dinghy.dev/calls`: what a stand-in calls on. */
  readonly calls: readonly Call[]
  /** What could not be understood; the rest is still used. */
  readonly problems: readonly string[]
}

/** Reads the `dinghy.dev/…` annotations of a workload. */
export function appSettings(workload: Workload): AppSettings {
  const problems: string[] = []
  const known = new Set(['dinghy.dev/app', 'dinghy.dev/command', 'dinghy.dev/calls', FAULT_ANNOTATION, STANDS_IN])
  for (const name of Object.keys(workload.annotations))
    if (name.startsWith('dinghy.dev/') && !known.has(name))
      problems.push(
        `unknown annotation ${name}; there are ${[...known].filter((name) => name !== STANDS_IN).join(', ')}`,
      )
  const attempt = <T>(read: () => T, otherwise: T): T => {
    try {
      return read()
    } catch (e) {
      problems.push((e as Error).message)
      return otherwise
    }
  }
  return {
    addresses: attempt(() => parseAddresses(workload.annotations['dinghy.dev/app']), new Map()),
    command: workload.annotations['dinghy.dev/command'] || undefined,
    calls: attempt(() => parseCalls(workload.annotations['dinghy.dev/calls']), []),
    problems,
  }
}

/** `9080=127.0.0.1:3000,9081=127.0.0.1:3001`; the host may be left out: `9080=:3000` or `9080=3000`. */
function parseAddresses(annotation: string | undefined): Map<number, SocketAddress> {
  const addresses = new Map<number, SocketAddress>()
  for (const entry of (annotation ?? '').split(',').map((e) => e.trim())) {
    if (!entry) continue
    const m = /^(\d{1,5})=(?:(\[[0-9a-f:]+\]|[A-Za-z0-9._-]*):)?(\d{1,5})$/i.exec(entry)
    const ports = m ? [Number(m[1]), Number(m[3])] : []
    if (!m || ports.some((port) => port < 1 || port > 65535))
      throw new Error(`dinghy.dev/app: "${entry}" is no PORT=HOST:PORT, as in "9080=127.0.0.1:3000"`)
    addresses.set(ports[0]!, { host: (m[2] || '127.0.0.1').replace(/^\[|\]$/g, ''), port: ports[1]! })
  }
  return addresses
}

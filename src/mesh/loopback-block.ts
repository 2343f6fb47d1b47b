import net from 'node:net'

/** The port that marks a block as taken; nothing else of a mesh listens there. */
const LOCK_PORT = 15999

/**
 * A /24 of loopback addresses that one mesh holds for as long as it runs: `127.x.y.1` for the control
 * plane, the others for workload instances. Holding means listening on one port of `.1`, so that two
 * meshes of one machine, in whatever processes, never share an address. Where the machine has only
 * 127.0.0.1 (macOS), the block is that one address and every port is allotted by the system instead.
 */
export interface LoopbackBlock {
  /** The control plane's address. */
  readonly control: string
  /** False where only 127.0.0.1 exists: then every `allot` gives it, and ports must be asked for as 0. */
  readonly ownAddresses: boolean
  /** Gives an address to an instance, the same one again for the same key. Throws when all 253 are taken. */
  allot(key: string): string
  /** Gives an address back for others. */
  release(key: string): void
  /** Lets go of the block. */
  close(): Promise<void>
}

/** Takes a free block, beginning the search at a place that depends on the process. */
export async function takeLoopbackBlock(start = process.pid): Promise<LoopbackBlock> {
  const total = 254 * 256
  for (let i = 0; i < total; i++) {
    const n = (start * 131 + i) % total
    const prefix = `127.${1 + Math.floor(n / 256)}.${n % 256}`
    const lock = await listen(`${prefix}.1`, LOCK_PORT)
    if (lock === 'EADDRINUSE') continue
    if (typeof lock === 'string') return singleAddress()
    return block(prefix, lock)
  }
  throw new Error('every block of loopback addresses is taken')
}

function listen(host: string, port: number): Promise<net.Server | string> {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => socket.destroy())
    server.once('error', (e: NodeJS.ErrnoException) => resolve(e.code ?? 'EUNKNOWN'))
    server.listen({ host, port, exclusive: true }, () => {
      server.unref()
      resolve(server)
    })
  })
}

function block(prefix: string, lock: net.Server): LoopbackBlock {
  const byKey = new Map<string, string>()
  const taken = new Set<number>([0, 1, 255])
  return {
    control: `${prefix}.1`,
    ownAddresses: true,
    allot(key) {
      const had = byKey.get(key)
      if (had) return had
      for (let n = 2; n < 255; n++)
        if (!taken.has(n)) {
          taken.add(n)
          byKey.set(key, `${prefix}.${n}`)
          return `${prefix}.${n}`
        }
      throw new Error(`a mesh has at most 253 workload instances; no address is left for ${key}`)
    },
    release(key) {
      const had = byKey.get(key)
      if (!had) return
      byKey.delete(key)
      taken.delete(Number(had.slice(had.lastIndexOf('.') + 1)))
    },
    close: () => new Promise((resolve) => lock.close(() => resolve())),
  }
}

function singleAddress(): LoopbackBlock {
  return {
    control: '127.0.0.1',
    ownAddresses: false,
    allot: () => '127.0.0.1',
    release: () => {},
    close: async () => {},
  }
}

import fs from 'node:fs'
import { createRequire } from 'node:module'
import type net from 'node:net'
import type { TcpKeepalive } from '#gen/envoy/config/core/v3/address_pb.js'

/** Keep-alive probes of TCP (envoy/config/core/v3/address.proto TcpKeepalive). */
export interface KeepAlive {
  /** Seconds of silence before the first probe. */
  readonly time: number
  /** Seconds between probes. */
  readonly interval: number
  /** Probes without an answer that end the connection. */
  readonly probes: number
  /** The last two were asked for, and are not just the system's own. */
  readonly stated: boolean
}

/** What the system does where a config says nothing. */
function systemDefault(name: 'time' | 'intvl' | 'probes', fallback: number): number {
  try {
    return Number(fs.readFileSync(`/proc/sys/net/ipv4/tcp_keepalive_${name}`, 'utf8')) || fallback
  } catch {
    return fallback // another system than Linux: what most of them have
  }
}

/** Reads the message; undefined stays undefined: no probes. */
export function keepAliveOf(config: TcpKeepalive | undefined): KeepAlive | undefined {
  if (config === undefined) return undefined
  const { keepaliveTime, keepaliveInterval, keepaliveProbes } = config
  return {
    time: keepaliveTime ?? systemDefault('time', 7200),
    interval: keepaliveInterval ?? systemDefault('intvl', 75),
    probes: keepaliveProbes ?? systemDefault('probes', 9),
    stated: keepaliveInterval !== undefined || keepaliveProbes !== undefined,
  }
}

type SetOption = (fd: number, level: number, option: number, value: number[], size: number) => number

const IPPROTO_TCP = 6
/** TCP_KEEPINTVL and TCP_KEEPCNT. */
const OPTIONS: Readonly<Partial<Record<NodeJS.Platform, readonly [interval: number, probes: number]>>> = {
  linux: [5, 6],
  darwin: [0x101, 0x102],
}

let setOption: SetOption | undefined | null = null

/** `setsockopt`, which Node does not offer, through an optional package; undefined where that is not installed. */
function socketOption(): SetOption | undefined {
  if (setOption === null) {
    try {
      const koffi = createRequire(import.meta.url)('koffi') as {
        load(library: null): { func(declaration: string): SetOption }
      }
      setOption = koffi.load(null).func('int setsockopt(int, int, int, const int *, uint32_t)')
    } catch {
      setOption = undefined
    }
  }
  return setOption
}

/** Whether the interval and the number of probes can be set here: Node itself has only the time before the first. */
export const canSetProbes = (): boolean => OPTIONS[process.platform] !== undefined && socketOption() !== undefined

/** Switches probes on for a connected socket. */
export function applyKeepAlive(socket: net.Socket, keepAlive: KeepAlive): void {
  socket.setKeepAlive(true, keepAlive.time * 1000)
  const options = OPTIONS[process.platform]
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd
  const set = options === undefined || fd === undefined || fd < 0 ? undefined : socketOption()
  if (options === undefined || fd === undefined || set === undefined) return
  // Node has set both, to a second and ten.
  set(fd, IPPROTO_TCP, options[0], [keepAlive.interval], 4)
  set(fd, IPPROTO_TCP, options[1], [keepAlive.probes], 4)
}

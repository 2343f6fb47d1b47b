import { createRequire } from 'node:module'
import type net from 'node:net'
import { describe, expect, test } from 'vitest'
import { canSetProbes } from '../src/proxy/net/keep-alive.ts'
import { get, httpHarness, toA } from './support/http.ts'

const { proxy, upstream } = httpHarness()
const IPPROTO_TCP = 6
const [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT] = [4, 5, 6]

/** What the kernel says of this process's connection to a port. */
function optionsOf(port: number): number[] {
  const handles = (process as unknown as { _getActiveHandles(): net.Socket[] })._getActiveHandles()
  const socket = handles.find((handle) => handle.remotePort === port)!
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle
  const koffi = createRequire(import.meta.url)('koffi')
  const read = koffi.load(null).func('int getsockopt(int, int, int, _Out_ int *, _Inout_ uint32_t *)')
  return [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((option) => {
    const value = [0]
    expect(read(fd, IPPROTO_TCP, option, value, [4])).toBe(0)
    return value[0]!
  })
}

describe.runIf(process.platform === 'linux')('TCP keep-alive', () => {
  const probed = async (tcp_keepalive: object) => {
    const a = await upstream('a')
    const p = await proxy(toA(), [a], { a: { upstream_connection_options: { tcp_keepalive } } })
    expect((await get(p.http, '/')).status).toBe(200)
    return { p, a }
  }

  test('has the time, the interval and the number of probes that a cluster asks for', async () => {
    const { p, a } = await probed({ keepalive_time: 7, keepalive_interval: 11, keepalive_probes: 4 })
    if (canSetProbes()) expect(optionsOf(a.port)).toEqual([7, 11, 4])
    else expect(p.warnings.join()).toContain('tcp_keepalive: probes and interval, without koffi')
  })

  test('has those of the system where a cluster says nothing', async () => {
    const { p, a } = await probed({ keepalive_time: 9 })
    expect(p.warnings).toEqual([])
    if (!canSetProbes()) return
    const [time, interval, probes] = optionsOf(a.port)
    expect(time).toBe(9)
    // Not the second and the ten that Node sets.
    expect(interval).toBeGreaterThan(1)
    expect(probes).not.toBe(10)
  })
})

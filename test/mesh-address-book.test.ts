import { describe, expect, it } from 'vitest'
import { MeshAddresses } from '../src/mesh/address-book.ts'

const refusing = { host: '127.1.0.1', port: 1 }
const addresses = new MeshAddresses(refusing, true, () => 0)
addresses.set({
  ip: '10.244.0.2',
  address: '127.1.0.2',
  apps: new Map([[8080, { host: '127.0.0.1', port: 41000 }]]),
  inbound: new Map([[8080, { host: '127.1.0.2', port: 8080 }]]),
})
addresses.set({ ip: '10.244.0.3', address: '127.1.0.3', apps: new Map(), inbound: new Map() })
addresses.endpoints = (ip, port) => (ip === '10.96.1.1' && port === 80 ? [{ ip: '10.244.0.2', port: 8080 }] : [])

describe('the address book', () => {
  const cases: [what: string, self: string, ip: string, port: number, host: string, to: number, from: string | undefined][] = [
    ['its own address is its app', '10.244.0.2', '10.244.0.2', 8080, '127.0.0.1', 41000, '127.1.0.2'],
    ['loopback is its app too', '10.244.0.2', '127.0.0.1', 8080, '127.0.0.1', 41000, '127.1.0.2'],
    ['a loopback port that is none of its app is this machine', '10.244.0.2', '127.0.0.1', 5432, '127.0.0.1', 5432, undefined],
    ['its own closed port refuses', '10.244.0.2', '10.244.0.2', 9999, '127.1.0.1', 1, '127.1.0.2'],
    ['another pod is its inbound socket, and knows who calls', '10.244.0.3', '10.244.0.2', 8080, '127.1.0.2', 8080, '127.1.0.3'],
    ["another pod's closed port refuses", '10.244.0.3', '10.244.0.2', 9999, '127.1.0.1', 1, '127.1.0.3'],
    ['a service address leads to one of its pods', '10.244.0.3', '10.96.1.1', 80, '127.1.0.2', 8080, '127.1.0.3'],
    ['a pod address that nobody has does not leave the machine', '10.244.0.3', '10.244.7.7', 80, '127.1.0.1', 1, '127.1.0.3'],
    ['an address of the world is itself', '10.244.0.3', '192.0.2.1', 443, '192.0.2.1', 443, undefined],
  ] // biome-ignore format: a table
  it.each(cases)('%s', (_, self, ip, port, host, to, localAddress) => {
    expect(addresses.viewOf(self).dial({ ip, port }, undefined)).toEqual({ host, port: to, localAddress })
  })

  it('keeps a loopback address that a proxy wants to bind, and names peers by their pods', () => {
    const view = addresses.viewOf('10.244.0.2')
    expect(view.dial({ ip: '10.244.0.2', port: 8080 }, '127.0.0.6').localAddress).toBe('127.0.0.6')
    expect(view.logical({ ip: '127.1.0.3', port: 40123 })).toEqual({ ip: '10.244.0.3', port: 40123 })
    expect(view.logical({ ip: '127.0.0.1', port: 41000 })).toEqual({ ip: '10.244.0.2', port: 8080 })
    expect(view.logical({ ip: '127.0.0.1', port: 50000 })).toEqual({ ip: '127.0.0.1', port: 50000 })
  })
})

import net from 'node:net'
import { type Address, formatAddress } from '../listener/connection.ts'
import { type AdminHandler, json } from './handler.ts'

/** Where to connect, on this machine, to reach a destination through this proxy. */
export const capture: AdminHandler = {
  path: '/capture',
  help: 'the capture socket of a destination, opened on demand',
  params: [{ name: 'destination', help: 'The IP:PORT that a program means to reach' }],
  async run(view, query) {
    const destination = parseAddress(query.get('destination') ?? '')
    if (!destination) return { status: 400, body: 'destination must be IP:PORT\n' }
    if (!view.capture) return { status: 503, body: 'this proxy captures no traffic\n' }
    const address = await view.capture(destination)
    return json({ address: formatAddress(address) })
  },
}

/** Parses `ip:port` or `[ip]:port`. */
function parseAddress(text: string): Address | undefined {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  if (!found) return undefined
  const ip = found[1] ?? found[2]!
  const port = Number(found[3])
  return net.isIP(ip) && port <= 65535 ? { ip, port } : undefined
}

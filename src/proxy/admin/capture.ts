import { formatAddress, parseAddress } from '../listener/connection.ts'
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

import { type Command, InvalidArgumentError, Option } from 'commander'
import type { DoorPlaces, SocketPlace } from '../mesh/doors/doors.ts'
import { hostPort } from './options.ts'

/** What the command line says of the doors of a control plane. */
export interface DoorFlags {
  grpcAddr?: SocketPlace
  tlsAddr?: SocketPlace | 'none'
  sdsAddr?: SocketPlace
  sdsSocket?: string
}

/** The options of commands with a control plane; `defaults` are what is open without being asked for. */
export function withDoorOptions(command: Command, defaults: { grpc?: string; tls?: string } = {}): Command {
  const grpc = new Option('--grpc-addr <host:port>', 'serve ADS in plaintext there; port 0 picks a free one')
  const tls = new Option(
    '--tls-addr <host:port>',
    `serve ADS and certificates over TLS there${defaults.tls ? '; "none" does not' : ''}`,
  )
  if (defaults.grpc) grpc.default(hostPort(defaults.grpc), defaults.grpc)
  if (defaults.tls) tls.default(hostPort(defaults.tls), defaults.tls)
  return command
    .addOption(grpc.argParser(hostPort))
    .addOption(tls.argParser((text) => (defaults.tls && text === 'none' ? text : hostPort(text))))
    .option('--sds-socket <path>', 'serve the keys of all workloads by SDS on a unix socket of this user')
    .option(
      '--sds-addr <host:port>',
      'the same on a loopback address: every user of the machine can have them',
      loopbackPort,
    )
}

/** `HOST:PORT` on the loopback interface. */
export function loopbackPort(text: string): SocketPlace {
  const place = hostPort(text)
  if (!/^(?:127\.[\d.]+|::1|localhost)$/.test(place.host))
    throw new InvalidArgumentError(`SDS hands out private keys: ${place.host} is not on the loopback interface.`)
  return place
}

/** The doors that flags ask for. */
export function doorPlaces({ grpcAddr, tlsAddr, sdsAddr, sdsSocket }: DoorFlags): DoorPlaces {
  return {
    grpcAddress: grpcAddr,
    tlsAddress: tlsAddr === 'none' ? undefined : tlsAddr,
    sdsAddress: sdsAddr,
    sdsSocket,
  }
}

/** The doors, in the order in which they are told of. */
export const DOORS = ['grpcAddress', 'tlsAddress', 'sdsSocket', 'sdsAddress'] as const

const WHAT: Record<keyof DoorPlaces, string> = {
  grpcAddress: 'ADS',
  tlsAddress: 'ADS and certificates over TLS',
  sdsSocket: 'SDS',
  sdsAddress: 'SDS',
}

/** What is served where, a line each. */
export function doorLines(address: (door: keyof DoorPlaces) => string | undefined): string[] {
  return DOORS.flatMap((door) => {
    const at = address(door)
    return at === undefined ? [] : `serving ${WHAT[door]} at ${at}`
  })
}

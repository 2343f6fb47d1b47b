import fs from 'node:fs'
import type { ControlPlaneView } from '../mesh/control/api.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import type { SdsPlace } from '../mesh/doors/sds-door.ts'
import { SdsAgent } from '../mesh/sds-agent/agent.ts'
import { type CaEndpoint, CaRequestError } from '../mesh/sds-agent/ca-client.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { CliError } from './errors.ts'

/** What the command line of `dinghy sds` says. */
export interface SdsOptions {
  readonly place: SdsPlace
  readonly caName: string
  readonly from:
    | { readonly account: string; readonly mesh: number | undefined }
    | { readonly caAddr: string; readonly caRoot: string; readonly tokenFile: string }
}

/** Serves until SIGINT or SIGTERM. Throws a CliError when the CA refuses. */
export async function runSds({ place, caName, from }: SdsOptions): Promise<void> {
  const ca =
    'account' in from
      ? await ofMesh(from.account, from.mesh, caName)
      : {
          address: from.caAddr,
          serverName: caName,
          roots: () => read(from.caRoot),
          token: () => read(from.tokenFile).trim(),
        }
  const log = (line: string) => process.stderr.write(`${line}\n`)
  let agent: SdsAgent | undefined
  const listening = (made: SdsAgent) => {
    agent = made
  }
  const starting = SdsAgent.start({ ca, place, runtime: new SystemRuntime(), log, listening })
  // Nothing else keeps the process while the CA cannot be reached.
  const alive = setInterval(() => {}, 0x7fff_ffff)
  const stop = () => {
    if (agent) agent.close().then(() => process.exit(0))
    else process.exit(0)
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  try {
    const { spiffeId, address } = await starting
    process.stdout.write(`serving SDS for ${spiffeId} at ${address}\n`)
  } catch (error) {
    clearInterval(alive)
    throw error instanceof CaRequestError ? new CliError(`no certificate: ${error.message}${advice(error)}`) : error
  }
}

/** What to do when the CA does not take the token; it tells nobody but its own log why. */
function advice({ code }: CaRequestError): string {
  if (code !== GRPC_UNAUTHENTICATED) return ''
  return (
    ': the token must be of this control plane, for its audience and not expired ' +
    '(dinghy create token NAME --audience istio-ca); the log of the control plane says more'
  )
}

const GRPC_UNAUTHENTICATED = 16

/** The CA of a running mesh, which is asked for a token too. */
async function ofMesh(account: string, pid: number | undefined, serverName: string): Promise<CaEndpoint> {
  const mesh = findMesh(pid)
  const { tls } = await askMesh<ControlPlaneView>(mesh, 'GET', '/v1/control-plane')
  if (!tls) throw new CliError('the mesh gives no certificates to others: start it with --tls-addr HOST:PORT')
  const dot = account.lastIndexOf('.')
  const [name, namespace] = dot < 0 ? [account, 'default'] : [account.slice(0, dot), account.slice(dot + 1)]
  return {
    address: tls,
    serverName,
    roots: async () => (await askMesh<ControlPlaneView>(mesh, 'GET', '/v1/control-plane')).roots,
    token: async () => {
      const request = { name, namespace, audiences: ['istio-ca'] }
      return (await askMesh<{ token: string }>(mesh, 'POST', '/v1/tokens', request)).token
    },
  }
}

function read(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch (error) {
    throw new CliError(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

import fs from 'node:fs'
import type { ControlPlaneView } from '../mesh/control/api.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import type { SdsPlace } from '../mesh/doors/sds-door.ts'
import { SdsAgent } from '../mesh/sds-agent/agent.ts'
import type { CaEndpoint } from '../mesh/sds-agent/ca-client.ts'
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
  const starting = SdsAgent.start({ ca, place, runtime: new SystemRuntime(), log })
  // Nothing else keeps the process while the CA cannot be reached.
  const alive = setInterval(() => {}, 0x7fff_ffff)
  let agent: SdsAgent | undefined
  const stop = () => {
    if (agent) agent.close().then(() => process.exit(0))
    else process.exit(0)
  }
  process.once('SIGINT', stop)
  process.once('SIGTERM', stop)
  try {
    agent = await starting
  } catch (error) {
    clearInterval(alive)
    throw new CliError(`no certificate: ${(error as Error).message}`)
  }
  process.stdout.write(`serving SDS for ${agent.spiffeId} at ${agent.address}\n`)
}

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

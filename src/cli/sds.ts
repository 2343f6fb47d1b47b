import type { Command } from 'commander'
import type { SocketPlace } from '../mesh/doors/doors.ts'
import { loopbackPort } from './door-options.ts'
import { CliError } from './errors.ts'
import { meshOption } from './options.ts'
import type { SdsOptions } from './run-sds.ts'

/** `dinghy sds`: an identity for one proxy of another process, as istio-agent serves it. */
export function sdsCommand(program: Command): void {
  program
    .command('sds')
    .summary('get a certificate from a control plane, keep it fresh, and serve it to one proxy by SDS')
    .option('--socket <path>', 'serve on a unix socket of this user')
    .option(
      '--addr <host:port>',
      'serve on a loopback address: every user of the machine can have the key',
      loopbackPort,
    )
    .option('--for <serviceaccount>', 'NAME or NAME.NAMESPACE of an account of a running mesh (dinghy up --tls-addr …)')
    .addOption(meshOption())
    .option('--ca-addr <host:port>', "a control plane's TLS port, such as istiod's 15012")
    .option('--ca-root <file>', 'the roots that vouch for it, in PEM')
    .option('--ca-name <name>', 'the name in its certificate', 'istiod.istio-system.svc')
    .option('--token-file <file>', 'the token of the service account, for istio-ca; read again at each renewal')
    .action(async (options: Flags) => {
      const { runSds } = await import('./run-sds.ts')
      await runSds(check(options))
    })
}

interface Flags extends Omit<SdsOptions, 'place' | 'from'> {
  socket?: string
  addr?: SocketPlace
  for?: string
  mesh?: number
  caAddr?: string
  caRoot?: string
  tokenFile?: string
}

function check(flags: Flags): SdsOptions {
  const { socket, addr, for: account, mesh, caAddr, caRoot, caName, tokenFile } = flags
  if ((socket === undefined) === (addr === undefined)) throw new CliError('say --socket PATH or --addr HOST:PORT', 2)
  const place = socket === undefined ? addr! : { socket }
  if (account !== undefined) {
    if (caAddr ?? caRoot ?? tokenFile)
      throw new CliError('--for asks a running mesh: --ca-addr, --ca-root and --token-file are for another one', 2)
    return { place, caName, from: { account, mesh } }
  }
  if (caAddr === undefined || caRoot === undefined || tokenFile === undefined)
    throw new CliError('say --for SERVICEACCOUNT, or all of --ca-addr, --ca-root and --token-file', 2)
  return { place, caName, from: { caAddr, caRoot, tokenFile } }
}

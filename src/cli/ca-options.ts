import type { Command } from 'commander'
import type { GivenCa } from '../ca/authority.ts'
import { CliError } from './errors.ts'

/** What the command line says of the certificate authority. */
export interface CaOptions {
  caCert?: string
  caKey?: string
  rootCert?: string
  certChain?: string
  caDir?: string
}

/** The options of commands that have a certificate authority. */
export function withCaOptions(command: Command): Command {
  return command
    .option('--ca-cert <file>', 'sign workload certificates with this CA certificate, instead of a root of our own')
    .option('--ca-key <file>', 'the private key of --ca-cert')
    .option('--root-cert <file>', 'the roots that vouch for --ca-cert, when it does not sign itself')
    .option('--cert-chain <file>', 'what lies between --ca-cert and the root')
    .option('--ca-dir <dir>', "the same in a folder, named as in Istio's Secret cacerts: ca-cert.pem, ca-key.pem, …")
}

/** The CA that they name; undefined for none. Throws CliError for options that do not go together. */
export function givenCa(options: CaOptions): GivenCa | undefined {
  const { caCert, caKey, rootCert, certChain, caDir } = options
  if (caDir !== undefined) {
    if (caCert ?? caKey ?? rootCert ?? certChain)
      throw new CliError('--ca-dir names all files of a CA: no other of its options can be given with it', 2)
    return { dir: caDir }
  }
  if (caCert !== undefined && caKey !== undefined)
    return { cert: caCert, key: caKey, root: rootCert, chain: certChain === undefined ? undefined : [certChain] }
  if (caCert !== undefined) throw new CliError('--ca-cert needs --ca-key, its private key', 2)
  if (caKey !== undefined) throw new CliError('--ca-key needs --ca-cert, the certificate that it belongs to', 2)
  const alone = rootCert !== undefined ? '--root-cert' : certChain !== undefined ? '--cert-chain' : undefined
  if (alone) throw new CliError(`${alone} needs --ca-cert and --ca-key`, 2)
  return undefined
}

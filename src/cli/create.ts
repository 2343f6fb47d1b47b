import type { Command } from 'commander'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import { CliError } from './errors.ts'
import { duration, meshOption } from './options.ts'

interface TokenOptions {
  namespace: string
  audience: string[]
  duration?: number
  dataDir?: string
  mesh?: number
}

/** `dinghy create token SERVICEACCOUNT`, as kubectl has it. */
export function createCommand(program: Command): void {
  const create = program.command('create').summary('create a token of a service account, as kubectl does')
  create
    .command('token')
    .summary('a token by which a proxy of another process proves who it is')
    .argument('<serviceaccount>', 'the name of the service account')
    .option('-n, --namespace <namespace>', 'its namespace', 'default')
    .option('--audience <audience>', 'who is to take it, such as istio-ca; may be given again', collect, [])
    .option('--duration <duration>', 'how long it is good; 10 minutes at least (default: 1h)', duration)
    .option(
      '--data-dir <dir>',
      'sign it with the key in the --data-dir of a control plane, instead of asking a running mesh',
    )
    .addOption(meshOption())
    .action(async (name: string, options: TokenOptions) => {
      process.stdout.write(`${await token(name, options)}\n`)
    })
    .exitOverride()
}

async function token(name: string, options: TokenOptions): Promise<string> {
  const { namespace, audience: audiences } = options
  const seconds = options.duration === undefined ? undefined : options.duration / 1000
  try {
    if (options.dataDir === undefined) {
      const mesh = findMesh(options.mesh)
      const body = { namespace, name, audiences, seconds }
      return (await askMesh<{ token: string }>(mesh, 'POST', '/v1/tokens', body)).token
    }
    const { SigningKey } = await import('../pilot/ca-service/signing-key.ts')
    const { issueToken } = await import('../pilot/ca-service/token.ts')
    const { SystemRuntime } = await import('../runtime-system.ts')
    const key = SigningKey.kept(options.dataDir, false)
    return issueToken({ namespace, name, audiences, seconds }, key, new SystemRuntime())
  } catch (error) {
    throw new CliError(`failed to create token: ${(error as Error).message}`)
  }
}

function collect(value: string, previous: string[]): string[] {
  return [...previous, value]
}

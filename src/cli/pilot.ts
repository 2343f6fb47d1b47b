import type { Command } from 'commander'
import { withCaOptions } from './ca-options.ts'
import { withDoorOptions } from './door-options.ts'
import type { PilotOptions } from './run-pilot.ts'

/** `dinghy pilot`: the control plane alone, serving xDS to any v3 client. */
export function pilotCommand(program: Command): void {
  const command = program
    .command('pilot')
    .summary('run the control plane alone, serving xDS over gRPC')
    .requiredOption('--config <path>', 'a file or folder of objects; may be given again', collect)
    .option('--data-dir <dir>', 'keep the root certificate and the key for tokens there')
    .option(
      '--strict',
      'refuse what the real API server or Envoy would refuse, instead of taking its obvious meaning',
      false,
    )
    .option('--no-watch', 'do not follow changes to the files')
  withDoorOptions(withCaOptions(command), { grpc: '127.0.0.1:15010', tls: '127.0.0.1:15012' }).action(
    async (options: PilotOptions) => {
      const { runPilot } = await import('./run-pilot.ts')
      await runPilot(options)
    },
  )
}

function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value]
}

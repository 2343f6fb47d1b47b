import { spawn } from 'node:child_process'
import os from 'node:os'
import type { Command } from 'commander'
import { proxyVariables } from '../mesh/apps/command.ts'
import type { WorkloadView } from '../mesh/control/api.ts'
import { askMesh } from '../mesh/control/client.ts'
import { findMesh } from '../mesh/control/running.ts'
import { CliError } from './errors.ts'
import { meshOption } from './options.ts'

/** `dinghy exec FROM -- CMD…`: a program whose HTTP goes through a workload's sidecar. */
export function execCommand(program: Command): void {
  program
    .command('exec')
    .summary("run a program whose HTTP goes through a workload's sidecar")
    .description(
      'Runs a program on this machine with http_proxy set to the HTTP proxy port of the workload’s sidecar, so that whatever honours it (curl, wget, most HTTP libraries) calls as that workload. The exit status is the program’s.',
    )
    .argument('<from>', 'the workload: NAME or NAME.NAMESPACE')
    .argument('<command...>', 'the program and its arguments, after --')
    .addOption(meshOption())
    .passThroughOptions()
    .action(async (from: string, given: string[], options: { mesh?: number }) => {
      const command = given[0] === '--' ? given.slice(1) : given
      if (command.length === 0) throw new CliError('no program given', 2)
      const mesh = findMesh(options.mesh)
      const workload = await askMesh<WorkloadView>(mesh, 'GET', `/v1/workload?name=${encodeURIComponent(from)}`)
      if (!workload.httpProxy) throw new CliError(`${workload.name} has no sidecar, so nothing can go through it`)
      process.exitCode = await run(command, workload)
    })
}

function run(command: readonly string[], workload: WorkloadView): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command[0]!, command.slice(1), {
      stdio: 'inherit',
      env: {
        ...process.env,
        ...proxyVariables(`http://${workload.httpProxy}`),
        POD_NAME: workload.name,
        POD_NAMESPACE: workload.namespace,
        POD_IP: workload.ip,
      },
    })
    const forward = (signal: NodeJS.Signals) => child.kill(signal)
    process.on('SIGINT', forward)
    process.on('SIGTERM', forward)
    child.on('error', (e: NodeJS.ErrnoException) =>
      reject(
        new CliError(
          e.code === 'ENOENT' ? `${command[0]}: command not found` : e.message,
          e.code === 'ENOENT' ? 127 : 126,
        ),
      ),
    )
    child.on('exit', (code, signal) => resolve(signal ? 128 + (os.constants.signals[signal] ?? 0) : (code ?? 1)))
  })
}

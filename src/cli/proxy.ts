import { type Command, Option } from 'commander'
import { positive } from './options.ts'
import { PROXY_OPTIONS, type ProxyOptions } from './proxy-options.ts'

/** `dinghy proxy`: one proxy from an Envoy bootstrap, with Envoy's flags. */
export function proxyCommand(program: Command): void {
  const command = program.command('proxy').description('run one proxy from an Envoy bootstrap')
  for (const { flags, about, choices, fallback, number } of PROXY_OPTIONS) {
    const option = new Option(flags, about)
    if (choices) option.choices(choices)
    if (number) option.argParser(number === 'count' ? positive : Number)
    if (fallback !== undefined) option.default(fallback)
    command.addOption(option)
  }
  command.action(async (options: ProxyOptions) => {
    const { runProxy } = await import('./run-proxy.ts')
    await runProxy(options)
  })
}

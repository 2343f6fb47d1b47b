import { capture } from './capture.ts'
import { certs } from './certs.ts'
import { clusters } from './clusters.ts'
import { configDump } from './config-dump.ts'
import type { AdminHandler } from './handler.ts'
import { homePage } from './home.ts'
import { listeners } from './listeners.ts'
import { serverCommands } from './server-commands.ts'
import { stats, statsPrometheus } from './stats.ts'

const home: AdminHandler = {
  path: '/',
  help: 'Admin home page',
  run: () => ({ status: 200, body: homePage(sorted()), contentType: 'text/html; charset=UTF-8' }),
}

const help: AdminHandler = {
  path: '/help',
  help: 'print out list of admin commands',
  run: () => ({ status: 200, body: helpText() }),
}

/** Every path that is served. */
export const handlers: readonly AdminHandler[] = [
  home,
  certs,
  clusters,
  configDump,
  help,
  ...serverCommands,
  stats,
  statsPrometheus,
  listeners,
  capture,
]

function sorted(): readonly AdminHandler[] {
  return [...handlers].sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0))
}

/** The list of commands, as Envoy prints it. */
export function helpText(): string {
  let out = 'admin commands are:\n'
  for (const handler of sorted()) {
    out += `  ${handler.path}${handler.mutates ? ' (POST)' : ''}: ${handler.help}\n`
    for (const param of handler.params ?? []) {
      out += `      ${param.name}: ${param.help}`
      if (param.oneOf) out += `; One of (${param.oneOf.join(', ')})`
      out += '\n'
    }
  }
  return out
}

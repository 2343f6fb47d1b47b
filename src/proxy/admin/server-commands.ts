import { writeJson } from '../../xds/json.ts'
import { type AdminHandler, type AdminResponse, json, OK, text } from './handler.ts'
import { ready } from './ready.ts'
import type { AdminView } from './view.ts'

const serverInfo: AdminHandler = {
  path: '/server_info',
  help: 'print server version/status information',
  run(view) {
    const uptime = `${Math.max(0, Math.floor((view.runtime.wallNow() - view.started) / 1000))}s`
    return json({
      version: view.version,
      state: view.state(),
      hot_restart_version: 'disabled',
      command_line_options: view.commandLineOptions,
      node: view.node ? writeJson(view.node) : {},
      uptime_current_epoch: uptime,
      uptime_all_epochs: uptime,
    })
  },
}

const memory: AdminHandler = {
  path: '/memory',
  help: 'print current allocation/heap usage',
  run() {
    const usage = process.memoryUsage()
    return json({
      allocated: String(usage.heapUsed),
      heap_size: String(usage.heapTotal),
      pageheap_unmapped: '0',
      pageheap_free: String(usage.heapTotal - usage.heapUsed),
      total_thread_cache: '0',
      total_physical_bytes: String(usage.rss),
    })
  },
}

const hotRestartVersion: AdminHandler = {
  path: '/hot_restart_version',
  help: 'print the hot restart compatibility version',
  run: () => text('disabled'),
}

const resetCounters: AdminHandler = {
  path: '/reset_counters',
  help: 'reset all counters to zero',
  mutates: true,
  run(view) {
    for (const counter of view.stats.counters.values()) counter.value = 0
    return OK
  },
}

const healthcheckFail = command('/healthcheck/fail', 'cause the server to fail health checks', (view) =>
  view.failHealthcheck(true),
)
const healthcheckOk = command('/healthcheck/ok', 'cause the server to pass health checks', (view) =>
  view.failHealthcheck(false),
)
const reopenLogs = command('/reopen_logs', 'reopen access logs', (view) => view.reopenLogs())
const quitquitquit = command('/quitquitquit', 'exit the server', (view) => {
  // The answer leaves first.
  view.runtime.after(0, () => view.quit())
})

function command(path: string, help: string, run: (view: AdminView) => void): AdminHandler {
  return {
    path,
    help,
    mutates: true,
    run(view) {
      run(view)
      return OK
    },
  }
}

const drainListeners: AdminHandler = {
  path: '/drain_listeners',
  help: 'drain listeners',
  mutates: true,
  params: [
    {
      name: 'graceful',
      help: 'When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is configurable via server options or CLI',
    },
    {
      name: 'skip_exit',
      help: 'When draining listeners, do not exit after the drain period. This must be used with graceful',
    },
    {
      name: 'inboundonly',
      help: 'Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to determine whether a listener is inbound or outbound.',
    },
  ],
  run(view, query) {
    const options = {
      graceful: query.has('graceful'),
      inboundOnly: query.has('inboundonly'),
      skipExit: query.has('skip_exit'),
    }
    if (options.skipExit && !options.graceful) return { status: 400, body: 'skip_exit requires graceful\n' }
    view.drainListeners(options)
    return OK
  },
}

/** The loggers that Envoy names most; here they all have one level. */
const LOGGERS = ['admin', 'config', 'connection', 'filter', 'http', 'main', 'rbac', 'router', 'upstream']
const LEVELS = ['trace', 'debug', 'info', 'warning', 'error', 'critical', 'off']

const logging: AdminHandler = {
  path: '/logging',
  help: 'query/change logging levels',
  mutates: true,
  params: [
    {
      name: 'paths',
      help: 'Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is enabled, use __FILE__ or a glob experision as the logger name. For example, source/common*:warning',
    },
    {
      name: 'level',
      help: "desired logging level, this will change all loggers's level",
      oneOf: ['', ...LEVELS],
    },
  ],
  run: (view, query) => setLevels(view, query),
}

function setLevels(view: AdminView, query: URLSearchParams): AdminResponse {
  const asked = [...query].filter(([name, value]) => !((name === 'level' || name === 'paths') && value === ''))
  let problem: string | undefined
  if (asked.length > 1) problem = 'invalid number of parameters'
  for (const [name, value] of asked.length === 1 ? asked : []) {
    const level = name === 'paths' ? (value.split(',').at(-1)?.split(':')[1] ?? '') : value
    if (name !== 'level' && name !== 'paths' && !LOGGERS.includes(name)) problem = 'unknown logger name'
    else if (!view.setLogLevel(level)) problem = 'unknown logger level'
  }
  let body = ''
  if (problem !== undefined) {
    body += `error: ${problem}\n\nusage: /logging?<name>=<level> (change single level)\n`
    body += 'usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n'
    body += `usage: /logging?level=<level> (change all levels)\nlevels: ${LEVELS.join(' ')} \n`
  }
  body += `active loggers:\n${LOGGERS.map((l) => `  ${l}: ${view.logLevel()}\n`).join('')}\n`
  return { status: problem === undefined ? 200 : 400, body }
}

/** Commands about the server itself (source/server/admin/{server_cmd,server_info,logs,listeners}_handler.cc). */
export const serverCommands: readonly AdminHandler[] = [
  ready,
  serverInfo,
  memory,
  hotRestartVersion,
  resetCounters,
  healthcheckFail,
  healthcheckOk,
  quitquitquit,
  drainListeners,
  logging,
  reopenLogs,
]

/** Envoy's own flags (source/server/options_impl.cc), by their long names. */
export interface ProxyOptions {
  readonly configPath?: string
  readonly configYaml?: string
  readonly mode: 'serve' | 'validate'
  readonly logLevel: string
  readonly baseId?: string
  readonly concurrency?: number
  readonly serviceCluster?: string
  readonly serviceNode?: string
  readonly serviceZone?: string
  readonly drainTimeS: number
  readonly drainStrategy: 'gradual' | 'immediate'
  readonly adminAddressPath?: string
}

/** One option of `dinghy proxy`, as `--help` shows it. */
interface OptionRow {
  /** As commander writes them: `-c, --config-path <file>`. */
  readonly flags: string
  readonly about: string
  readonly choices?: readonly string[]
  readonly fallback?: string | number
  /** What the text must be a number of; without it, the text is the value. */
  readonly number?: 'count' | 'seconds'
}

/** The options of `dinghy proxy`, in the order of its help. */
export const PROXY_OPTIONS: readonly OptionRow[] = [
  { flags: '-c, --config-path <file>', about: 'bootstrap: YAML, JSON or binary protobuf (.pb)' },
  { flags: '--config-yaml <yaml>', about: 'bootstrap as YAML text; laid over the file when both are given' },
  {
    flags: '--mode <mode>',
    about: 'serve, or only check the bootstrap',
    choices: ['serve', 'validate'],
    fallback: 'serve',
  },
  {
    flags: '-l, --log-level <level>',
    about: 'how much to say',
    choices: ['trace', 'debug', 'info', 'warning', 'warn', 'error', 'critical', 'off'],
    fallback: 'info',
  },
  { flags: '--base-id <n>', about: 'accepted for Envoy’s sake: there is no shared memory' },
  { flags: '--use-dynamic-base-id', about: 'accepted for Envoy’s sake' },
  { flags: '--disable-hot-restart', about: 'accepted for Envoy’s sake' },
  { flags: '--concurrency <n>', about: 'accepted for Envoy’s sake: there is one worker', number: 'count' },
  {
    flags: '--file-flush-interval-msec <n>',
    about: 'accepted for Envoy’s sake: files are written within half a second',
    number: 'count',
  },
  { flags: '--service-cluster <name>', about: 'node.cluster, unless the bootstrap has one' },
  { flags: '--service-node <id>', about: 'node.id, unless the bootstrap has one' },
  { flags: '--service-zone <zone>', about: 'node.locality.zone, unless the bootstrap has one' },
  {
    flags: '--drain-time-s <seconds>',
    about: 'how long connections of removed listeners may take',
    fallback: 600,
    number: 'seconds',
  },
  {
    flags: '--drain-strategy <strategy>',
    about: 'whether clients of what drains are told to go little by little, or each with its next reply',
    choices: ['gradual', 'immediate'],
    fallback: 'gradual',
  },
  { flags: '--admin-address-path <file>', about: 'write the address of the admin interface to this file' },
]

/**
 * Reads a command line of pairs such as `-c FILE` without the library for command lines, whose loading a proxy's
 * start would wait for. Undefined for anything else (`--help`, `--mode=serve`, mistakes): that is the library's.
 */
export function plainProxyOptions(args: readonly string[]): ProxyOptions | undefined {
  const options: Record<string, unknown> = {}
  for (const row of PROXY_OPTIONS) if (row.fallback !== undefined) options[keyOf(row)] = row.fallback
  for (let i = 0; i < args.length; i++) {
    const row = PROXY_OPTIONS.find(({ flags }) => flags.split(/, | </).includes(args[i]!))
    if (!row) return undefined
    if (!row.flags.endsWith('>')) {
      options[keyOf(row)] = true
      continue
    }
    const value = args[++i]
    if (value === undefined || value.startsWith('-') || (row.choices && !row.choices.includes(value))) return undefined
    if (row.number && !/^[1-9]\d{0,8}$/.test(value)) return undefined
    options[keyOf(row)] = row.number ? Number(value) : value
  }
  return options as unknown as ProxyOptions
}

/** `configPath` for `-c, --config-path <file>`. */
function keyOf(row: OptionRow): string {
  const [, long] = /--([a-z-]+)/.exec(row.flags)!
  return long!.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

import fs from 'node:fs'
import { mergeFromBinary, toBinary } from '@bufbuild/protobuf'
import type { Bootstrap } from '#gen/envoy/config/bootstrap/v3/bootstrap_pb.js'
import { formatAddress } from '../proxy/listener/connection.ts'
import { ProxyServer } from '../proxy/server.ts'
import { SystemRuntime } from '../runtime-system.ts'
import { loadBootstrap, parseBootstrap } from '../xds/bootstrap.ts'
import { make, schemaOf } from '../xds/messages.ts'
import { inlineFurther } from './engine.ts'
import { CliError } from './errors.ts'
import type { ProxyOptions } from './proxy-options.ts'

/** Runs one proxy until it is told to stop. Throws a CliError when it cannot serve. */
export async function runProxy(options: ProxyOptions): Promise<void> {
  inlineFurther()
  const bootstrap = await readBootstrap(options)
  const quiet = ['error', 'critical', 'off'].includes(options.logLevel)
  let quit = () => {}
  let server: ProxyServer
  try {
    server = new ProxyServer({
      bootstrap,
      runtime: new SystemRuntime(),
      drainTime: options.drainTimeS * 1000,
      drainStrategy: options.drainStrategy,
      commandLineOptions: commandLine(options),
      warn: (line) => {
        if (!quiet) process.stderr.write(`dinghy: ${line}\n`)
      },
      onQuit: () => quit(),
    })
  } catch (error) {
    throw new CliError(`error initializing configuration '${options.configPath ?? ''}': ${messageOf(error)}`)
  }
  if (options.mode === 'validate') {
    process.stdout.write(`configuration '${options.configPath ?? ''}' OK\n`)
    await server.stop()
    return
  }
  const stopped = new Promise<void>((resolve) => {
    quit = resolve
    process.once('SIGTERM', () => resolve())
    process.once('SIGINT', () => resolve())
  })
  // Neither listeners nor an admin interface are compulsory: the process stays until it is told to go.
  const alive = setInterval(() => {}, 0x7fff_ffff)
  try {
    await server.start()
    if (options.adminAddressPath && server.adminAddress) {
      fs.writeFileSync(options.adminAddressPath, formatAddress(server.adminAddress))
    }
    await Promise.race([stopped, server.whenReady().then(() => stopped)])
  } catch (error) {
    throw new CliError(messageOf(error))
  } finally {
    clearInterval(alive)
    await server.stop()
  }
  // A client that keeps a connection half-open must not keep the process.
  process.exit(0)
}

async function readBootstrap(options: ProxyOptions): Promise<Bootstrap> {
  const { configPath, configYaml } = options
  if (configPath === undefined && configYaml === undefined) {
    throw new CliError('At least one of --config-path or --config-yaml should be non-empty', 2)
  }
  let bootstrap: Bootstrap | undefined
  try {
    if (configPath !== undefined) bootstrap = await loadBootstrap(configPath)
    if (configYaml !== undefined) {
      const over = await parseBootstrap(configYaml, '--config-yaml')
      bootstrap = bootstrap ? merged(bootstrap, over) : over
    }
  } catch (error) {
    throw new CliError(messageOf(error))
  }
  return withNode(bootstrap!, options)
}

function merged(base: Bootstrap, over: Bootstrap): Bootstrap {
  const schema = schemaOf(base.$typeName)
  return mergeFromBinary(schema, base, toBinary(schema, over)) as Bootstrap
}

function withNode(bootstrap: Bootstrap, options: ProxyOptions): Bootstrap {
  const { serviceCluster, serviceNode, serviceZone } = options
  if (serviceCluster === undefined && serviceNode === undefined && serviceZone === undefined) return bootstrap
  const node = bootstrap.node ?? make('envoy.config.core.v3.Node')
  node.cluster ||= serviceCluster ?? ''
  node.id ||= serviceNode ?? ''
  if (serviceZone !== undefined && !node.locality?.zone) {
    node.locality = make('envoy.config.core.v3.Locality', { ...node.locality, zone: serviceZone })
  }
  bootstrap.node = node
  return bootstrap
}

/** What `/server_info` shows: the options that were given, under their proto names. */
function commandLine(options: ProxyOptions): Record<string, unknown> {
  return {
    ...(options.baseId ? { base_id: options.baseId } : {}),
    concurrency: options.concurrency ?? 1,
    ...(options.configPath ? { config_path: options.configPath } : {}),
    ...(options.configYaml ? { config_yaml: options.configYaml } : {}),
    log_level: options.logLevel,
    mode: options.mode === 'validate' ? 'Validate' : 'Serve',
    drain_time: `${options.drainTimeS}s`,
    ...(options.drainStrategy === 'immediate' ? { drain_strategy: 'Immediate' } : {}),
    ...(options.serviceCluster ? { service_cluster: options.serviceCluster } : {}),
    ...(options.serviceNode ? { service_node: options.serviceNode } : {}),
    ...(options.serviceZone ? { service_zone: options.serviceZone } : {}),
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

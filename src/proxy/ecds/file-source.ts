import fs from 'node:fs'
import path from 'node:path'
import type { PathConfigSource } from '#gen/envoy/config/core/v3/config_source_pb.js'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { DiscoveryResponse } from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import { decodeJson } from '../../xds/json-decode.ts'
import { messageIn, schemaOf, typeNameOf } from '../../xds/messages.ts'
import { problemText } from '../../xds/problem.ts'
import { validate } from '../../xds/validate.ts'
import { ConfigError } from '../context.ts'
import { onMove } from '../tls/watched-files.ts'
import type { ExtensionSubscription } from './subscription.ts'

/** A file with a config, and the folder in which moves mean that it has changed. */
export interface FilePlace {
  readonly path: string
  /** Undefined: the file's own folder, and the file's name alone counts. */
  readonly watched: string | undefined
}

/** The place that a config source names. */
export function filePlace(source: PathConfigSource | string): FilePlace {
  return typeof source === 'string'
    ? { path: source, watched: undefined }
    : { path: source.path, watched: source.watchedDirectory?.path }
}

/** Throws ConfigError when there is no such file. */
export function checkFile(place: FilePlace, at: string): void {
  if (fs.existsSync(place.path)) return
  throw new ConfigError([`${at}: paths must refer to an existing path in the system: '${place.path}' does not exist`])
}

/**
 * Reads a file for a subscription, and again whenever it is replaced
 * (source/extensions/config_subscription/filesystem/filesystem_subscription_impl.cc). Returns the way to stop.
 */
export function followFile(
  place: FilePlace,
  subscription: ExtensionSubscription,
  log: (line: string) => void,
): () => void {
  let over = false
  let stop = (): void => {}
  const follow = async (): Promise<void> => {
    // Only who reads files needs the YAML parser.
    const { readYaml } = await import('../../xds/yaml-text.ts')
    if (over) return
    const read = (): void => {
      subscription.attempted()
      let text: string
      try {
        text = fs.readFileSync(place.path, 'utf8')
      } catch (error) {
        log(`Filesystem config update failure: ${(error as Error).message}`)
        subscription.unreachable()
        return
      }
      try {
        const { config, version } = readConfig(text, readYaml)
        subscription.set(config, version)
      } catch (error) {
        log(`Filesystem config update rejected: ${(error as Error).message}`)
        subscription.rejected()
      }
    }
    stop =
      place.watched === undefined
        ? onMove(path.dirname(place.path), path.basename(place.path), read)
        : onMove(place.watched, undefined, read)
    read()
  }
  follow().catch((error: Error) => log(`Filesystem config update failure: ${error.message}`))
  return () => {
    over = true
    stop()
  }
}

type ReadYaml = (text: string) => { value?: unknown; faults: readonly { message: string }[] }

function readConfig(text: string, readYaml: ReadYaml): { config: TypedExtensionConfig; version: string } {
  const { value, faults } = readYaml(text)
  if (faults.length > 0) throw new ConfigError(faults.map(({ message }) => message))
  const { message, problems } = decodeJson(schemaOf('envoy.service.discovery.v3.DiscoveryResponse'), value ?? {})
  if (problems.length > 0) throw new ConfigError(problems.map(problemText))
  const { resources, versionInfo } = message as unknown as DiscoveryResponse
  if (resources.length !== 1)
    throw new ConfigError([`Unexpected number of resources in ExtensionConfigDS response: ${resources.length}`])
  const any = resources[0]!
  if (typeNameOf(any.typeUrl) !== 'envoy.config.core.v3.TypedExtensionConfig')
    throw new ConfigError([`${any.typeUrl} is no envoy.config.core.v3.TypedExtensionConfig`])
  const config = messageIn(any)
  const violations = validate(config)
  if (violations.length > 0) throw new ConfigError(violations.map(problemText))
  return { config: config as unknown as TypedExtensionConfig, version: versionInfo }
}

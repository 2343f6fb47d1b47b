import fs from 'node:fs'
import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'

/**
 * Reads a DataSource; undefined when it is absent or empty. Problems are added to `errors` with their path. `watched`: the
 * caller sees to its `watched_directory`.
 */
export function readDataSource(
  source: DataSource | undefined,
  path: string,
  errors: string[],
  watched = false,
): Buffer | undefined {
  if (source === undefined) return undefined
  if (source.watchedDirectory && !watched) errors.push(`${path}.watched_directory: not supported`)
  const { specifier } = source
  switch (specifier.case) {
    case 'inlineString':
      return specifier.value === '' ? undefined : Buffer.from(specifier.value, 'utf8')
    case 'inlineBytes':
      return specifier.value.length === 0 ? undefined : Buffer.from(specifier.value)
    case 'environmentVariable': {
      const value = process.env[specifier.value]
      if (value === undefined) errors.push(`${path}: environment variable ${specifier.value} is not set`)
      return value === undefined ? undefined : Buffer.from(value, 'utf8')
    }
    case 'filename':
      try {
        return fs.readFileSync(specifier.value)
      } catch {
        errors.push(`${path}: file ${specifier.value} cannot be read`)
        return undefined
      }
    default:
      return undefined
  }
}

import fs from 'node:fs'
import path from 'node:path'
import type { DataSource } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'

/**
 * Calls `fn` when something is moved into a folder (of that name, if one is given), which is how files are replaced whole;
 * what is written in place is not looked at, as by Envoy. Returns the way to stop. Throws when there is no such folder.
 */
export function onMove(folder: string, name: string | undefined, fn: () => void): () => void {
  const watcher = fs.watch(folder, { persistent: false }, (event, changed) => {
    if (event === 'rename' && (name === undefined || changed === null || changed === name)) fn()
  })
  // The folder itself may go away: what was read last stays in use.
  watcher.on('error', () => watcher.close())
  return () => watcher.close()
}

/** The folders to watch for a secret that refers to files; those of the files themselves unless it names one. */
export function foldersOf(secret: Secret): string[] {
  const { case: kind, value } = secret.type
  if (kind !== 'tlsCertificate' && kind !== 'validationContext') return []
  const sources: (DataSource | undefined)[] =
    kind === 'tlsCertificate'
      ? [value.certificateChain, value.privateKey, value.password, value.pkcs12]
      : [value.trustedCa, value.crl]
  const files = sources.flatMap((source) => (source?.specifier.case === 'filename' ? source.specifier.value : []))
  if (files.length === 0) return []
  if (value.watchedDirectory) return [value.watchedDirectory.path]
  const named = sources.flatMap((source) => source?.watchedDirectory?.path ?? [])
  return [...new Set([...named, ...files.map((file) => path.dirname(file))])]
}

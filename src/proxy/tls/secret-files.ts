import fs from 'node:fs'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { DiscoveryResponse } from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import { decodeJson } from '../../xds/json-decode.ts'
import { messageIn, schemaOf, typeNameOf } from '../../xds/messages.ts'
import { problemText } from '../../xds/problem.ts'
import { readYaml } from '../../xds/yaml-text.ts'

const RESPONSE = 'envoy.service.discovery.v3.DiscoveryResponse'
const SECRET = 'envoy.extensions.transport_sockets.tls.v3.Secret'

/**
 * Reads the one secret of a file, a DiscoveryResponse in YAML or JSON. Throws what is wrong with it, in the words of
 * source/common/secret/sds_api.cc where it has such.
 */
export function readSecretFile(file: string, name: string): { secret: Secret; version: string } {
  const { value, faults } = readYaml(fs.readFileSync(file, 'utf8'))
  if (faults.length > 0) throw new Error(`${file}: ${faults.map((fault) => fault.message).join('; ')}`)
  const { message, problems } = decodeJson(schemaOf(RESPONSE), value ?? {})
  if (problems.length > 0) throw new Error(`${file}: ${problems.map(problemText).join('; ')}`)
  const { resources, versionInfo } = message as unknown as DiscoveryResponse
  if (resources.length !== 1) throw new Error(`${file}: Unexpected SDS secrets length: ${resources.length}`)
  const [any] = resources
  if (typeNameOf(any!.typeUrl) !== SECRET) throw new Error(`${file}: ${any!.typeUrl} is no secret`)
  const secret = messageIn(any!) as unknown as Secret
  if (secret.name !== name) throw new Error(`${file}: Unexpected SDS secret (expecting ${name}): ${secret.name}`)
  return { secret, version: versionInfo }
}

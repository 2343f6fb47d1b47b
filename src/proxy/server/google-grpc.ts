import { type ChannelCredentials, credentials, type Metadata } from '@grpc/grpc-js'
import type {
  GrpcService_GoogleGrpc,
  GrpcService_GoogleGrpc_CallCredentials,
} from '#gen/envoy/config/core/v3/grpc_service_pb.js'
import type { FileBasedMetadataConfig } from '#gen/envoy/config/grpc_credential/v3/file_based_metadata_pb.js'
import type { GrpcTransportOptions } from '../../xds/grpc-transport.ts'
import { openAny } from '../listener/typed-filter.ts'
import { readDataSource } from '../tls/data-source.ts'

const FILE_BASED = 'envoy.config.grpc_credential.v3.FileBasedMetadataConfig'

/** How to reach a service of google_grpc. */
interface GoogleEndpoint extends GrpcTransportOptions {
  readonly address: string
}

/**
 * A `google_grpc` service: its target, TLS with files or inline PEM, and tokens given or read from a file at each stream
 * (`envoy.grpc_credentials.file_based_metadata`). Other credentials are refused by name. Throws with the path.
 */
export function googleGrpc(config: GrpcService_GoogleGrpc, initial: () => Metadata, path: string): GoogleEndpoint {
  const channel = channelOf(config, path)
  const tokens = config.callCredentials.map((call, i) => tokenOf(call, `${path}.call_credentials[${i}]`))
  if (tokens.length > 0 && !channel) throw new Error(`${path}.call_credentials: they need channel_credentials`)
  const channelArguments: Record<string, string | number> = {}
  for (const [name, { valueSpecifier }] of Object.entries(config.channelArgs?.args ?? {}))
    if (valueSpecifier.case)
      channelArguments[name] =
        typeof valueSpecifier.value === 'bigint' ? Number(valueSpecifier.value) : valueSpecifier.value
  return {
    address: config.targetUri,
    credentials: channel && (() => channel),
    channelArguments,
    metadata() {
      const sent = initial()
      for (const token of tokens) sent.add(...token())
      return sent
    },
  }
}

function channelOf(config: GrpcService_GoogleGrpc, path: string): ChannelCredentials | undefined {
  const how = config.channelCredentials?.credentialSpecifier
  if (how?.case === 'googleDefault') throw new Error(`${path}.channel_credentials.google_default: not supported`)
  if (how?.case !== 'sslCredentials') return undefined
  const errors: string[] = []
  const at = `${path}.channel_credentials.ssl_credentials`
  const roots = readDataSource(how.value.rootCerts, `${at}.root_certs`, errors)
  const key = readDataSource(how.value.privateKey, `${at}.private_key`, errors)
  const chain = readDataSource(how.value.certChain, `${at}.cert_chain`, errors)
  if (errors.length > 0) throw new Error(errors.join('; '))
  return credentials.createSsl(roots ?? null, key ?? null, chain ?? null)
}

/** Gives the header of one call. */
type Token = () => [key: string, value: string]

function tokenOf({ credentialSpecifier }: GrpcService_GoogleGrpc_CallCredentials, path: string): Token {
  if (credentialSpecifier.case === 'accessToken') {
    const value = `Bearer ${credentialSpecifier.value}`
    return () => ['authorization', value]
  }
  const plugin = credentialSpecifier.case === 'fromPlugin' ? credentialSpecifier.value : undefined
  if (plugin?.configType.case !== 'typedConfig')
    throw new Error(`${path}: only access_token and from_plugin with a typed_config are supported`)
  const { typeName, message } = openAny(plugin.name, plugin.configType.value)
  if (typeName !== FILE_BASED) throw new Error(`${path}.from_plugin: ${typeName} is not supported`)
  const { secretData, headerKey, headerPrefix } = message as FileBasedMetadataConfig
  return () => {
    const errors: string[] = []
    const secret = readDataSource(secretData, `${path}.from_plugin.secret_data`, errors)
    if (secret === undefined) throw new Error(errors[0] ?? `${path}.from_plugin.secret_data: it is empty`)
    return [headerKey || 'authorization', `${headerPrefix}${secret.toString('utf8').trim()}`]
  }
}

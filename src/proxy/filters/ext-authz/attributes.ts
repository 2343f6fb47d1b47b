import type { JsonObject, Message } from '@bufbuild/protobuf'
import type { Metadata } from '#gen/envoy/config/core/v3/base_pb.js'
import type { AttributeContext_HttpRequest as HttpRequest } from '#gen/envoy/service/auth/v3/attribute_context_pb.js'
import { make } from '../../../xds/messages.ts'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { H } from '../../http/names.ts'
import { connectionStreamInfo } from '../../tcp/stream-info.ts'
import { destinationPeer, type PeerChoice, sourcePeer, tlsSession } from './peer.ts'
import type { CheckSubject } from './subject.ts'
import { sanitizedText, sanitizedUtf8 } from './utf8.ts'

/** What a check by gRPC tells beside the headers. */
export interface AttributeChoice extends PeerChoice {
  readonly tlsSession: boolean
  readonly packAsBytes: boolean
  /** Namespaces of the request's metadata, or else the connection's. */
  readonly namespaces: readonly string[]
  /** Of the route's. */
  readonly routeNamespaces: readonly string[]
}

/** The CheckRequest for a request (source/extensions/filters/common/ext_authz/check_request_utils.cc createHttpCheck). */
export function httpCheckRequest(subject: CheckSubject, choice: AttributeChoice): Message {
  const { slot, head } = subject
  const { connection, info } = slot
  return make('envoy.service.auth.v3.CheckRequest', {
    attributes: {
      source: sourcePeer(connection, head.get(H.downstreamCluster) ?? '', choice),
      destination: destinationPeer(connection, '', choice),
      request: { time: timestamp(info.startWall), http: httpRequest(subject, choice) },
      contextExtensions: { ...subject.contextExtensions },
      metadataContext: requestMetadata(slot, choice.namespaces),
      routeMetadataContext: chosenMetadata(choice.routeNamespaces, [slot.route()?.metadata]),
      ...(choice.tlsSession ? { tlsSession: tlsSession(connection) } : {}),
    },
  }) as unknown as Message
}

function httpRequest(subject: CheckSubject, choice: AttributeChoice): HttpRequest {
  const { slot, head, headers, raw, body } = subject
  const request = make('envoy.service.auth.v3.AttributeContext.HttpRequest', {
    id: streamId(slot),
    method: sanitizedText(head.method),
    path: sanitizedText(head.path),
    host: sanitizedText(head.authority),
    scheme: sanitizedText(head.scheme),
    size: BigInt(slot.info.bytesReceived),
    protocol: slot.info.protocol ?? '',
  })
  if (raw) {
    request.headerMap = make('envoy.config.core.v3.HeaderMap', {
      headers: headers.map(([key, value]) => ({ key, rawValue: new Uint8Array(Buffer.from(value, 'latin1')) })),
    })
  } else request.headers = Object.fromEntries(headers)
  if (body === undefined) return request
  if (choice.packAsBytes) request.rawBody = new Uint8Array(body)
  else request.body = sanitizedUtf8(body)
  return request
}

/** 64 bits that chance gives. */
function streamId({ runtime }: FilterSlot): string {
  return String((BigInt(runtime.randomU32()) << 32n) | BigInt(runtime.randomU32()))
}

function timestamp(wall: number) {
  return { seconds: BigInt(Math.floor(wall / 1000)), nanos: Math.floor((wall % 1000) * 1e6) }
}

function requestMetadata(slot: FilterSlot, namespaces: readonly string[]): Metadata {
  if (namespaces.length === 0) return chosenMetadata([], [])
  const ofConnection = connectionStreamInfo(slot.runtime, slot.connection).dynamicMetadata
  return chosenMetadata(namespaces, [slot.info.dynamicMetadata, ofConnection])
}

/** Namespaces that are there, each from the first source that has it. */
export function chosenMetadata(
  namespaces: readonly string[],
  sources: readonly (ReadonlyMap<string, Readonly<Record<string, unknown>>> | undefined)[],
): Metadata {
  const filterMetadata: Record<string, JsonObject> = {}
  for (const namespace of namespaces) {
    const found = sources.find((source) => source?.has(namespace))?.get(namespace)
    if (found !== undefined) filterMetadata[namespace] = found as JsonObject
  }
  return make('envoy.config.core.v3.Metadata', { filterMetadata })
}

import 'reflect-metadata'
import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js'
import type { Secret } from '#gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js'
import type { IstioCertificateRequest, IstioCertificateResponse } from '#gen/istio/ca_pb.js'
import { Ca } from '../../src/ca/ca.ts'
import { type ControlPlane, createControlPlane } from '../../src/mesh/control-plane.ts'
import { type DoorPlaces, Doors } from '../../src/mesh/doors/doors.ts'
import type { Runtime } from '../../src/runtime.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { createStore, type Store } from '../../src/store/store.ts'
import { grpcService } from '../../src/xds/grpc-service.ts'
import { grpcTransport } from '../../src/xds/grpc-transport.ts'
import { make, messageIn } from '../../src/xds/messages.ts'
import { SECRET_TYPE } from '../../src/xds/resource-types.ts'
import type { AdsRequest, StreamEnd } from '../../src/xds/stream.ts'
import { objectsOf } from './pilot.ts'

/** A control plane of one test, with its doors open. */
export interface TestPlane {
  readonly plane: ControlPlane
  readonly store: Store
  readonly dataDir: string
  /** What it has logged. */
  readonly log: string[]
  address(door: keyof DoorPlaces): string
  port(door: keyof DoorPlaces): number
  /** Replaces the objects, and waits until they are in force. */
  apply(yaml: string): Promise<void>
  close(): Promise<void>
}

const ROOT_AGE_MS = 7 * 86_400_000

/** A clock that is so many ms ahead of the machine's. */
export function shifted(ms: number): Runtime {
  const real = new SystemRuntime()
  return {
    now: () => real.now(),
    wallNow: () => real.wallNow() + ms,
    after: (wait, fn) => real.after(wait, fn),
    random: () => real.random(),
    randomU32: () => real.randomU32(),
    uuid: () => real.uuid(),
    fork: () => shifted(ms),
  }
}

/** Starts a control plane on YAML; by default with ADS in plaintext and the TLS port. */
export async function startPlane(
  yaml: string,
  places: DoorPlaces = { grpcAddress: { host: '127.0.0.1', port: 0 }, tlsAddress: { host: '127.0.0.1', port: 0 } },
): Promise<TestPlane> {
  const dataDir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-plane-'))
  const runtime = new SystemRuntime()
  const store = createStore(runtime)
  store.replaceSource('test', objectsOf(yaml))
  const log: string[] = []
  const note = (line: string) => log.push(line)
  // The root is some days old, so that certificates of it may have run out.
  new Ca({ runtime: shifted(-ROOT_AGE_MS), dataDir }).close()
  const plane = createControlPlane({ store, runtime, dataDir, env: {}, onRejected: () => {}, log: note })
  const doors = await Doors.open(plane, places, { runtime, env: {}, log: note })
  const address = (door: keyof DoorPlaces) => doors.address(door) ?? ''
  return {
    plane,
    store,
    dataDir,
    log,
    address,
    port: (door) => Number(address(door).split(':').at(-1)),
    async apply(text) {
      const pushed = new Promise<void>((resolve) => {
        const stop = plane.pilot.onPush(() => {
          stop()
          resolve()
        })
      })
      store.replaceSource('test', objectsOf(text))
      await pushed
    },
    async close() {
      await doors.close()
      plane.close()
      fs.rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/** A key with the certificate that goes with it; PEM. */
export interface Pair {
  readonly key: string
  readonly cert: string
}

/** What a call of CreateCertificate is made with. */
export interface CertificateCall {
  readonly csr: string
  /** PEM of the roots; plaintext without. */
  readonly roots: string | undefined
  readonly token?: string | undefined
  /** The whole value of the authorization metadata, instead of a bearer token. */
  readonly authorization?: string | undefined
  readonly client?: Pair | undefined
  /** Seconds. */
  readonly validity?: bigint | undefined
  readonly metadata?: IstioCertificateRequest['metadata']
}

/** How a call ended: with a chain, or with a status code and words. */
export interface CertificateAnswer {
  readonly chain: string[]
  readonly code: number
  readonly details: string
}

/** Calls IstioCertificateService/CreateCertificate. */
export function createCertificate(address: string, call: CertificateCall): Promise<CertificateAnswer> {
  const { csr, roots, token, authorization, client: pair, validity = 0n, metadata } = call
  const buffer = (text: string | undefined) => (text === undefined ? null : Buffer.from(text))
  const channel =
    roots === undefined
      ? credentials.createInsecure()
      : credentials.createSsl(Buffer.from(roots), buffer(pair?.key), buffer(pair?.cert))
  const client = new Client(address, channel, { 'grpc.ssl_target_name_override': 'istiod.istio-system.svc' })
  const method = grpcService('istio.v1.auth.IstioCertificateService').createCertificate!
  const sent = new Metadata()
  const header = authorization ?? (token === undefined ? undefined : `Bearer ${token}`)
  if (header !== undefined) sent.set('authorization', header)
  return new Promise((resolve) => {
    client.makeUnaryRequest<IstioCertificateRequest, IstioCertificateResponse>(
      method.path,
      method.requestSerialize as (value: IstioCertificateRequest) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => IstioCertificateResponse,
      make('istio.v1.auth.IstioCertificateRequest', { csr, validityDuration: validity, metadata }),
      sent,
      { deadline: Date.now() + 5000 },
      (error: ServiceError | null, answer) => {
        client.close()
        resolve({ chain: answer?.certChain ?? [], code: error?.code ?? 0, details: error?.details ?? '' })
      },
    )
  })
}

/** How a stream is opened. */
export interface SecretStreamOptions {
  readonly service: 'ads' | 'sds'
  readonly mode?: 'sotw' | 'delta'
  /** The node id; none is sent without. */
  readonly node?: string | undefined
  readonly metadata?: Record<string, string>
  readonly names?: readonly string[]
  /** Roots of a TLS port. */
  readonly roots?: string
  readonly client?: Pair
  readonly token?: string
}

/** A stream of secrets, read by hand. */
export interface SecretStream {
  /** The next response's secrets by name, or how the stream ended. */
  next(): Promise<{ secrets: Map<string, Secret>; end: StreamEnd | undefined }>
  close(): void
}

/** Opens an ADS or SDS stream and asks for secrets; each response is accepted. */
export function secretStream(address: string, options: SecretStreamOptions): SecretStream {
  const { service, mode = 'sotw', node, metadata = {}, names = ['default', 'ROOTCA'], roots, client: pair } = options
  const buffer = (text: string | undefined) => (text === undefined ? null : Buffer.from(text))
  const channel = roots && credentials.createSsl(Buffer.from(roots), buffer(pair?.key), buffer(pair?.cert))
  const transport = grpcTransport(address, {
    service,
    ...(channel ? { credentials: () => channel, serverName: 'istiod.istio-system.svc' } : {}),
    metadata() {
      const sent = new Metadata()
      if (options.token) sent.set('authorization', `Bearer ${options.token}`)
      return sent
    },
  })
  type Event = { secrets: Map<string, Secret>; end: StreamEnd | undefined }
  const events: Event[] = []
  const waiting: ((event: Event) => void)[] = []
  const emit = (event: Event) => {
    const first = waiting.shift()
    if (first) first(event)
    else events.push(event)
  }
  const stream = transport.open(mode, {
    received(response) {
      const any = response.resources.flatMap((resource) =>
        resource.$typeName === 'google.protobuf.Any' ? resource : (resource.resource ?? []),
      )
      const secrets = any.map((packed) => messageIn(packed) as unknown as Secret)
      stream.send(request(response.nonce))
      emit({ secrets: new Map(secrets.map((secret) => [secret.name, secret])), end: undefined })
    },
    closed: (end) => emit({ secrets: new Map(), end }),
  })
  let first = true
  const request = (responseNonce: string): AdsRequest => {
    const common = {
      typeUrl: SECRET_TYPE,
      responseNonce,
      node: first && node !== undefined ? { id: node, metadata } : undefined,
    }
    const subscribe = first ? [...names] : []
    first = false
    return mode === 'delta'
      ? make('envoy.service.discovery.v3.DeltaDiscoveryRequest', { ...common, resourceNamesSubscribe: subscribe })
      : make('envoy.service.discovery.v3.DiscoveryRequest', { ...common, resourceNames: [...names] })
  }
  stream.send(request(''))
  return {
    next: () =>
      new Promise((resolve) => {
        const event = events.shift()
        if (event) resolve(event)
        else waiting.push(resolve)
      }),
    close() {
      stream.close()
      transport.close()
    },
  }
}

/** The leaf of a certificate secret. */
export function leafOf(secret: Secret | undefined): X509Certificate {
  if (secret?.type.case !== 'tlsCertificate') throw new Error(`${secret?.name} is no certificate`)
  return new X509Certificate(Buffer.from(secret.type.value.certificateChain!.specifier.value as Uint8Array))
}

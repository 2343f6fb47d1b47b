import { Client, credentials, type ServiceError } from '@grpc/grpc-js'
import { afterEach, describe, expect, test } from 'vitest'
import type { DeltaDiscoveryResponse, DiscoveryResponse } from '#gen/envoy/service/discovery/v3/discovery_pb.js'
import { SystemRuntime } from '../src/runtime-system.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { AdsClient } from '../src/xds/client.ts'
import { decodeResponse } from '../src/xds/client-decode.ts'
import { ADS_SERVICE, serveAds } from '../src/xds/grpc-server.ts'
import { grpcService } from '../src/xds/grpc-service.ts'
import { type Init, make } from '../src/xds/messages.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE } from '../src/xds/resource-types.ts'
import { AdsServer } from '../src/xds/server.ts'
import type { AdsConnection } from '../src/xds/server-connection.ts'
import type { Snapshot } from '../src/xds/snapshot.ts'
import type {
  AdsMode,
  AdsRequest,
  AdsResponse,
  ClientStreamHandler,
  ServerStreamHandler,
  StreamEnd,
} from '../src/xds/stream.ts'
import { edsCluster, endpoints, node, rdsListener, routes, snapshot } from './support/xds-resources.ts'

const SOTW = 'envoy.service.discovery.v3.DiscoveryRequest'
const DELTA = 'envoy.service.discovery.v3.DeltaDiscoveryRequest'

/** A client that says what it is told to, and writes down in short what the server sends. */
class Script {
  readonly ended: StreamEnd[] = []
  readonly runtime = new TestRuntime()
  readonly server: AdsServer
  writable = true
  connection!: AdsConnection
  private readonly responses: AdsResponse[] = []
  private readonly stream: ServerStreamHandler
  private readonly mode: AdsMode

  constructor(mode: AdsMode, first: Snapshot | undefined) {
    this.mode = mode
    this.server = new AdsServer({
      runtime: this.runtime,
      source: {
        connected: (connection) => {
          this.connection = connection
          if (first) connection.push(first)
        },
      },
    })
    this.stream = this.server.accept({
      mode,
      peer: 'script',
      send: (response) => {
        this.responses.push(response)
        return this.writable
      },
      end: (reason) => this.ended.push(reason),
    })
  }

  /** Says something; the answer is what the server sends at once. */
  say(typeUrl: string, init: Init<typeof SOTW> & Init<typeof DELTA> = {}): string[] {
    const request = this.mode === 'sotw' ? make(SOTW, { typeUrl, ...init }) : make(DELTA, { typeUrl, ...init })
    if (!this.connection) request.node = node('n')
    this.stream.received(request as AdsRequest)
    return this.take()
  }

  drained(): string[] {
    this.writable = true
    this.stream.drained()
    return this.take()
  }

  nonce = ''

  take(): string[] {
    return this.responses.splice(0).map((response) => {
      this.nonce = response.nonce
      const kind = response.typeUrl.split('.').at(-1)
      const { resources, removed } = decodeResponse(response)
      return [kind, ...resources.map(({ name }) => `+${name}`), ...removed.map((name) => `-${name}`)].join(' ')
    })
  }
}

const some = () => snapshot(edsCluster('a'), edsCluster('b'), endpoints('a', 1), endpoints('b', 2))

describe('the state-of-the-world server', () => {
  test('an ACK is not answered, a stale nonce is ignored, a request with a new name is answered', () => {
    const script = new Script('sotw', some())
    expect(script.say(ENDPOINT_TYPE, { resourceNames: ['a'] })).toEqual(['ClusterLoadAssignment +a'])
    const first = script.nonce
    expect(script.say(ENDPOINT_TYPE, { resourceNames: ['a'], responseNonce: first, versionInfo: 'x' })).toEqual([])
    expect(script.say(ENDPOINT_TYPE, { resourceNames: ['a', 'b'], responseNonce: first })).toEqual([
      'ClusterLoadAssignment +a +b',
    ])
    expect(script.say(ENDPOINT_TYPE, { resourceNames: ['a', 'b', 'c'], responseNonce: first })).toEqual([])
    expect(script.connection.status()[0]!.names).toEqual(['a', 'b'])
  })

  test('the same request once more, after its ACK, is answered again: a cluster that warms anew waits for it', () => {
    const script = new Script('sotw', some())
    script.say(ENDPOINT_TYPE, { resourceNames: ['a'] })
    const ack = { resourceNames: ['a'], responseNonce: script.nonce }
    expect(script.say(ENDPOINT_TYPE, ack)).toEqual([])
    expect(script.say(ENDPOINT_TYPE, ack)).toEqual(['ClusterLoadAssignment +a'])
  })

  test('a name that does not exist is waited for, a cluster asked for by name is answered as missing', () => {
    const script = new Script('sotw', some())
    expect(script.say(ROUTE_TYPE, { resourceNames: ['r'] })).toEqual([])
    expect(script.say(CLUSTER_TYPE, { resourceNames: ['none'] })).toEqual(['Cluster'])
    script.say(CLUSTER_TYPE, { resourceNames: ['none'], responseNonce: script.nonce })
    script.connection.push(snapshot(routes('r', { a: 1 })))
    expect(script.take()).toEqual(['RouteConfiguration +r'])
  })

  test('requests wait until the source has pushed something', () => {
    const script = new Script('sotw', undefined)
    expect(script.say(CLUSTER_TYPE)).toEqual([])
    expect(script.say('type.googleapis.com/foo.Bar')).toEqual([])
    script.connection.push(some())
    expect(script.take()).toEqual(['Cluster +a +b'])
  })
})

describe('the delta server', () => {
  test('an empty first list means everything; names come one by one; what does not exist is said to be removed', () => {
    const script = new Script('delta', some())
    expect(script.say(CLUSTER_TYPE)).toEqual(['Cluster +a +b'])
    expect(script.say(ENDPOINT_TYPE, { resourceNamesSubscribe: ['a', 'none'] })).toEqual([
      'ClusterLoadAssignment +a -none',
    ])
    expect(script.say(ENDPOINT_TYPE, { responseNonce: script.nonce })).toEqual([])
    expect(script.say(ENDPOINT_TYPE, { resourceNamesSubscribe: ['b'] })).toEqual(['ClusterLoadAssignment +b'])
    expect(script.say(ENDPOINT_TYPE, { resourceNamesSubscribe: ['b'] })).toEqual(['ClusterLoadAssignment +b'])
    expect(script.say(ENDPOINT_TYPE, { resourceNamesUnsubscribe: ['a'] })).toEqual([])
    script.connection.push(snapshot(edsCluster('a'), edsCluster('b'), endpoints('a', 3), endpoints('b', 4)))
    expect(script.take()).toEqual(['ClusterLoadAssignment +b'])
    script.connection.push(snapshot(edsCluster('a'), edsCluster('b'), endpoints('none', 3), endpoints('b', 4)))
    expect(script.take()).toEqual(['ClusterLoadAssignment +none'])
  })

  test('a wildcard may be given up for names', () => {
    const script = new Script('delta', some())
    script.say(CLUSTER_TYPE, { resourceNamesSubscribe: ['*'] })
    script.say(CLUSTER_TYPE, { resourceNamesSubscribe: ['a'], resourceNamesUnsubscribe: ['*'] })
    script.connection.push(snapshot(edsCluster('a', { altStatName: 'x' }), edsCluster('b', { altStatName: 'x' })))
    expect(script.take()).toEqual(['Cluster +a'])
  })

  test('a client that comes back with what it holds gets what has changed since, and what is gone, once all is told', () => {
    const now = some()
    const version = now.types.get(CLUSTER_TYPE)!.get('a')!.version
    const script = new Script('delta', now)
    const held = { a: version, b: 'old', gone: 'old' }
    expect(script.say(CLUSTER_TYPE, { initialResourceVersions: held })).toEqual(['Cluster +b'])
    script.say(LISTENER_TYPE)
    script.say(LISTENER_TYPE, { responseNonce: script.nonce })
    expect(script.take()).toEqual([])
    script.runtime.advance(1000)
    expect(script.say(LISTENER_TYPE, { responseNonce: script.nonce })).toEqual([])
  })

  test('answers to several responses are told apart by their nonces', () => {
    const script = new Script('delta', some())
    script.say(CLUSTER_TYPE)
    const first = script.nonce
    script.connection.push(snapshot(edsCluster('a', { altStatName: 'x' })))
    script.take()
    const second = script.nonce
    script.say(CLUSTER_TYPE, { responseNonce: second, errorDetail: { code: 13, message: 'no' } })
    expect(script.connection.status()[0]!.nack).toMatchObject({ nonce: second, message: 'no' })
    script.say(CLUSTER_TYPE, { responseNonce: first })
    expect(script.connection.status()[0]).toMatchObject({ ackedNonce: first })
  })
})

describe.each(['sotw', 'delta'] as const)('the server, %s', (mode) => {
  const all = (cluster: string) =>
    snapshot(edsCluster(cluster), endpoints(cluster, 1), rdsListener('l', 1, 'r'), routes('r', { [cluster]: 1 }))

  function settled() {
    const script = new Script(mode, all('a'))
    const names = (...list: string[]) => (mode === 'sotw' ? { resourceNames: list } : { resourceNamesSubscribe: list })
    const ack = (typeUrl: string, ...list: string[]) =>
      script.say(typeUrl, { responseNonce: script.nonce, ...(mode === 'sotw' ? { resourceNames: list } : {}) })
    script.say(CLUSTER_TYPE)
    ack(CLUSTER_TYPE)
    script.say(ENDPOINT_TYPE, names('a'))
    ack(ENDPOINT_TYPE, 'a')
    script.say(LISTENER_TYPE)
    ack(LISTENER_TYPE)
    script.say(ROUTE_TYPE, names('r'))
    ack(ROUTE_TYPE, 'r')
    expect(script.connection.synced).toBe(true)
    return { script, ack, names }
  }

  test('routes wait for the answer to new clusters, and old clusters for the answer to routes', () => {
    const { script, ack } = settled()
    script.connection.push(all('b'))
    expect(script.take()).toEqual([mode === 'sotw' ? 'Cluster +b +a' : 'Cluster +b'])
    expect(ack(CLUSTER_TYPE)).toEqual(['RouteConfiguration +r'])
    expect(ack(ROUTE_TYPE, 'r')[0]).toBe(mode === 'sotw' ? 'Cluster +b' : 'Cluster -a')
  })

  test('but not for ever', () => {
    const { script } = settled()
    script.connection.push(all('b'))
    script.take()
    script.runtime.advance(999)
    expect(script.take()).toEqual([])
    script.runtime.advance(2)
    expect(script.take()).toEqual(['RouteConfiguration +r'])
    const next = snapshot(edsCluster('b'), endpoints('b', 1), rdsListener('l', 2, 'r'), routes('r', { b: 1 }))
    script.connection.push(next) // the clusters are still not answered for, and were waited for once
    expect(script.take()).toEqual(['Listener +l'])
  })

  test('while routes are refused, the clusters of the ones in use stay', () => {
    const { script, ack, names } = settled()
    script.connection.push(all('b'))
    script.take()
    ack(CLUSTER_TYPE)
    const refusal = {
      responseNonce: script.nonce,
      errorDetail: { code: 13, message: 'no' },
      ...(mode === 'sotw' && names('r')),
    }
    expect(script.say(ROUTE_TYPE, refusal)).toEqual([])
    script.connection.push(all('a'))
    expect(script.take()).toContain('RouteConfiguration +r')
    expect(ack(ROUTE_TYPE, 'r')[0]).toBe(mode === 'sotw' ? 'Cluster +a' : 'Cluster -b')
  })

  test('a client that reads slowly gets the latest state when it reads again, not each one before', () => {
    const { script } = settled()
    const at = (altStatName: string) =>
      snapshot(edsCluster('a', { altStatName }), endpoints('a', 1), rdsListener('l', 1, 'r'), routes('r', { a: 1 }))
    script.writable = false
    script.connection.push(at('1'))
    script.connection.push(at('2'))
    script.connection.push(at('3'))
    expect(script.take()).toEqual(['Cluster +a'])
    expect(script.drained()).toEqual(['Cluster +a'])
    expect(script.drained()).toEqual([])
  })

  test('a first request without a node ends the stream', () => {
    const server = new AdsServer({ runtime: new SystemRuntime(), source: { connected() {} } })
    const ended: StreamEnd[] = []
    const stream = server.accept({ mode, peer: '', send: () => true, end: (reason) => ended.push(reason) })
    stream.received((mode === 'sotw' ? make(SOTW) : make(DELTA)) as AdsRequest)
    expect(ended).toEqual([{ code: 3, message: 'missing node information' }])
    expect(server.connections).toEqual([])
  })
})

const cleanup: (() => unknown)[] = []
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})

test('over gRPC a stream that is ended carries its status', async () => {
  const server = new AdsServer({ runtime: new SystemRuntime(), source: { connected() {} } })
  const listener = await serveAds(server, '127.0.0.1:0')
  cleanup.push(() => listener.close())
  const client = new Client(listener.address, credentials.createInsecure())
  cleanup.push(() => client.close())
  const { path, requestSerialize, responseDeserialize } = grpcService(ADS_SERVICE).streamAggregatedResources!
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
  const error = new Promise<ServiceError>((resolve) => call.on('error', resolve))
  call.write(make(SOTW, { typeUrl: CLUSTER_TYPE }))
  expect(await error).toMatchObject({ code: 3, details: 'missing node information' })
})

test('an address that is taken is refused', async () => {
  const server = new AdsServer({ runtime: new SystemRuntime(), source: { connected() {} } })
  const listener = await serveAds(server, '127.0.0.1:0')
  cleanup.push(() => listener.close())
  await expect(serveAds(server, listener.address)).rejects.toThrow(
    `cannot listen for gRPC on ${listener.address}: the address is in use`,
  )
})

/** A control plane that a test plays itself. */
function played(mode: AdsMode, options: { random?: number; initialFetchTimeoutMs?: number } = {}) {
  const runtime = new TestRuntime()
  if (options.random !== undefined) runtime.random = () => options.random!
  const opened: number[] = []
  const said: AdsRequest[] = []
  let handler!: ClientStreamHandler
  const client = new AdsClient({
    runtime,
    mode,
    node: node('n'),
    setNodeOnFirstMessageOnly: true,
    ...options,
    transport: {
      open(_, given) {
        opened.push(runtime.now())
        handler = given
        return { send: (request) => said.push(request), close() {} }
      },
      close() {},
    },
  })
  cleanup.push(() => client.close())
  return {
    runtime,
    client,
    opened,
    said,
    answer: (r: AdsResponse) => handler.received(r),
    drop: () => handler.closed({ code: 14, message: 'gone' }),
  }
}

describe('the client', () => {
  test('backs off from half a second, doubling up to thirty, anywhere below the bound', () => {
    const peer = played('delta', { random: 0.999_999 })
    peer.client.start()
    const waits: number[] = []
    for (let i = 0; i < 8; i++) {
      const before = peer.opened.length
      const start = peer.runtime.now()
      peer.drop()
      while (peer.opened.length === before) peer.runtime.advance(100)
      waits.push(peer.runtime.now() - start)
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  })

  test('names the node in the first request only, and tells a new stream what it holds', async () => {
    const { runtime, client, said, answer, drop } = played('delta', { random: 0 })
    client.subscribe(CLUSTER_TYPE, '*', { onUpdate: () => undefined })
    client.subscribe(ENDPOINT_TYPE, ['a'], { onUpdate: () => undefined })
    client.start()
    expect(said.map((r) => r.node?.id)).toEqual(['n', undefined])
    const resource = { name: 'a', version: '7', resource: edsCluster('a') }
    answer(
      make('envoy.service.discovery.v3.DeltaDiscoveryResponse', {
        typeUrl: CLUSTER_TYPE,
        nonce: '1',
        resources: [resource],
      }) as AdsResponse,
    )
    expect(said[2]).toMatchObject({
      typeUrl: CLUSTER_TYPE,
      responseNonce: '1',
      resourceNamesSubscribe: [],
    })
    expect(said[2]!.errorDetail).toBeUndefined()
    drop()
    runtime.advance(1)
    expect(said.slice(3)).toMatchObject([
      { typeUrl: CLUSTER_TYPE, initialResourceVersions: { a: '7' }, resourceNamesSubscribe: [], responseNonce: '' },
      { typeUrl: ENDPOINT_TYPE, resourceNamesSubscribe: ['a'] },
    ])
    expect(said[3]!.node?.id).toBe('n')
  })

  test('state of the world: a NACK repeats the old version with the new nonce, a new stream clears the nonce', () => {
    const { runtime, client, said, answer, drop } = played('sotw', { random: 0 })
    let refuse: string[] = []
    client.subscribe(CLUSTER_TYPE, '*', { onUpdate: () => refuse })
    client.start()
    const respond = (nonce: string, versionInfo: string) =>
      answer(
        make('envoy.service.discovery.v3.DiscoveryResponse', {
          typeUrl: CLUSTER_TYPE,
          nonce,
          versionInfo,
          resources: [edsCluster('a')],
        }) as AdsResponse,
      )
    respond('1', 'one')
    refuse = ['bad', 'worse']
    respond('2', 'two')
    drop()
    runtime.advance(1)
    expect(said.slice(1)).toMatchObject([
      { versionInfo: 'one', responseNonce: '1' },
      { versionInfo: 'one', responseNonce: '2', errorDetail: { code: 13, message: 'bad\nworse' } },
      { versionInfo: 'one', responseNonce: '' },
    ])
  })

  test('what is subscribed to during an update goes out before the answer to it, in one request', () => {
    const { client, said, answer } = played('delta')
    const eds = client.subscribe(ENDPOINT_TYPE, [], { onUpdate: () => undefined })
    client.subscribe(CLUSTER_TYPE, '*', {
      onUpdate({ added }) {
        for (const { name } of added) eds.add([name])
        return undefined
      },
    })
    client.start()
    const resources = ['a', 'b'].map((name) => ({ name, version: '1', resource: edsCluster(name) }))
    answer(
      make('envoy.service.discovery.v3.DeltaDiscoveryResponse', {
        typeUrl: CLUSTER_TYPE,
        nonce: '1',
        resources,
      }) as AdsResponse,
    )
    expect(said.slice(1)).toMatchObject([
      { typeUrl: ENDPOINT_TYPE, resourceNamesSubscribe: ['a', 'b'] },
      { typeUrl: CLUSTER_TYPE, responseNonce: '1' },
    ])
  })

  test('a held answer keeps later ones of its type back, and can still refuse', () => {
    const { client, said, answer } = played('delta')
    const release: ((errors?: readonly string[]) => void)[] = []
    const subscription = client.subscribe(CLUSTER_TYPE, '*', {
      onUpdate(update) {
        if (release.length === 0) release.push(update.hold())
        return undefined
      },
    })
    client.start()
    const respond = (nonce: string) =>
      answer(make('envoy.service.discovery.v3.DeltaDiscoveryResponse', { typeUrl: CLUSTER_TYPE, nonce }) as AdsResponse)
    respond('1')
    respond('2')
    expect(said.length).toBe(1)
    release[0]!(['no'])
    release[0]!()
    expect(said.slice(1)).toMatchObject([
      { responseNonce: '1', errorDetail: { message: 'no' } },
      { responseNonce: '2' },
    ])
    expect(subscription.stats).toMatchObject({ updateAttempt: 2, updateSuccess: 1, updateRejected: 1 })
  })

  test('says which names have not come within the initial fetch timeout', () => {
    const { runtime, client, answer } = played('delta')
    const late: string[] = []
    const eds = client.subscribe(ENDPOINT_TYPE, ['a', 'b'], {
      onUpdate: () => undefined,
      onFetchTimeout: (names) => late.push(...names),
    })
    client.start()
    const resource = { name: 'a', version: '1', resource: endpoints('a', 1) }
    answer(
      make('envoy.service.discovery.v3.DeltaDiscoveryResponse', {
        typeUrl: ENDPOINT_TYPE,
        nonce: '1',
        resources: [resource],
      }) as AdsResponse,
    )
    runtime.advance(14_999)
    expect(late).toEqual([])
    runtime.advance(1)
    expect(late).toEqual(['b'])
    expect(eds.stats.initFetchTimeout).toBe(1)
  })
})

describe('a response that is refused as a whole', () => {
  const delta = (init: Init<'envoy.service.discovery.v3.DeltaDiscoveryResponse'>) =>
    decodeResponse(
      make('envoy.service.discovery.v3.DeltaDiscoveryResponse', {
        typeUrl: CLUSTER_TYPE,
        ...init,
      }) as DeltaDiscoveryResponse,
    ).errors
  const wrapped = (name: string) => ({ name, version: '1', resource: edsCluster(name) })

  test('a name that comes twice, or both comes and goes', () => {
    expect(delta({ resources: [wrapped('s'), wrapped('s')] })).toEqual([
      'duplicate name s found among added/updated resources',
    ])
    expect(delta({ resources: [wrapped('s')], removedResources: ['s'] })).toEqual([
      'duplicate name s found in the union of added+removed resources',
    ])
  })

  test('a resource of another type, and bytes that are none', () => {
    expect(delta({ resources: [{ name: 'e', version: '1', resource: endpoints('e', 1) }] })).toEqual([
      `type URL ${ENDPOINT_TYPE} embedded in an individual Any does not match the message-wide type URL ${CLUSTER_TYPE}`,
    ])
    const broken = edsCluster('a')
    broken.value = new Uint8Array([0xff])
    const response = make('envoy.service.discovery.v3.DiscoveryResponse', {
      typeUrl: CLUSTER_TYPE,
      resources: [broken],
    })
    expect(decodeResponse(response as DiscoveryResponse).errors[0]).toMatch(
      /^Unable to unpack as envoy\.config\.cluster\.v3\.Cluster/,
    )
  })
})

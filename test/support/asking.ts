import { afterEach } from 'vitest'
import type { Runtime } from '../../src/runtime.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { overHttp2 } from './ext-authz.ts'
import { httpListener, oneHost, routerFilter, Upstream } from './http.ts'
import { startProxy, staticCluster } from './proxy.ts'
import { type LimitAnswer, rateLimitFilter, ScriptedRls } from './scripted-rls.ts'

/** A rate limit whose descriptor is `generic_key=value`. */
export const limitOn = (value: string, more: object = {}) => ({
  actions: [{ generic_key: { descriptor_value: value } }],
  ...more,
})

/** What such a proxy has besides the filter's config. */
export interface AskingSetup {
  readonly limits?: object[]
  readonly route?: object
  readonly filters?: object[]
  readonly hcm?: object
  readonly port?: number
  readonly bootstrap?: object
  readonly clock?: Runtime
}

/** Makes proxies to `a` that ask a scripted service about requests first; all of it stops after each test. */
export function askingHarness() {
  const running: { stop(): unknown }[] = []
  afterEach(async () => {
    for (const r of running.splice(0).toReversed()) await r.stop()
  })
  const started = <T extends { stop(): unknown }>(what: T): T => {
    running.push(what)
    return what
  }
  /** The answers are those of the service, in turn; `config` is of the filter. */
  async function asking(answers: LimitAnswer[], config: object = {}, setup: AskingSetup = {}) {
    const rls = started(await ScriptedRls.start(...answers))
    const a = started(await Upstream.start('a'))
    const {
      limits = [limitOn('v')],
      route,
      filters,
      hcm,
      port = rls.port,
      bootstrap,
      clock = new SystemRuntime(),
    } = setup
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'a', rate_limits: limits }, ...route }]
    const http_filters = [...(filters ?? [rateLimitFilter(config)]), routerFilter()]
    const listeners = [httpListener({ route_config: oneHost(routes), http_filters, ...hcm })]
    const clusters = [staticCluster('a', a.port), staticCluster('rls', port, overHttp2)]
    const proxy = await startProxy({ static_resources: { listeners, clusters }, ...bootstrap }, { runtime: clock })
    const p = started(Object.assign(proxy, { http: proxy.port('l') }))
    return { rls, a, p }
  }
  return { asking, started }
}

/** A runtime layer of a bootstrap. */
export const runtime = (values: object) => ({
  layered_runtime: { layers: [{ name: 's', static_layer: values }] },
})

/** An answer that the service gives when it is told to. */
export function held(rls: object) {
  let give = () => {}
  const after = new Promise<void>((resolve) => {
    give = resolve
  })
  return { answer: { rls, after }, give }
}

/** The status of a descriptor, in JSON. */
export const status = (code: string, limit: object | undefined, remaining = 0, reset = '0s') => ({
  code,
  ...(limit ? { currentLimit: limit } : {}),
  limitRemaining: remaining,
  durationUntilReset: reset,
})

/** A limit as services tell of it. */
export const per = (requestsPerUnit: number, unit: string, more: object = {}) => ({ requestsPerUnit, unit, ...more })

/** Headers that a service adds. */
export const headers = (...pairs: [string, string][]) => pairs.map(([key, value]) => ({ key, value }))

import { loadText } from '../../src/api/load.ts'
import { Ca } from '../../src/ca/ca.ts'
import { Pilot, type PilotOptions } from '../../src/pilot/pilot.ts'
import { resourcesOf } from '../../src/pilot/resources.ts'
import type { Registry } from '../../src/registry/registry.ts'
import { SystemRuntime } from '../../src/runtime-system.ts'
import { createStore, type Store } from '../../src/store/store.ts'
import { writeJson } from '../../src/xds/json.ts'
import { CLUSTER_TYPE, ENDPOINT_TYPE, LISTENER_TYPE, ROUTE_TYPE, SECRET_TYPE } from '../../src/xds/resource-types.ts'
import { constraintText, validate } from '../../src/xds/validate.ts'

/** A resource as JSON with Envoy's names, loosely typed so that expectations can reach in. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into JSON of any form
export type Json = any

/** The resources of one proxy as JSON. Each look-up fails by naming what there is instead. */
export interface Made {
  readonly names: { clusters: string[]; listeners: string[]; routes: string[]; endpoints: string[]; secrets: string[] }
  cluster(name: string): Json
  listener(name: string): Json
  route(name: string): Json
  endpoints(name: string): Json
  secret(name: string): Json
}

/** A store filled from YAML, and a pilot over it. */
export interface TestPilot {
  readonly store: Store
  readonly pilot: Pilot
  readonly registry: Registry
  /** Replaces the objects of a source. */
  apply(yaml: string, source?: string): void
  /** The resources of the pod `name` or `namespace/name`, or of a node given whole. */
  proxy(pod: string, metadata?: Record<string, Json>): Made
}

/** Objects of YAML text; throws when there is an error in it. */
export function objectsOf(yaml: string, file = 'test.yaml') {
  const { objects, problems } = loadText(file, yaml)
  const errors = problems.filter((problem) => problem.severity === 'error')
  if (errors.length > 0) throw new Error(errors.map((problem) => problem.message).join('\n'))
  return objects
}

/** Starts a pilot over YAML. Metadata exchange and the ALPN filter are off unless `env` says otherwise. */
export function pilotOf(yaml: string, options: Partial<PilotOptions> = {}): TestPilot {
  const runtime = options.runtime ?? new SystemRuntime()
  const store = options.store ?? createStore(runtime)
  store.replaceSource('test', objectsOf(yaml))
  const ca = options.ca ?? new Ca({ runtime })
  const env = { PILOT_ENABLE_METADATA_EXCHANGE: 'false', PILOT_ENABLE_ALPN_FILTER: 'false', ...options.env }
  const pilot = new Pilot({ ...options, store, runtime, ca, env })
  return {
    store,
    pilot,
    get registry() {
      return pilot.registry
    },
    apply: (text, source = 'more') => {
      store.replaceSource(source, objectsOf(text))
    },
    proxy(pod, metadata = {}) {
      const [namespace, name] = pod.includes('/') ? (pod.split('/') as [string, string]) : ['default', pod]
      const ip = pilot.registry.workload(namespace, name)?.ip ?? '10.9.9.9'
      const proxy = pilot.proxy({
        id: `sidecar~${ip}~${name}.${namespace}~${namespace}.svc.cluster.local`,
        metadata: { CLUSTER_ID: 'Kubernetes', NAMESPACE: namespace, ...metadata },
      })
      const made = resourcesOf(pilot.context, proxy, { ca, watched: () => [] })
      const names = (type: string) => [...(made.get(type)?.keys() ?? [])]
      const get = (type: string) => (resource: string) => {
        const message = made.get(type)?.get(resource)
        if (!message) throw new Error(`no ${resource} among ${names(type).join(', ')}`)
        const violations = validate(message)
        if (violations.length > 0) throw new Error(`${resource}: ${constraintText(violations)}`)
        return writeJson(message)
      }
      return {
        names: {
          clusters: names(CLUSTER_TYPE),
          listeners: names(LISTENER_TYPE),
          routes: names(ROUTE_TYPE),
          endpoints: names(ENDPOINT_TYPE),
          secrets: names(SECRET_TYPE),
        },
        cluster: get(CLUSTER_TYPE),
        listener: get(LISTENER_TYPE),
        route: get(ROUTE_TYPE),
        endpoints: get(ENDPOINT_TYPE),
        secret: get(SECRET_TYPE),
      }
    },
  }
}

/** YAML of a Service with the selector `app: name`; `ports` as `name:port` or `name:port>target`. */
export function serviceYaml(name: string, ports: string, more = '', namespace = 'default'): string {
  const list = ports.split(' ').map((text) => {
    const [, portName, port, target] = /^([^:]*):(\d+)(?:>(\S+))?$/.exec(text) as unknown as string[]
    const named = portName ? `name: ${portName}, ` : ''
    return `{${named}port: ${port}${target ? `, targetPort: ${target}` : ''}}`
  })
  return `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: ${namespace}}
spec: {selector: {app: ${name}}, ports: [${list.join(', ')}]${more && `, ${more}`}}
`
}

/** YAML of a Pod of an app; its container has no stated ports. */
export function podYaml(name: string, labels: string, more = '', namespace = 'default'): string {
  return `---
apiVersion: v1
kind: Pod
metadata: {name: ${name}, namespace: ${namespace}, labels: {${labels}}}
spec: {containers: [{name: app, image: app}]${more && `, ${more}`}}
`
}

/** The routes of the virtual host that has a domain. */
export function routesOf(route: Json, domain: string): Json[] {
  const host = route.virtual_hosts.find((known: Json) => known.domains.includes(domain))
  if (!host)
    throw new Error(`no ${domain} among ${route.virtual_hosts.flatMap((known: Json) => known.domains).join(', ')}`)
  return host.routes
}

/** The HTTP connection manager of a filter chain. */
export function managerOf(chain: Json): Json {
  return chain.filters.find((filter: Json) => filter.name === 'envoy.filters.network.http_connection_manager')
    ?.typed_config
}

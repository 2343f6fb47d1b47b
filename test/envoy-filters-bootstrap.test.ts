import { afterEach, describe, expect, it, vi } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const services = [client(), service('reviews'), pod('reviews', 'v1')].join('')
const URL = 'http://reviews:9080/'

const patches = (...values: string[]) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: start, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
${values.map((value) => `  - {applyTo: BOOTSTRAP, patch: {operation: MERGE, value: ${value}}}\n`).join('')}---`

let mesh: TestMesh | undefined
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
})

const start = async (files: Record<string, string>): Promise<TestMesh> => {
  mesh = await startMesh({ 'base.yaml': services, 'patch.yaml': '', ...files }, { watch: true })
  return mesh
}
const admin = async (running: TestMesh, path: string, name = 'client'): Promise<string> => {
  const at = running.mesh.workloads().find((view) => view.name === name)?.admin
  return (await fetch(`http://${at}${path}`)).text()
}
const bootstrapOf = async (running: TestMesh, name = 'client') => {
  const { configs } = JSON.parse(await admin(running, '/config_dump', name))
  return configs.find((c: { '@type': string }) => c['@type'].endsWith('BootstrapConfigDump')).bootstrap
}
const warnings = (running: TestMesh) =>
  running.events.flatMap((event) => (event.type === 'warning' || event.type === 'workload' ? [event.message] : []))

const T = 'type.googleapis.com/envoy.extensions.filters'
const answering = `{static_resources: {listeners: [{name: extra, address: {socket_address: {address: 0.0.0.0, port_value: 8999}},
      filter_chains: [{filters: [{name: m, typed_config: {"@type": ${T}.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: extra, http_filters: [{name: r, typed_config: {"@type": ${T}.http.router.v3.Router}}],
      route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 218}}]}]}}}]}]}]}}`

describe('EnvoyFilter patches the bootstraps of sidecars', () => {
  it('of the workloads that it selects: runtime values, names of stats and clusters', async () => {
    const running = await start({
      'patch.yaml': patches(
        '{layered_runtime: {layers: [{name: mine, static_layer: {my.key: 7}}]}}',
        '{stats_config: {stats_tags: [{tag_name: mine, regex: "(ADMIN)"}]}, static_resources: {clusters: [{name: extra, type: STATIC}]}}',
      ),
    })
    const bootstrap = await bootstrapOf(running)
    expect(bootstrap.layered_runtime.layers.map((layer: { name: string }) => layer.name)).toEqual([
      'global config',
      'mine',
    ])
    expect(bootstrap.stats_config.stats_tags[0].tag_name).toBe('mine')
    expect(bootstrap.static_resources.clusters[0].name).toBe('extra')
    expect(await admin(running, '/clusters')).toContain('extra::default_priority')
    expect((await bootstrapOf(running, 'reviews-v1')).stats_config).toBeUndefined()
    expect((await running.get('client', URL)).status).toBe(200)
    expect(warnings(running)).toEqual([])
  })

  it('with listeners of their own, which serve', async () => {
    const running = await start({ 'patch.yaml': patches(answering) })
    // The client's own program reaches it, past the redirection of what others send.
    expect((await running.get('client', 'http://127.0.0.1:8999/')).status).toBe(218)
    expect(warnings(running)).toEqual([])
  })

  it('anew when they change, with their places', async () => {
    const running = await start({ 'patch.yaml': patches('{layered_runtime: {layers: [{name: a, static_layer: {}}]}}') })
    await running.write('patch.yaml', patches('{layered_runtime: {layers: [{name: b, static_layer: {}}]}}'))
    await vi.waitFor(async () => expect((await bootstrapOf(running)).layered_runtime.layers[1].name).toBe('b'), 5000)
    expect(warnings(running)).toEqual([
      expect.stringMatching(
        /^its sidecar starts anew, as patches to the bootstrap have changed: .*patch\.yaml:8:5: EnvoyFilter default\/start: spec\.configPatches\[0\]$/,
      ),
    ])
    await vi.waitFor(async () => expect((await running.get('client', URL)).status).toBe(200), 5000)
  })

  it('without those that no proxy can be made of, and tells of what has no effect', async () => {
    const running = await start({
      'patch.yaml': patches(
        '{static_resources: {clusters: [{name: bad, type: STATIC, lb_policy: CLUSTER_PROVIDED}]}}',
        '{static_resources: {clusters: [{name: ""}]}}',
        '{hds_config: {api_type: GRPC}, layered_runtime: {layers: [{name: good, static_layer: {}}]}}',
        '{admin: {address: {socket_address: {address: 0.0.0.0, port_value: 1}}}}',
      ),
    })
    const bootstrap = await bootstrapOf(running)
    expect(bootstrap.static_resources).toBeUndefined()
    expect(bootstrap.layered_runtime.layers[1].name).toBe('good')
    const place = (line: number, index: number) =>
      `patch.yaml:${line}:5: EnvoyFilter default/start: spec.configPatches[${index}]: `
    expect(warnings(running)).toEqual([
      expect.stringContaining(`${place(8, 0)}the bootstrap stays without it: `),
      expect.stringContaining(`${place(9, 1)}the bootstrap stays without it: `),
      expect.stringContaining(`${place(10, 2)}not enforced yet: bootstrap.hds_config`),
      expect.stringContaining(`${place(11, 3)}not enforced: patch.value.admin.address`),
    ])
    expect((await running.get('client', URL)).status).toBe(200)
  })

  it('and says nothing of them when another EnvoyFilter changes', async () => {
    const vain = (name: string) => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: vain, namespace: default}
spec:
  configPatches:
  - {applyTo: CLUSTER, match: {cluster: {name: ${name}}}, patch: {operation: REMOVE}}
---`
    const layer = '{layered_runtime: {layers: [{name: a, static_layer: {}}]}}'
    const running = await start({ 'patch.yaml': patches(layer), 'vain.yaml': '' })
    await running.write('vain.yaml', vain('nobody'))
    await vi.waitFor(() => expect(warnings(running)).toHaveLength(1), 5000)
    expect(warnings(running)[0]).toMatch(/vain\.yaml.*no cluster "nobody"/)
  })

  it('whose runtime values count', async () => {
    const filter = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: csrf, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: SIDECAR_OUTBOUND, listener: {portNumber: 9080}}
    patch:
      operation: INSERT_FIRST
      value: {name: csrf, typed_config: {"@type": ${T}.http.csrf.v3.CsrfPolicy,
        filter_enabled: {runtime_key: csrf.on, default_value: {numerator: 0}}}}
---`
    const send = { method: 'POST', headers: { origin: 'http://elsewhere' } }
    const layer = '{layered_runtime: {layers: [{name: a, static_layer: {csrf.on: 100}}]}}'
    const running = await start({ 'filter.yaml': filter, 'patch.yaml': patches(layer) })
    expect((await running.get('client', URL, send)).status).toBe(403)
  })
})

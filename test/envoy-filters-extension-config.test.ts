import { afterEach, describe, expect, it, vi } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

const services = [client(), service('reviews'), pod('reviews', 'v1')].join('')
const URL = 'http://reviews:9080/'
const FAULT = 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault'
const LUA = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'
const ROUTER = 'envoy.filters.http.router'
const MANAGER = 'envoy.filters.network.http_connection_manager'

const envoyFilter = (name: string, patches: string, more = '') => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: default}
spec:
  ${more}
  configPatches:
${patches.trim().replace(/^/gm, '  ')}
---`

/** A filter at the client whose config is an extension config called "teapot". */
const discovery = (more: string) =>
  envoyFilter(
    'filter',
    `
- applyTo: HTTP_FILTER
  match:
    context: SIDECAR_OUTBOUND
    listener: {portNumber: 9080, filterChain: {filter: {name: ${MANAGER}, subFilter: {name: ${ROUTER}}}}}
  patch:
    operation: INSERT_BEFORE
    value:
      name: teapot
      config_discovery:
        config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0.3s}
        type_urls: ["${FAULT}", "${LUA}"]
        ${more}
`,
    'workloadSelector: {labels: {app: client}}',
  )

const extension = (config: string, operation = 'ADD') =>
  envoyFilter(
    'extension',
    `
- applyTo: EXTENSION_CONFIG
  patch:
    operation: ${operation}
    value: {name: teapot, typed_config: ${config}}
`,
  )
const abort = (status: number) => `{"@type": ${FAULT}, abort: {http_status: ${status}, percentage: {numerator: 100}}}`
const header = (value: string) =>
  `{"@type": ${LUA}, default_source_code: {inline_string: "function envoy_on_response(h) h:headers():add('x-by', '${value}') end"}}`

let mesh: TestMesh | undefined
afterEach(async () => {
  await mesh?.stop()
  mesh = undefined
})

const start = async (files: Record<string, string>): Promise<TestMesh> => {
  mesh = await startMesh({ 'base.yaml': services, ...files }, { watch: true })
  return mesh
}
const status = async (running: TestMesh) => (await running.get('client', URL)).status
const texts = (running: TestMesh, type: string) =>
  running.events.flatMap((event) => (event.type === type && 'message' in event ? [String(event.message)] : []))

describe('an HTTP filter takes its config from an EXTENSION_CONFIG', () => {
  it('which is in force from the start, and follows every change', async () => {
    const running = await start({ 'filter.yaml': discovery(''), 'extension.yaml': extension(abort(418)) })
    expect(await status(running)).toBe(418)
    await running.write('extension.yaml', extension(abort(419)))
    await vi.waitFor(async () => expect(await status(running)).toBe(419))
    await running.write('extension.yaml', extension(header('lua')))
    await vi.waitFor(async () => expect((await running.get('client', URL)).headers['x-by']).toBe('lua'))
    expect(texts(running, 'rejected')).toEqual([])
    expect(texts(running, 'warning')).toEqual([])
  })

  it('whose changes lose no request', async () => {
    const running = await start({ 'filter.yaml': discovery(''), 'extension.yaml': extension(header('0')) })
    const answers: string[] = []
    let stop = false
    const traffic = (async () => {
      while (!stop) {
        const got = await running.get('client', URL)
        answers.push(`${got.status} ${got.headers['x-by']}`)
      }
    })()
    for (const value of ['1', '2', '3']) {
      await running.write('extension.yaml', extension(header(value)))
      await vi.waitFor(() => expect(answers.at(-1)).toBe(`200 ${value}`))
    }
    stop = true
    await traffic
    expect(answers.filter((answer) => !answer.startsWith('200'))).toEqual([])
  })

  it('which stays, as with istiod, when the patch goes away', async () => {
    const running = await start({ 'filter.yaml': discovery(''), 'extension.yaml': extension(abort(418)) })
    await running.write('extension.yaml', '')
    expect(await status(running)).toBe(418)
  })

  it('which is refused with its place, while the one before goes on', async () => {
    const running = await start({ 'filter.yaml': discovery(''), 'extension.yaml': extension(abort(418)) })
    const refusals = () => running.events.flatMap((event) => (event.type === 'rejected' ? [event] : []))
    const buffer = '{"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1}'
    await running.write('extension.yaml', extension(buffer))
    await vi.waitFor(() => expect(refusals()).toHaveLength(1), 5000)
    expect(refusals()[0]).toMatchObject({
      workload: 'client.default',
      message: expect.stringContaining(
        'Error: filter config has type URL envoy.extensions.filters.http.buffer.v3.Buffer',
      ),
      patches: [
        expect.stringMatching(/extension\.yaml:8:5: EnvoyFilter default\/extension: spec\.configPatches\[0\]$/),
      ],
    })
    expect(await status(running)).toBe(418)
    const broken = `{"@type": ${LUA}, default_source_code: {inline_string: "nonsense("}}`
    await running.write('extension.yaml', extension(broken))
    await vi.waitFor(() => expect(refusals()).toHaveLength(2), 5000)
    expect(refusals()[1]).toMatchObject({
      message: expect.stringContaining('teapot: '),
      patches: [expect.stringContaining('extension.yaml:8:5')],
    })
    expect(await status(running)).toBe(418)
  })

  it('whose absence is told of, and leaves the default', async () => {
    const running = await start({ 'filter.yaml': discovery(`default_config: ${abort(499)}`) })
    expect(await status(running)).toBe(499)
    await vi.waitFor(() => expect(texts(running, 'warning')).toHaveLength(1), 5000)
    expect(texts(running, 'warning')[0]).toMatch(
      /filter\.yaml:8:5: EnvoyFilter default\/filter: spec\.configPatches\[0\]: no EXTENSION_CONFIG of that name/,
    )
    await running.write('extension.yaml', extension(abort(418)))
    await vi.waitFor(async () => expect(await status(running)).toBe(418))
  })

  it('and one that no filter asks for is told of', async () => {
    const files = { 'filter.yaml': discovery(''), 'extension.yaml': extension(abort(418)) }
    const other = extension(abort(418))
      .replace('name: teapot', 'name: teapod')
      .replace('name: extension', 'name: other')
    const running = await start({ ...files, 'other.yaml': other })
    await vi.waitFor(() => expect(texts(running, 'warning')).toHaveLength(1), 5000)
    expect(texts(running, 'warning')[0]).toMatch(
      /other\.yaml:8:5: .*: ADD of EXTENSION_CONFIG matches nothing that any connected proxy has: no extension config "teapod"; there: teapot; did you mean "teapot"\?$/,
    )
  })

  it('the first one of a name, and the second is told of', async () => {
    const again = extension(abort(419)).replace('name: extension', 'name: second')
    const running = await start({
      'filter.yaml': discovery(''),
      'extension.yaml': extension(abort(418)),
      'second.yaml': again,
    })
    expect(await status(running)).toBe(418)
    await vi.waitFor(() => expect(texts(running, 'warning')).toHaveLength(1), 5000)
    expect(texts(running, 'warning')[0]).toMatch(
      /second\.yaml:8:5: .*there is an extension config called "teapot" before it/,
    )
  })
})

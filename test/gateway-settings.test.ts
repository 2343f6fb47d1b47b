import { describe, expect, it } from 'vitest'
import { listenersOf } from '../src/pilot/listener/listeners.ts'
import { writeJson } from '../src/xds/json.ts'
import { gatewayYaml } from './support/gateway.ts'
import { type Json, pilotOf } from './support/pilot.ts'

const gateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec: {hosts: ["*"], gateways: [g], http: [{directResponse: {status: 200}}]}
---`
const pod = `
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: istio-system, labels: {istio: ingressgateway}, annotations: {inject.istio.io/templates: gateway}}
spec: {containers: [{name: istio-proxy, image: auto}]}
status: {podIP: 10.244.0.5}
---`
const mesh = (text: string) => `
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '${text}'}
---`

/** The listener of port 80, and its connection manager. */
function made(config = ''): { listener: Json; hcm: Json } {
  const service = gatewayYaml().split('---')[0]
  const { pilot } = pilotOf(`${service}---${pod}${gateway}${config}`)
  const proxy = pilot.proxy({ id: 'router~10.244.0.5~gw.istio-system~istio-system.svc.cluster.local' })
  const [built] = listenersOf(pilot.context, proxy)
  const listener: Json = built && writeJson(built.listener)
  return { listener, hcm: listener.filter_chains[0].filters.at(-1).typed_config }
}

describe('settings of a gateway', () => {
  it('believes the address of the connection, and tells the app of clients’ certificates', () => {
    const { listener, hcm } = made()
    expect(listener.name).toBe('0.0.0.0_8080')
    expect(hcm.use_remote_address).toBe(true)
    expect(hcm.server_name).toBe('istio-envoy')
    expect(hcm.forward_client_cert_details).toBe('SANITIZE_SET')
    expect(hcm.set_current_client_cert_details).toEqual({ subject: true, cert: true, dns: true, uri: true })
  })

  it('the topology says what stands before it', () => {
    const topology = '{numTrustedProxies: 2, forwardClientCertDetails: FORWARD_ONLY, proxyProtocol: {}}'
    const { listener, hcm } = made(mesh(`defaultConfig: {gatewayTopology: ${topology}}`))
    expect(hcm.xff_num_trusted_hops).toBe(2)
    expect(hcm.forward_client_cert_details).toBe('FORWARD_ONLY')
    expect(hcm.set_current_client_cert_details).toBeUndefined()
    expect(listener.listener_filters[0].name).toBe('envoy.filters.listener.proxy_protocol')
  })

  it('the profile EDGE sets what is not stated', () => {
    const settings = '{profile: EDGE, httpStreamIdleTimeout: 7s}'
    const { listener, hcm } = made(mesh(`defaultConfig: {connectionSettings: ${settings}}`))
    expect(listener.per_connection_buffer_limit_bytes).toBe(32_768)
    expect(hcm.stream_idle_timeout).toBe('7s')
    expect(hcm.request_timeout).toBe('300s')
    expect(hcm.merge_slashes).toBe(true)
    expect(hcm.path_with_escaped_slashes_action).toBe('UNESCAPE_AND_REDIRECT')
    expect(hcm.common_http_protocol_options.headers_with_underscores_action).toBe('REJECT_REQUEST')
  })
})

#!/usr/bin/env node
// A thousand connections through a client's sidecar with retries and outlier detection to three instances, one of which
// is killed and brought back, again and again. Prints what became of the requests, and why some failed.
//   node loadtest/kill-and-return.mjs [--connections 1000] [--rate 250] [--deaths 10] [--dist dist]
// Everything is in one process, so that the rate is what one core can do. Exit status 1 when a request failed that a
// policy could have saved.
import path from 'node:path'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '1000' },
    rate: { type: 'string', default: '250' },
    deaths: { type: 'string', default: '10' },
    dist: { type: 'string', default: path.resolve(import.meta.dirname, '../dist') },
  },
})
const { startMesh } = await import(path.resolve(values.dist, 'testing.js'))

/** Half of the answer comes a little after the other: who dies in between has begun. */
const PAUSE_MS = 10
const DEATH_MS = 300
const LIFE_MS = 700

const pod = (name, ports) => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${name.split('-')[0]}}}
spec: {containers: [{name: app, image: app${ports ? ', ports: [{containerPort: 9080}]' : ''}}]}
---`

const yaml = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---${pod('client', false)}${pod('reviews-1', true)}${pod('reviews-2', true)}${pod('reviews-3', true)}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
    - retries: {attempts: 5, retryOn: "connect-failure,refused-stream,reset,gateway-error", backoff: 5ms}
      route: [{destination: {host: reviews}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {maxRetries: 2000}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 500ms, baseEjectionTime: 500ms, maxEjectionPercent: 50}
`

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const mesh = await startMesh({
  yaml,
  apps: {
    reviews: (_request, response) => {
      response.writeHead(200, { 'content-length': 10 })
      response.write('hello')
      setTimeout(() => response.end('world'), PAUSE_MS)
    },
  },
})
const deaths = Number(values.deaths)
const loading = mesh.load('client', 'http://reviews:9080/', {
  connections: Number(values.connections),
  rate: Number(values.rate),
  duration: (deaths + 2) * (DEATH_MS + LIFE_MS),
  timeout: 30_000,
})
for (let n = 0; n < deaths; n++) {
  await wait(LIFE_MS)
  await mesh.kill('reviews-2')
  await wait(DEATH_MS)
  await mesh.restore('reviews-2')
}
const report = await loading
const ejections = mesh.events.filter((event) => event.type === 'outlier' && event.action === 'eject').length
console.log(
  `${report.requests} requests, ${report.requestsPerSecond} per second; p50 ${report.latency.p50} ms, p99 ${report.latency.p99} ms`,
)
console.log(`reviews-2 died ${deaths} times and was ejected ${ejections} times`)
for (const { status, flags, instance, requests } of report.groups)
  console.log(`  ${String(requests).padStart(7)}  ${status || 'broken off'} ${flags} by ${instance ?? 'the sidecar'}`)
for (const [attempts, requests] of Object.entries(report.attempts))
  console.log(`  ${String(requests).padStart(7)}  with ${attempts} attempts`)
console.log(`${report.failed} failed`)
for (const { why, savable, requests } of report.failures)
  console.log(`  ${String(requests).padStart(7)}  ${savable ? 'SAVABLE' : 'not savable'}: ${why}`)
await mesh.close()
process.exit(report.failures.some(({ savable }) => savable) ? 1 : 0)

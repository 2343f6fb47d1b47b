import { afterEach, describe, expect, it } from 'vitest'
import { startMesh, type TestMesh } from '../src/testing/index.ts'
import { client, pod, service } from './support/mesh.ts'

const URL = 'http://reviews:9080/'

const routes = (http: string) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}], ${http}}]}
---`

describe('mirrors of a VirtualService', () => {
  let mesh: TestMesh
  /** What each copy brought: its host and its body. */
  let copies: Record<string, { host: string | undefined; body: string }[]>
  afterEach(() => mesh?.close())

  const start = async (http: string) => {
    copies = { one: [], two: [] }
    const yaml = ['reviews', 'one', 'two'].flatMap((name) => [service(name), pod(name, 'v1')])
    const take =
      (name: string) =>
      (request: import('node:http').IncomingMessage, response: import('node:http').ServerResponse) => {
        let body = ''
        request.setEncoding('utf8').on('data', (chunk: string) => {
          body += chunk
        })
        request.on('end', () => {
          copies[name]!.push({ host: request.headers.host, body })
          response.writeHead(500).end()
        })
      }
    mesh = await startMesh({
      yaml: [client(), ...yaml, routes(http)].join(''),
      apps: { one: take('one'), two: take('two') },
    })
  }

  it('each get a copy with the whole body, under the same host', async () => {
    await start('mirrors: [{destination: {host: one}}, {destination: {host: two}}]')
    const body = 'x'.repeat(300_000)
    const answer = await mesh.call('client', URL, { body })
    expect([answer.status, answer.workload]).toEqual([200, 'reviews-v1'])
    const copy = { host: 'reviews:9080', body }
    await expect.poll(() => copies).toEqual({ one: [copy], two: [copy] })
  })

  it('each get their percentage', async () => {
    await start('mirrors: [{destination: {host: one}, percentage: {value: 30}}, {destination: {host: two}}]')
    expect(await mesh.split('client', URL, 200)).toEqual({ v1: 200 })
    await expect.poll(() => copies.two!.length).toBe(200)
    expect(Math.abs(copies.one!.length - 60)).toBeLessThan(30)
  })

  it('get nothing at zero per cent', async () => {
    await start('mirror: {host: one}, mirrorPercentage: {value: 0}')
    expect(await mesh.split('client', URL, 20)).toEqual({ v1: 20 })
    expect(mesh.stats('client', 'cluster.outbound|9080||one.default.svc.cluster.local.upstream_rq_total')).toBe(0)
    expect(copies.one).toEqual([])
  })

  it('do not hold up the request when they are dead', async () => {
    await start('mirrors: [{destination: {host: one}}, {destination: {host: nowhere}}]')
    await mesh.kill('one-v1')
    const answer = await mesh.call('client', URL, { body: 'x'.repeat(300_000) })
    expect([answer.status, answer.attempts, answer.flags]).toEqual([200, 1, []])
  })
})

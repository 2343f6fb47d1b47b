import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { client, pod, service, startMesh, type TestMesh } from './support/mesh.ts'

/** A server in one line of JavaScript, as the annotation would hold it. */
const COMMAND = `node -e "require('http').createServer((q, s) => s.end(process.env.POD_NAME + ' ' + process.env.PORT_9080 + ' ' + q.url)).listen(process.env.PORT, '127.0.0.1')"`

describe("an instance's app", () => {
  let mesh: TestMesh
  afterEach(() => mesh?.stop())

  it('is what listens at the address that an annotation gives', async () => {
    const app = http.createServer((request, response) => response.end(`mine, ${request.headers.host}`))
    await new Promise<void>((resolve) => app.listen(0, '127.0.0.1', resolve))
    const { port } = app.address() as AddressInfo
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: `dinghy.dev/app: "9080=127.0.0.1:${port}"` }),
      ].join(''),
    )
    const got = await mesh.get('client', 'http://reviews:9080/')
    expect([got.text, got.answer.by]).toEqual(['mine, reviews:9080', 'reviews-v1'])
    await new Promise((resolve) => app.close(resolve).closeAllConnections())
    const gone = await mesh.get('client', 'http://reviews:9080/')
    expect([gone.status, gone.text]).toEqual([
      503,
      expect.stringMatching(/^upstream connect error or disconnect\/reset before headers/),
    ])
  })

  it('is a command that Dinghy starts, and stops', async () => {
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: `dinghy.dev/command: ${JSON.stringify(COMMAND)}` }),
      ].join(''),
    )
    // A command needs a moment before it listens; until then its sidecar answers for it.
    await expect
      .poll(async () => (await mesh.get('client', 'http://reviews:9080/x')).text, { timeout: 10_000 })
      .toMatch(/^reviews-v1 \d+ \/x$/)
    const port = Number((await mesh.get('client', 'http://reviews:9080/')).text.split(' ')[1])
    await mesh.stop()
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow()
  })

  it('is stopped though the shell that started it is gone', async () => {
    // The shell ends, what it has started does not.
    const script = `${COMMAND} & echo started`
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: `dinghy.dev/command: ${JSON.stringify(script)}` }),
      ].join(''),
    )
    await expect
      .poll(async () => (await mesh.get('client', 'http://reviews:9080/x')).text, { timeout: 10_000 })
      .toMatch(/^reviews-v1 \d+ \/x$/)
    const port = Number((await mesh.get('client', 'http://reviews:9080/')).text.split(' ')[1])
    await mesh.stop()
    await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow()
  })

  it('is asked for where an echo would be no stand-in: a rate-limit service that limits nobody', async () => {
    const service = pod('ratelimit', 'v1', { port: 8081 }).replace(
      'image: app',
      'image: docker.io/envoyproxy/ratelimit:1',
    )
    mesh = await startMesh(client() + service)
    expect(mesh.events).toContainEqual(
      expect.objectContaining({
        message: expect.stringMatching(/envoyproxy\/ratelimit has no stand-in.*dinghy ratelimit/),
      }),
    )
  })

  it('is missed when the command ends by itself', async () => {
    mesh = await startMesh(
      [client(), pod('reviews', 'v1', { annotations: 'dinghy.dev/command: "echo bye; exit 3"' })].join(''),
    )
    await expect
      .poll(() => mesh.events)
      .toContainEqual({
        type: 'workload',
        workload: 'reviews-v1',
        message: 'its command "echo bye; exit 3" exited with status 3',
      })
    expect(mesh.events).toContainEqual({ type: 'output', workload: 'reviews-v1', line: 'bye' })
  })

  it('is a stand-in that calls on through its own sidecar, and answers with the tree', async () => {
    mesh = await startMesh(
      [
        client(),
        service('front'),
        pod('front', 'v1', { annotations: 'dinghy.dev/calls: "middle:9080/a,nobody:9080"' }),
        service('middle'),
        pod('middle', 'v1', { annotations: 'dinghy.dev/calls: "back:9080"' }),
        service('back'),
        pod('back', 'v1'),
      ].join(''),
    )
    const { echo } = await mesh.get('client', 'http://front:9080/', {
      headers: { 'x-request-id': 'one-trace', 'end-user': 'jason' },
    })
    const [middle, nobody] = echo!.calls!
    expect(middle).toMatchObject({
      url: 'http://middle:9080/a',
      status: 200,
      answer: { workload: 'middle-v1', request: { path: '/a' } },
    })
    expect(nobody).toEqual({ url: 'http://nobody:9080/', status: 0, error: 'could not resolve host: nobody' })
    const back = middle!.answer!.calls![0]!.answer!
    expect(back.workload).toBe('back-v1')
    expect(back.request.headers).toMatchObject({ 'x-request-id': 'one-trace', 'end-user': 'jason' })
    expect(back.request.headers['x-forwarded-client-cert']).toContain('URI=spiffe://cluster.local/ns/default/sa/middle')
  })

  it("is an httpbin where the image is httpbin's", async () => {
    mesh = await startMesh(
      [
        client(),
        service('httpbin'),
        pod('httpbin', 'v1').replace('image: app', 'image: docker.io/kennethreitz/httpbin'),
      ].join(''),
    )
    const url = 'http://httpbin:9080'
    expect(JSON.parse((await mesh.get('client', `${url}/get?a=1`)).text)).toMatchObject({ args: { a: '1' } })
    expect((await mesh.get('client', `${url}/status/418`)).status).toBe(418)
    expect((await mesh.get('client', `${url}/headers`, { headers: { 'x-mine': 'yes' } })).text).toContain(
      '"X-Mine": "yes"',
    )
    expect((await mesh.get('client', `${url}/nothing`)).status).toBe(404)
  })

  it('an annotation that makes no sense is said, and the rest goes on', async () => {
    mesh = await startMesh(
      [
        client(),
        service('reviews'),
        pod('reviews', 'v1', { annotations: 'dinghy.dev/app: "9080", dinghy.dev/apps: "x"' }),
      ].join(''),
    )
    const messages = mesh.events.flatMap((e) => (e.type === 'workload' ? [e.message] : []))
    expect(messages).toContain('dinghy.dev/app: "9080" is no PORT=HOST:PORT, as in "9080=127.0.0.1:3000"')
    expect(messages).toContain(
      'unknown annotation dinghy.dev/apps; there are dinghy.dev/app, dinghy.dev/command, dinghy.dev/calls, dinghy.dev/fault',
    )
    expect((await mesh.get('client', 'http://reviews:9080/')).echo?.workload).toBe('reviews-v1')
  })
})

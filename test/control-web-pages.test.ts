import http from 'node:http'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { client, startMesh, type TestMesh } from './support/mesh.ts'

describe('the control interface of a mesh', () => {
  let mesh: TestMesh
  beforeAll(async () => {
    mesh = await startMesh(client())
  })
  afterAll(() => mesh?.stop())

  const tokenWith = (headers: http.OutgoingHttpHeaders) =>
    new Promise<[status: number | undefined, body: string]>((resolve, reject) => {
      const request = http.request(`${mesh.mesh.controlUrl}/v1/tokens`, { method: 'POST', headers }, (response) => {
        let text = ''
        response.on('data', (chunk) => (text += chunk)).on('end', () => resolve([response.statusCode, text]))
      })
      request.on('error', reject).end('{"namespace": "default", "name": "default"}')
    })

  it('gives tokens to programs of this machine', async () => {
    const [status, body] = await tokenWith({})
    expect(status).toBe(200)
    expect(JSON.parse(body)).toEqual({ token: expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/) })
  })

  it.each([
    ['that reached it under a name of its own', { host: 'evil.example:15014' }],
    ['of another origin', { origin: 'https://evil.example' }],
    ['without an origin', { origin: 'null' }],
    ['of another local server', { 'sec-fetch-site': 'cross-site', 'content-type': 'text/plain' }],
  ])('gives nothing to a web page %s', async (_, headers) => {
    const [status, body] = await tokenWith(headers)
    expect(status).toBe(403)
    expect(body).not.toContain('token')
  })
})

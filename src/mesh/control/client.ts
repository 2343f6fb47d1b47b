import http from 'node:http'
import type { RunningMesh } from './running.ts'

/** Asks a running mesh. Rejects with the mesh's own words when it refuses. */
export function askMesh<T>(
  mesh: RunningMesh,
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body)
    const headers =
      payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
    const request = http.request(new URL(path, mesh.control), { method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const answer = JSON.parse(Buffer.concat(chunks).toString()) as T & { error?: string }
        if (response.statusCode === 200) resolve(answer)
        else reject(new Error(answer.error ?? `the mesh answered ${response.statusCode}`))
      })
    })
    request.on('error', (e: NodeJS.ErrnoException) =>
      reject(new Error(`the mesh with pid ${mesh.pid} does not answer at ${mesh.control}: ${e.code ?? e.message}`)),
    )
    request.end(payload)
  })
}

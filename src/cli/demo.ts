import type { CallRequest } from '../mesh/control/api.ts'
import type { Mesh } from '../mesh/mesh.ts'
import { linksTable } from './links.ts'
import { splitTable } from './split-table.ts'

const get = (from: string, url: string, count: number, headers: [string, string][] = []): CallRequest => ({
  from, url, count, headers, method: 'GET', body: '', concurrency: 4, timeout: 10_000,
}) // biome-ignore format: one request

/** Sends the Bookinfo mesh a little traffic and prints where it went. */
export async function showDemo(mesh: Mesh): Promise<void> {
  const out = (text: string) => process.stdout.write(`${text}\n`)
  const [page] = await mesh.call(get('curl', 'http://productpage:9080/productpage', 1))
  out('\nOne request for the product page, and what it called on:')
  const body = Buffer.from(page?.body ?? '', 'base64').toString()
  out(page?.status === 200 ? tree(JSON.parse(body) as Answer, '  ') : `  ${page?.status} ${page?.error ?? body}`)
  out('\n100 requests from curl to http://reviews:9080/ (configs/bookinfo/routing.yaml says 90 to 10):')
  out(indent(splitTable(await mesh.call(get('curl', 'http://reviews:9080/', 100)))))
  out('\n10 requests with "end-user: jason":')
  out(indent(splitTable(await mesh.call(get('curl', 'http://reviews:9080/', 10, [['end-user', 'jason']])))))
  out('\nWhich of these connections were mutual TLS (dinghy links):')
  out(indent(linksTable(mesh.links().rows)))
  out('\nEdit a weight in configs/bookinfo/routing.yaml and call again. Ctrl-C stops everything.')
}

interface Answer {
  instance?: string
  calls?: { url: string; status: number; answer?: Answer; error?: string }[]
}

function tree(answer: Answer, pad: string): string {
  const lines = [`${pad}${answer.instance}`]
  for (const call of answer.calls ?? []) {
    lines.push(`${pad}├ ${call.url} ${call.status || call.error}`)
    if (call.answer?.instance) lines.push(tree(call.answer, `${pad}│   `))
  }
  return lines.join('\n')
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ')
}

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Identity, makeAuthority, makeIdentity } from '../support/certificates.ts'
import { dinghyProxy, envoyBinary, realEnvoy, startEnvoy } from './envoy.ts'
import { freePorts } from './processes.ts'

// Secrets from files: what a real Envoy notices of changes, ours does too, and nothing else.

const cleanup: (() => unknown)[] = []
let authority: Identity
beforeAll(async () => {
  await envoyBinary()
  authority = await makeAuthority('CN=root')
})
afterEach(async () => {
  for (const step of cleanup.splice(0).reverse()) await step()
})

const identity = (name: string) => makeIdentity(authority, `CN=${name}`, [{ type: 'dns', value: name }])
const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3'

const response = (secret: object) =>
  JSON.stringify({ version_info: '1', resources: [{ '@type': `${TLS}.Secret`, name: 'server', ...secret }] })
const inline = ({ cert, key }: Identity) =>
  response({ tls_certificate: { certificate_chain: { inline_string: cert }, private_key: { inline_string: key } } })

/** Replaces a file as a whole. */
function move(file: string, text: string): void {
  fs.writeFileSync(`${file}.new`, text)
  fs.renameSync(`${file}.new`, file)
}

const bootstrap = (port: number, source: object) => ({
  node: { id: 'files', cluster: 'files' },
  static_resources: {
    listeners: [
      {
        name: 'l',
        address: { socket_address: { address: '127.0.0.1', port_value: port } },
        filter_chains: [
          {
            transport_socket: {
              name: 'envoy.transport_sockets.tls',
              typed_config: {
                '@type': `${TLS}.DownstreamTlsContext`,
                common_tls_context: {
                  tls_certificate_sds_secret_configs: [
                    { name: 'server', sds_config: { resource_api_version: 'V3', path_config_source: source } },
                  ],
                },
              },
            },
            filters: [
              {
                name: 'envoy.filters.network.direct_response',
                typed_config: {
                  '@type': 'type.googleapis.com/envoy.extensions.filters.network.direct_response.v3.Config',
                  response: { inline_string: 'hello' },
                },
              },
            ],
          },
        ],
      },
    ],
  },
})

function shown(port: number): Promise<string> {
  return new Promise((resolve) => {
    const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, servername: 'x' }, () => {
      resolve(client.getPeerCertificate().subject.CN as unknown as string)
      client.destroy()
    })
    client.on('error', (error) => resolve(error.message))
  })
}

async function eventually(port: number, name: string): Promise<void> {
  const deadline = Date.now() + 5000
  let last = ''
  while (last !== name) {
    if (Date.now() > deadline) throw new Error(`${last} is shown, not ${name}`)
    last = await shown(port)
    await sleep(20)
  }
}

describe.each([
  ['a real Envoy', realEnvoy],
  ['dinghy proxy', dinghyProxy],
] as const)('%s', (_, command) => {
  async function start(dir: string, source: object) {
    cleanup.push(() => fs.rmSync(dir, { recursive: true, force: true }))
    const [port] = (await freePorts(1)) as [number]
    const envoy = await startEnvoy(bootstrap(port, source), command)
    cleanup.push(() => envoy.stop())
    return port
  }
  const folder = () => fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-files-'))

  test('takes a secret from a file, and again when the file is replaced', async () => {
    const dir = folder()
    const file = path.join(dir, 'sds.yaml')
    fs.writeFileSync(file, inline(await identity('first')))
    const port = await start(dir, { path: file })
    await eventually(port, 'first')
    // Neither a file beside it, nor one that is written in place, nor one that cannot be read, counts. A real Envoy now and
    // then takes no connection after the last two, until the next good file; ours keeps what it had.
    if (command === dinghyProxy) {
      fs.writeFileSync(path.join(dir, 'else.new'), '')
      fs.renameSync(path.join(dir, 'else.new'), path.join(dir, 'else'))
      fs.writeFileSync(file, inline(await identity('in-place')))
      move(file, '{"resources": [{}')
      await sleep(300)
      expect(await shown(port)).toBe('first')
    }
    move(file, inline(await identity('second')))
    await eventually(port, 'second')
  })

  test('looks at a watched directory instead, which may be swapped by a link', async () => {
    const dir = folder()
    for (const version of ['v1', 'v2']) {
      fs.mkdirSync(path.join(dir, version))
      fs.writeFileSync(path.join(dir, version, 'sds.yaml'), inline(await identity(version)))
    }
    fs.symlinkSync('v1', path.join(dir, 'now'))
    const port = await start(dir, { path: path.join(dir, 'now', 'sds.yaml'), watched_directory: { path: dir } })
    await eventually(port, 'v1')
    fs.symlinkSync('v2', path.join(dir, 'next'))
    fs.renameSync(path.join(dir, 'next'), path.join(dir, 'now'))
    await eventually(port, 'v2')
  })

  test('reads the files again that a secret refers to', async () => {
    const dir = folder()
    const at = (name: string) => path.join(dir, 'files', name)
    fs.mkdirSync(path.join(dir, 'files'))
    const put = ({ cert, key }: Identity, write = move) => {
      write(at('cert.pem'), cert)
      write(at('key.pem'), key)
    }
    put(await identity('first'), fs.writeFileSync)
    const file = path.join(dir, 'sds.yaml')
    fs.writeFileSync(
      file,
      response({
        tls_certificate: {
          certificate_chain: { filename: at('cert.pem') },
          private_key: { filename: at('key.pem') },
        },
      }),
    )
    const port = await start(dir, { path: file })
    await eventually(port, 'first')
    put(await identity('second'))
    await eventually(port, 'second')
  })

  test('reads them again when the directory that it names changes', async () => {
    const dir = folder()
    for (const version of ['v1', 'v2']) {
      const { cert, key } = await identity(version)
      fs.mkdirSync(path.join(dir, version))
      fs.writeFileSync(path.join(dir, version, 'cert.pem'), cert)
      fs.writeFileSync(path.join(dir, version, 'key.pem'), key)
    }
    fs.symlinkSync('v1', path.join(dir, 'now'))
    const file = path.join(dir, 'sds.yaml')
    fs.writeFileSync(
      file,
      response({
        tls_certificate: {
          certificate_chain: { filename: path.join(dir, 'now', 'cert.pem') },
          private_key: { filename: path.join(dir, 'now', 'key.pem') },
          watched_directory: { path: dir },
        },
      }),
    )
    const port = await start(dir, { path: file })
    await eventually(port, 'v1')
    fs.symlinkSync('v2', path.join(dir, 'next'))
    fs.renameSync(path.join(dir, 'next'), path.join(dir, 'now'))
    await eventually(port, 'v2')
  })
})

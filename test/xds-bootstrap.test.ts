import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { toBinary } from '@bufbuild/protobuf'
import { describe, expect, test } from 'vitest'
import { BootstrapError, loadBootstrap, parseBootstrap } from '../src/xds/bootstrap.ts'
import { schemaOf } from '../src/xds/messages.ts'

const yaml = `
node: {id: n, cluster: c}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 0}}
static_resources:
  clusters:
  - name: a
    type: STATIC
    connect_timeout: 1s
    load_assignment: &load
      cluster_name: a
`

const problemsOf = async (text: string): Promise<string[]> => {
  try {
    await parseBootstrap(text, 'envoy.yaml')
  } catch (error) {
    if (error instanceof BootstrapError) return error.message.split('\n')
    throw error
  }
  return []
}

describe('an Envoy bootstrap', () => {
  test('is read from YAML, from JSON and from binary protobuf', async () => {
    const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-bootstrap-'))
    const write = (name: string, content: string | Uint8Array) => {
      fs.writeFileSync(path.join(dir, name), content)
      return path.join(dir, name)
    }
    const fromYaml = await loadBootstrap(write('a.yaml', yaml))
    expect(fromYaml.staticResources!.clusters[0]).toMatchObject({ name: 'a', connectTimeout: { seconds: 1n } })
    const json = '{"node": {"id": "n", "cluster": "c"}}'
    expect((await loadBootstrap(write('a.json', json))).node!.id).toBe('n')
    const bytes = toBinary(schemaOf(fromYaml.$typeName), fromYaml as never)
    expect((await loadBootstrap(write('a.pb', bytes))).node!.id).toBe('n')
    await expect(loadBootstrap(write('a.pb_text', 'x'))).rejects.toThrow(/text-format protobuf/)
    await expect(loadBootstrap(path.join(dir, 'none.yaml'))).rejects.toThrow(/ENOENT/)
    fs.rmSync(dir, { recursive: true })
  })

  test('an empty one is a valid one', async () => {
    expect(await problemsOf('')).toEqual([])
  })

  test('a YAML error names its place', async () => {
    expect((await problemsOf('node:\n  id: "x\n'))[0]).toMatch(/^envoy\.yaml:\d+:\d+: /)
    expect(await problemsOf('node: *nowhere\n')).toEqual(['envoy.yaml:1:7: unknown alias *nowhere'])
  })

  test('unknown fields, wrong values and broken constraints name file, line and column', async () => {
    expect(
      await problemsOf(`${yaml}      endpointz: []\n  - name: b\n    type: STATICK\n    connect_timeout: 5\n`),
    ).toEqual([
      'envoy.yaml:12:7: static_resources.clusters[0].load_assignment.endpointz: unknown field "endpointz": did you mean "endpoints"?',
      'envoy.yaml:14:5: static_resources.clusters[1].type: unknown value "STATICK": did you mean "STATIC"?',
      'envoy.yaml:15:5: static_resources.clusters[1].connect_timeout: 5 is no Duration such as "0.25s"',
    ])
    expect(await problemsOf(`${yaml}  - name: ""\n    connectTimeout: 0s\n    load_assignment: *load\n`)).toEqual([
      'envoy.yaml:12:5: static_resources.clusters[1].name: value length must be at least 1 characters',
      'envoy.yaml:13:5: static_resources.clusters[1].connect_timeout: value must be greater than 0s',
    ])
  })

  test('mistakes in JSON name file, line and column too, a key that is given twice among them', async () => {
    expect(await problemsOf('{\n  "node": {"id": "n", "id": "m"}}')).toEqual([
      expect.stringMatching(/^envoy\.yaml:2:\d+: Map keys must be unique/),
    ])
    expect(await problemsOf('{"node": {"id": "a \\"id\\": b", "cluster": "c"}}')).toEqual([])
    expect(await problemsOf('{"node": {"id": "n"},\n "nod": {}}')).toEqual([
      'envoy.yaml:2:2: nod: unknown field "nod": did you mean "node"?',
    ])
    expect((await problemsOf('{"node": '))[0]).toMatch(/^envoy\.yaml:1:\d+: /)
  })
})

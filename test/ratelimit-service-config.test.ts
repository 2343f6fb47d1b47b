import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { formatProblems } from '../src/api/problems.ts'
import { dumpLimits, loadLimits } from '../src/ratelimit/config.ts'
import { readSettings } from '../src/ratelimit/settings.ts'
import { Stats } from '../src/ratelimit/stats.ts'
import { startRateLimit, type TestRateLimit } from './support/ratelimit.ts'

const read = (text: string, merge = false) => loadLimits([{ file: 'limits.yaml', text }], new Stats(), merge)
/** The first line of each problem. */
const problems = (text: string) =>
  formatProblems(read(text).problems)
    .split('\n')
    .filter((line) => line.startsWith('limits.yaml'))

describe('the YAML of the rate-limit service', () => {
  it.each([
    ['descriptors: []', '1:1: error: config file cannot have empty domain'],
    ['', '1:1: error: config file cannot have empty domain'],
    ['domain: d\ndescriptors:\n- value: x', '3:3: error: descriptor has empty key'],
    [
      'domain: d\ndescriptors:\n- {key: a, value: b}\n- key: a\n  value: b',
      "4:8: error: duplicate descriptor composite key 'd.a_b'",
    ],
    [
      'domain: d\ndescriptors:\n- key: a\n  rate_limit: {unit: fortnight, requests_per_unit: 1}',
      "4:22: error: invalid rate limit unit 'fortnight'",
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1}}',
      "3:12: error: invalid rate limit unit ''",
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unlimited: true, unit: day}}',
      '3:48: error: should not specify rate limit unit when unlimited',
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, name: n, replaces: [{name: n}]}}',
      '3:63: error: replaces should not contain name of same descriptor',
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, replaces: [{name: ""}]}}',
      '3:54: error: should not have an empty replaces entry',
    ],
    [
      'domain: d\ndescriptors:\n- key: a\n  ratelimit: {unit: day}',
      '4:3: error: config error, unknown key \'ratelimit\': did you mean "rate_limit"?',
    ],
    ['domain: d\ndescriptors: [a]', '2:15: error: config error, yaml file contains list of type other than map: a'],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: -1}}',
      '3:55: error: error loading config file: cannot unmarshal !!int `-1` into uint32',
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day, requests_per_unit: 1.5}}',
      '3:55: error: error checking config',
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, shadow_mode: "true"}',
      '3:25: error: error loading config file: cannot unmarshal !!str `true` into bool',
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, value: b, share_threshold: true}',
      "3:22: error: share_threshold can only be used with wildcard values (containing '*'), but found key 'a_b'",
    ],
    ['domain: d\n---\ndomain: d', "3:9: error: duplicate domain 'd' in config file"],
    ['domain: d\nunit: day', "2:1: warning: 'unit' has no effect here: it is read in rate_limit"],
    [
      'domain: d\ndescriptors: &d\n- {key: a, descriptors: *d}',
      "3:25: error: error loading config file: anchor 'd' value contains itself",
    ],
    [
      'domain: d\ndescriptors:\n- {key: a, metadata: &m {m: *m}}',
      '3:25: error: error loading config file: Converting circular structure to JSON',
    ],
    ['domain: [d', '1:11: error: error loading config file'],
  ])('says of %j where and what is wrong', (text, said) => {
    expect(problems(text)[0]).toContain(`limits.yaml:${said}`)
  })

  it('reads scalars as the reference does: any is a value, as it is written', () => {
    const { limits } = read(`
domain: 2024
descriptors:
- {key: port, value: 0070, rate_limit: {unit: Minute, requests_per_unit: 0x10}}
- {key: on, value: yes, rate_limit: {unit: WEEK, requests_per_unit: 1_000}}
- {key: none, value: ~, shadow_mode: yes, rate_limit: {unit: month, requests_per_unit: 010}}
`)
    expect(dumpLimits(limits!)).toBe(
      '2024.port_0070: unit=MINUTE requests_per_unit=16, shadow_mode: false, quota_mode: false\n' +
        '2024.on_yes: unit=WEEK requests_per_unit=1000, shadow_mode: false, quota_mode: false\n' +
        '2024.none: unit=MONTH requests_per_unit=8, shadow_mode: true, quota_mode: false\n',
    )
  })

  it('reads metadata as any JSON', () => {
    const { limits } = read(
      'domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: day}, metadata: {at: 12:30, on: 2001-01-01, n: [1, ~, yes]}}',
    )
    expect(limits!.domains.get('d')!.descriptors.get('a')!.rule!.metadata).toEqual({
      at: '12:30',
      on: '2001-01-01',
      n: [1, null, true],
    })
  })

  it("takes a ConfigMap as Istio's sample has it, and passes over what else is in the file", () => {
    const configMap = (limit: string) => `
apiVersion: v1
kind: Service
metadata: {name: ratelimit}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: ratelimit-config}
data:
  other.txt: hello
  config.yaml: |
    domain: echo-ratelimit
    descriptors:
      - key: PATH
        value: "/"
        rate_limit:
          unit: ${limit}
          requests_per_unit: 1
`
    expect(dumpLimits(read(configMap('minute')).limits!)).toBe(
      'echo-ratelimit.PATH_/: unit=MINUTE requests_per_unit=1, shadow_mode: false, quota_mode: false\n',
    )
    expect(formatProblems(read(configMap('minuet')).problems)).toBe(
      "limits.yaml:17:17: error: invalid rate limit unit 'minuet'\n" + '            unit: minuet\n                  ^',
    )
  })

  it('merges a domain that is spread over documents only if asked to', () => {
    const text = 'domain: d\ndescriptors: [{key: a}]\n---\ndomain: d\ndescriptors: [{key: b}]'
    expect(read(text).limits).toBeUndefined()
    expect([...read(text, true).limits!.domains.get('d')!.descriptors.keys()]).toEqual(['a', 'b'])
  })
})

describe('the settings of the rate-limit service', () => {
  it('refuse what there is nothing for, by name', () => {
    const refused = (env: Record<string, string>) => expect(() => readSettings(env, ['x.yaml']))
    refused({ REDIS_TYPE: 'CLUSTER' }).toThrow('REDIS_TYPE=CLUSTER is not supported: only single')
    refused({ BACKEND_TYPE: 'memcache' }).toThrow('BACKEND_TYPE=memcache is not supported: only redis and memory')
    refused({ CONFIG_TYPE: 'GRPC_XDS_SOTW' }).toThrow('CONFIG_TYPE=GRPC_XDS_SOTW is not supported: only FILE')
    refused({ REDIS_URL: 'mymaster,a:1,b:2' }).toThrow('one Redis only; clusters and sentinels are not supported')
    refused({ REDIS_PERSECOND: 'true', REDIS_PERSECOND_URL: 'a:1' }).toThrow('REDIS_PERSECOND needs a REDIS_URL')
    refused({ REDIS_URL: 'http://a' }).toThrow('is no address of a Redis')
    refused({ SHADOW_MODE: 'yes' }).toThrow('SHADOW_MODE=yes is neither true nor false')
    refused({ NEAR_LIMIT_RATIO: '80' }).toThrow('NEAR_LIMIT_RATIO=80 is no share from 0 to 1')
    expect(() => readSettings({}, [])).toThrow('name the files or folders with the limits')
  })

  it("read the variables of Istio's sample deployment", () => {
    const settings = readSettings(
      {
        LOG_LEVEL: 'debug',
        REDIS_SOCKET_TYPE: 'tcp',
        REDIS_URL: 'redis:6379',
        USE_STATSD: 'false',
        RUNTIME_ROOT: '/data',
        RUNTIME_SUBDIRECTORY: 'ratelimit',
        RUNTIME_WATCH_ROOT: 'false',
        RUNTIME_IGNOREDOTFILES: 'true',
        HOST: '::',
        GRPC_HOST: '::',
      },
      [],
    )
    expect(settings.paths).toEqual(['/data/ratelimit/config'])
    expect(settings.ignoreDotFiles).toBe(true)
    expect(settings.redis?.place.at).toEqual({ host: 'redis', port: 6379 })
    expect(settings.listen).toMatchObject({ host: '::', port: 8080, grpcHost: '::', grpcPort: 8081, debugPort: 6070 })
  })

  it('never show the password of a Redis', () => {
    expect(readSettings({ REDIS_URL: 'redis://me:secret@h:1/2' }, ['x']).redis?.place).toMatchObject({
      at: { host: 'h', port: 1 },
      username: 'me',
      password: 'secret',
      database: 2,
      shown: 'h:1',
    })
    expect(() => readSettings({ REDIS_URL: 'ftp://me:secret@h' }, ['x'])).toThrow(/^"ftp:\/\/\*\*\*\*\*@h"/)
  })
})

describe('limits that change while the service runs', () => {
  const LIMIT = (n: number) => `domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: ${n}}}]\n`
  const started: { stop(): unknown }[] = []
  const start = async (...args: Parameters<typeof startRateLimit>): Promise<TestRateLimit> => {
    const service = await startRateLimit(...args)
    started.push(service)
    return service
  }
  afterEach(async () => {
    for (const one of started.splice(0)) await one.stop()
  })

  it('hold from the next request on, and what was counted stays counted', async () => {
    const service = await start(LIMIT(2))
    expect(await service.admitted('d', ['k=v'], 5)).toBe(2)
    await service.write('limits.yaml', LIMIT(10))
    expect(await service.admitted('d', ['k=v'], 10)).toBe(5)
  })

  it('go on as before when they are broken, and are mended again', async () => {
    const service = await start(LIMIT(2))
    await service.write('limits.yaml', LIMIT(3).replace('unit: day', 'unit: dya'))
    expect(service.problems()).toContain("limits.yaml:2:43: error: invalid rate limit unit 'dya'")
    expect(await service.stat('ratelimit.service.config_load_error')).toBe(1)
    expect(await service.admitted('d', ['k=v'], 9)).toBe(2)
    await service.write('limits.yaml', LIMIT(20))
    expect(service.problems()).toBe('')
    expect(await service.admitted('d', ['k=v'], 20)).toBe(11)
  })

  it('come and go with files of a folder', async () => {
    const service = await start({ 'a.yaml': LIMIT(1), '.hidden/b.yaml': 'broken: [' })
    await service.write('b.yaml', LIMIT(1).replace('domain: d', 'domain: e'))
    expect(await service.admitted('e', ['k=v'], 5)).toBe(1)
    await service.write('b.yaml', LIMIT(1))
    expect(service.problems()).toContain("b.yaml:1:9: error: duplicate domain 'd' in config file")
  })

  it('that are broken from the start fail every request until they are mended', async () => {
    const service = await start('domain: d\ndescriptors: [{key: ""}]', {
      HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED: 'true',
    })
    expect(await service.failure('d', ['k=v'])).toEqual({ code: 2, message: 'no rate limit configuration loaded' })
    expect((await service.get('http', '/healthcheck')).status).toBe(500)
    expect(await service.health('ratelimit')).toBe(2)
    await service.write('limits.yaml', LIMIT(1))
    expect(await service.admitted('d', ['k=v'], 5)).toBe(1)
    expect((await service.get('http', '/healthcheck')).status).toBe(200)
  })

  it('are followed through the symlinks of a mounted ConfigMap', async () => {
    const root = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-configmap-'))
    started.push({ stop: () => fs.rmSync(root, { recursive: true }) })
    const folder = path.join(root, 'ratelimit', 'config')
    const mount = (version: string, limits: string) => {
      fs.mkdirSync(path.join(folder, `..${version}`), { recursive: true })
      fs.writeFileSync(path.join(folder, `..${version}`, 'config.yaml'), limits)
      fs.symlinkSync(`..${version}`, path.join(folder, '..next'))
      fs.renameSync(path.join(folder, '..next'), path.join(folder, '..data'))
    }
    mount('1', LIMIT(1))
    fs.symlinkSync(path.join('..data', 'config.yaml'), path.join(folder, 'config.yaml'))
    const env = { RUNTIME_ROOT: root, RUNTIME_SUBDIRECTORY: 'ratelimit', RUNTIME_IGNOREDOTFILES: 'true' }
    const service = await start({}, env)
    expect(await service.admitted('d', ['k=v'], 5)).toBe(1)
    const reloaded = service.event((event) => event.type === 'limits', service.events.length)
    mount('2', LIMIT(8))
    await reloaded
    expect(await service.admitted('d', ['k=v'], 8)).toBe(3)
  })
})

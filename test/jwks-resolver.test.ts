import { describe, expect, it } from 'vitest'
import { jwksId, sameKeys } from '../src/pilot/authn/jwks-keys.ts'
import { JwksResolver } from '../src/pilot/authn/jwks-resolver.ts'
import { jwksSettings } from '../src/pilot/authn/jwks-settings.ts'
import { TestRuntime } from '../src/runtime-test.ts'

const MINUTE = 60_000
const URI = 'https://id.test/jwks'
const place = () => ({ file: 'ra.yaml', line: 7, col: 5 })
const source = (more: { issuer?: string; jwksUri?: string; timeout?: number } = {}) => ({
  issuer: 'me',
  jwksUri: URI,
  timeout: 5000,
  place,
  ...more,
})
const keysNamed = (...kids: string[]) => JSON.stringify({ keys: kids.map((kid) => ({ kty: 'EC', kid })) })

/** A resolver whose fetches are answered by `documents`; what is not among them fails. */
function line(env: Record<string, string> = {}) {
  const runtime = new TestRuntime()
  const documents: Record<string, string> = {}
  const fetched: [seconds: number, url: string, timeout: number][] = []
  const said: string[] = []
  let changes = 0
  const resolver = new JwksResolver({
    runtime,
    settings: jwksSettings((name) => env[name] ?? ''),
    get: async (url, timeout) => {
      fetched.push([runtime.now() / 1000, url, timeout])
      const text = documents[url]
      if (text === undefined) throw new Error('no luck')
      return text
    },
    onChange: () => changes++,
    warn: (text) => said.push(text),
  })
  /** Moves the clock in steps, so that what timers set off is done before the next. */
  const pass = async (ms: number, step = 1000) => {
    for (let left = ms; left > 0; left -= step) {
      runtime.advance(Math.min(step, left))
      await settled()
    }
  }
  return {
    resolver,
    documents,
    fetched,
    said,
    pass,
    get changes() {
      return changes
    },
    keys: (issuer = 'me', uri = URI) => resolver.keys.get(jwksId(issuer, uri)),
    times: () => fetched.map(([seconds]) => seconds),
  }
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve))

describe('the keys that pilot fetches', () => {
  it('are awaited at first, then known, and fetched once for all who need them', async () => {
    const { resolver, documents, fetched, keys } = line()
    documents[URI] = keysNamed('a')
    expect(resolver.want([source()], 1)).toBe(true)
    expect(resolver.want([source(), source({ timeout: 2000 })], 1)).toBe(true)
    expect(keys()).toBeUndefined()
    await settled()
    expect(keys()).toBe(keysNamed('a'))
    expect(resolver.want([source()], 2)).toBe(false)
    expect(fetched).toEqual([[0, URI, 5000]])
  })

  it('are refreshed every 20 minutes; only other keys are news', async () => {
    const known = line()
    const { resolver, documents, pass, times, keys } = known
    documents[URI] = keysNamed('a', 'b')
    resolver.want([source()], 1)
    await settled()
    expect(known.changes).toBe(1)
    documents[URI] = keysNamed('b', 'a')
    await pass(20 * MINUTE, MINUTE)
    expect(known.changes).toBe(1)
    documents[URI] = keysNamed('c')
    await pass(20 * MINUTE, MINUTE)
    expect(known.changes).toBe(2)
    expect(keys()).toBe(keysNamed('c'))
    expect(times()).toEqual([0, 1200, 2400])
  })

  it('are refreshed as often as PILOT_JWT_PUB_KEY_REFRESH_INTERVAL says', async () => {
    const { resolver, documents, pass, times } = line({ PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: '30s' })
    documents[URI] = keysNamed('a')
    resolver.want([source()], 1)
    await pass(61_000)
    expect(times()).toEqual([0, 30, 60])
    expect(jwksSettings(() => 'often').refresh).toBe(20 * MINUTE)
  })

  it('stay in use when they cannot be refreshed, which is tried after 1 minute, 2, 4, up to 60', async () => {
    const { resolver, documents, pass, times, keys, said } = line()
    documents[URI] = keysNamed('a')
    resolver.want([source({ timeout: 900 })], 1)
    await settled()
    delete documents[URI]
    await pass(250 * MINUTE, 10_000)
    expect(times().map((time) => time / 60)).toEqual([0, 20, 21, 23, 27, 35, 51, 83, 143, 203])
    expect(keys()).toBe(keysNamed('a'))
    expect(said).toEqual([
      'ra.yaml:7:5: the keys of issuer "me" cannot be fetched from https://id.test/jwks: no luck; those of before stay in use',
    ])
    documents[URI] = keysNamed('b')
    await pass(15 * MINUTE, 10_000)
    expect(keys()).toBe(keysNamed('b'))
    expect(said[1]).toBe('ra.yaml:7:5: the keys of issuer "me" could be fetched at last, from https://id.test/jwks')
    await pass(20 * MINUTE, 10_000)
    expect(
      times()
        .slice(-2)
        .map((time) => time / 60),
    ).toEqual([263, 283])
  })

  it('are tried for each second of the timeout when the first attempt fails, and soon after that', async () => {
    const { resolver, documents, pass, times, keys, said } = line()
    resolver.want([source()], 1)
    await settled()
    await pass(50_000)
    expect(keys()).toBe('')
    expect(resolver.want([source()], 1)).toBe(false)
    expect(times()).toEqual([0, 0, 1, 2, 3, 4])
    await pass(11_000)
    expect(times().slice(6)).toEqual([60, 61])
    documents[URI] = keysNamed('a')
    await pass(2000)
    expect(keys()).toBe(keysNamed('a'))
    expect(said).toEqual([
      'ra.yaml:7:5: the keys of issuer "me" cannot be fetched from https://id.test/jwks: no luck; its tokens are refused until they can',
      'ra.yaml:7:5: the keys of issuer "me" could be fetched at last, from https://id.test/jwks',
    ])
  })

  it('that are missing are tried again with the next push', async () => {
    const { resolver, documents, pass, times, keys } = line()
    resolver.want([source({ timeout: 500 })], 1)
    await settled()
    await pass(10_000)
    expect(times()).toEqual([0, 0])
    resolver.want([source({ timeout: 500 })], 1)
    await settled()
    expect(times()).toEqual([0, 0])
    documents[URI] = keysNamed('a')
    expect(resolver.want([source({ timeout: 500 })], 2)).toBe(false)
    await settled()
    expect(times()).toEqual([0, 0, 10])
    expect(keys()).toBe(keysNamed('a'))
  })

  it('are found by OpenID Connect Discovery where no URL is given', async () => {
    const { resolver, documents, fetched, keys } = line()
    documents['https://id.test/.well-known/openid-configuration'] = JSON.stringify({ jwks_uri: URI })
    documents[URI] = keysNamed('a')
    resolver.want([source({ issuer: 'https://id.test/', jwksUri: '' })], 1)
    await settled()
    expect(fetched.map(([, url]) => url)).toEqual(['https://id.test/.well-known/openid-configuration', URI])
    expect(keys('https://id.test/', '')).toBe(keysNamed('a'))
  })

  it('of others are refreshed in time when some cannot be fetched at all, and no password is told', async () => {
    const { resolver, documents, pass, fetched, said } = line()
    documents[URI] = keysNamed('a')
    const dead = 'https://ann:secret@dead.test/jwks'
    resolver.want([source({ timeout: 900 }), source({ issuer: 'dead', jwksUri: dead, timeout: 900 })], 1)
    await settled()
    await pass(120 * MINUTE, 10_000)
    const times = fetched.flatMap(([seconds, url]) => (url === URI ? [seconds / 60] : []))
    expect(times.map(Math.round)).toEqual([0, 1, 3, 7, 15, 31, 51, 71, 91, 111])
    expect(said).toHaveLength(1)
    expect(said[0]).toContain('from https://dead.test/jwks')
  })

  it.each([
    ['no JSON', '<html>', 'the answer is no JSON'],
    ['another document', '{"a": 1}', 'the answer has no "keys"'],
    ['a document without a list', '{"keys": {}}', 'the "keys" of the answer are no list'],
    ['null', 'null', 'the answer has no "keys"'],
  ])('are none when the answer is %s', async (_, text, reason) => {
    const { resolver, documents, keys, said } = line()
    documents[URI] = text
    resolver.want([source()], 1)
    await settled()
    expect(keys()).toBe('')
    expect(said[0]).toContain(`${URI}: ${reason}; its tokens`)
  })

  it('are none when discovery names no URL', async () => {
    const { resolver, documents, said } = line()
    documents['https://id.test/.well-known/openid-configuration'] = '{"jwks_uri": 5}'
    resolver.want([source({ issuer: 'https://id.test', jwksUri: '' })], 1)
    await settled()
    expect(said[0]).toContain('the answer has no "jwks_uri"')
  })

  it('are forgotten when nobody needed them for 7 days, and fetched anew then', async () => {
    const { resolver, documents, pass, keys, fetched } = line({ PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: '12h' })
    documents[URI] = keysNamed('a')
    resolver.want([source()], 1)
    await settled()
    await pass(7 * 24 * 60 * MINUTE, 60 * MINUTE)
    expect(keys()).toBeUndefined()
    const before = fetched.length
    await pass(24 * 60 * MINUTE, 60 * MINUTE)
    expect(fetched.length).toBe(before)
    expect(resolver.want([source()], 2)).toBe(true)
  })

  it('never change under the hands of who has them', async () => {
    const { resolver, documents, pass } = line({ PILOT_JWT_PUB_KEY_REFRESH_INTERVAL: '10s' })
    documents[URI] = keysNamed('a')
    resolver.want([source()], 1)
    await settled()
    const before = resolver.keys
    await pass(10_000)
    expect(resolver.keys).toBe(before)
    documents[URI] = keysNamed('b')
    await pass(10_000)
    expect(resolver.keys).not.toBe(before)
    expect([...before.values()]).toEqual([keysNamed('a')])
  })

  it('are not fetched any more after the end', async () => {
    const { resolver, documents, pass, fetched } = line()
    documents[URI] = keysNamed('a')
    resolver.want([source()], 1)
    await settled()
    resolver.close()
    await pass(60 * MINUTE, MINUTE)
    expect(fetched).toHaveLength(1)
  })
})

describe('two sets of keys', () => {
  it('are the same in another order of keys and fields', () => {
    expect(
      sameKeys('{"keys":[{"kid":"a","n":"1"},{"kid":"b"}]}', '{"keys":[{"kid":"b"},{"n":"1","kid":"a"}],"x":1}'),
    ).toBe(true)
    expect(sameKeys('{"keys":[{"kid":"a"}]}', '{"keys":[{"kid":"a","n":"1"}]}')).toBe(false)
    expect(sameKeys('', '{"keys":[]}')).toBe(false)
    expect(sameKeys('{"a":1}', '{"a":2}')).toBe(false)
  })
})

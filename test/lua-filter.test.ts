import http from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type RunningProxy, socketAddress, startProxy, staticCluster } from './support/proxy.ts'

const LUA = 'type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua'

/** Expectations that were seen of a real Envoy are marked so. */
describe('the Lua filter', () => {
  let upstream: http.Server
  let proxy: RunningProxy | undefined
  const seen: { method: string; url: string; headers: http.IncomingHttpHeaders; body: string }[] = []

  beforeEach(async () => {
    seen.length = 0
    upstream = http.createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const { method = '', url = '', headers } = request
      seen.push({ method, url, headers, body: Buffer.concat(chunks).toString() })
      response.setHeader('x-version', '1')
      response.end('upstream body')
    })
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
  })
  afterEach(async () => {
    await proxy?.stop()
    proxy = undefined
    upstream.closeAllConnections()
    upstream.close()
  })

  const start = async (script: string, perRoute?: object) => {
    const port = (upstream.address() as { port: number }).port
    const bootstrap = {
      static_resources: {
        clusters: [staticCluster('up', port), staticCluster('dead', 9)],
        listeners: [
          {
            name: 'l',
            address: socketAddress(0),
            filter_chains: [
              {
                filters: [
                  {
                    name: 'envoy.filters.network.http_connection_manager',
                    typed_config: {
                      '@type':
                        'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
                      stat_prefix: 'h',
                      route_config: {
                        virtual_hosts: [
                          {
                            name: 'v',
                            domains: ['*'],
                            routes: [
                              {
                                match: { prefix: '/' },
                                route: { cluster: 'up' },
                                metadata: { filter_metadata: { lua: { list: [1, 2.5, true, 's'] } } },
                                ...(perRoute ? { typed_per_filter_config: { lua: perRoute } } : {}),
                              },
                            ],
                          },
                        ],
                      },
                      http_filters: [
                        {
                          name: 'lua',
                          typed_config: { '@type': LUA, default_source_code: { inline_string: script } },
                        },
                        {
                          name: 'envoy.filters.http.router',
                          typed_config: {
                            '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router',
                          },
                        },
                      ],
                    },
                  },
                ],
              },
            ],
          },
        ],
      },
    }
    proxy = await startProxy(bootstrap)
    return proxy
  }
  const send = (path = '/', init: RequestInit = {}) => fetch(`http://127.0.0.1:${proxy!.port('l')}${path}`, init)

  it('reads and changes headers; a whole number prints as one', async () => {
    await start(`function envoy_on_request(h)
      local hs = h:headers()
      hs:add("x-was", hs:get(":method") .. " " .. hs:get(":path"))
      hs:add("x-m", "1") hs:add("x-m", "2")
      hs:add("x-joined", hs:get("x-m") .. hs:getNumValues("x-m") .. hs:getAtIndex("x-m", 1))
      hs:add("x-half", 10 / 4) hs:add("x-whole", 10 / 2)
      hs:remove("x-secret")
      hs:replace(":path", "/new")
      for name, value in pairs(hs) do if name == ":authority" then hs2 = value end end
      hs:add("x-host", hs2)
    end`)
    await send('/old?q', { headers: { 'x-secret': 's' } })
    const [request] = seen
    expect(request!.url).toBe('/new')
    expect(request!.headers).toMatchObject({
      'x-was': 'GET /old?q',
      'x-joined': '1,222',
      'x-half': '2.5',
      'x-whole': '5',
      'x-host': `127.0.0.1:${proxy!.port('l')}`,
    })
    expect(request!.headers['x-secret']).toBeUndefined()
  })

  it('waits for a body, and gives another', async () => {
    await start(`function envoy_on_request(h)
      local body = h:body()
      h:headers():add("x-length", body:length() .. body:getBytes(0, 3))
      body:setBytes("changed")
    end
    function envoy_on_response(h)
      h:headers():remove("x-version")
      h:body():setBytes("answered")
    end`)
    const answer = await send('/', { method: 'POST', body: 'abcdefghij' })
    expect(seen[0]!.headers['x-length']).toBe('10abc')
    expect(seen[0]!.body).toBe('changed')
    expect(seen[0]!.headers['content-length']).toBe('7')
    expect(await answer.text()).toBe('answered')
    expect(answer.headers.get('x-version')).toBeNull()
  })

  it('lets chunks pass while it looks at them', async () => {
    await start(`function envoy_on_response(h)
      local n = 0
      for chunk in h:bodyChunks() do n = n + chunk:length() end
      h:streamInfo():dynamicMetadata():set("mine", "length", n)
      h:logWarn("length " .. h:streamInfo():dynamicMetadata():get("mine").length)
    end`)
    expect(await (await send()).text()).toBe('upstream body')
    expect(proxy!.warnings).toContain('lua: script log: length 13')
  })

  it('answers by itself', async () => {
    await start(`function envoy_on_request(h)
      if h:headers():get(":path") == "/tea" then
        h:respond({[":status"] = "418", ["x-by"] = {"lua", "script"}}, "teapot")
      end
    end`)
    const answer = await send('/tea')
    expect([answer.status, answer.headers.get('x-by'), await answer.text()]).toEqual([418, 'lua, script', 'teapot'])
    expect((await send('/coffee')).status).toBe(200)
    expect(seen).toHaveLength(1)
  })

  it('asks another cluster, and hears what became of it', async () => {
    await start(`function envoy_on_request(h)
      local headers, body = h:httpCall("up", {[":method"] = "POST", [":path"] = "/check", [":authority"] = "auth"}, "who?", 1000)
      h:headers():add("x-checked", headers[":status"] .. body)
      headers, body = h:httpCall("dead", {[":method"] = "GET", [":path"] = "/", [":authority"] = "d"}, nil, 1000)
      h:headers():add("x-dead", headers[":status"] .. body)
    end`)
    expect((await send('/x', { method: 'POST', body: 'own' })).status).toBe(200)
    expect(seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['POST', '/check', 'who?'],
      ['POST', '/x', 'own'],
    ])
    expect(seen[0]!.headers).toMatchObject({ host: 'auth', 'x-envoy-internal': 'true' })
    expect(seen[1]!.headers['x-checked']).toBe('200upstream body')
    expect(seen[1]!.headers['x-dead']).toMatch(/^503upstream connect error/)
  })

  it.each([
    ['an error of its own', 'error("boom")', 'boom'],
    ['a method that is not there', 'h:nothere()', 'nothere'],
    [
      'an object from before a wait',
      'local hs = h:headers() h:body() hs:add("a", "b")',
      'object used outside of proper scope',
    ],
    [
      'a cluster that is not there',
      'h:httpCall("nope", {[":method"] = "GET", [":path"] = "/", [":authority"] = "a"}, nil, 9)',
      'cluster invalid',
    ],
  ])('%s ends the script, is counted and logged, and the request goes on', async (_what, code, words) => {
    await start(`function envoy_on_request(h) ${code} end`)
    expect((await send('/', { method: 'POST', body: 'x' })).status).toBe(200)
    expect(proxy!.counter('http.h.lua.errors')).toBe(1)
    expect(proxy!.warnings.at(-1)).toContain(words)
  })

  it('a script that does not load refuses the configuration', async () => {
    await expect(start('function envoy_on_request(h')).rejects.toThrow(/script load error: .*expected/)
  })

  it.each([
    [{ disabled: true }, undefined],
    [
      {
        source_code: {
          inline_string: 'function envoy_on_request(h) h:headers():add("x-own", h:filterContext():get("a")) end',
        },
        filter_context: { a: 'ctx' },
      },
      'ctx',
    ],
  ])('a route has a script of its own, or none: %j', async (perRoute, own) => {
    await start('function envoy_on_request(h) h:headers():add("x-common", "1") end', {
      '@type': `${LUA}PerRoute`,
      ...perRoute,
    })
    await send()
    expect(seen[0]!.headers['x-common']).toBeUndefined()
    expect(seen[0]!.headers['x-own']).toBe(own)
  })

  it('reads the metadata of the route and what is known of the stream', async () => {
    await start(`function envoy_on_request(h)
      local list = h:metadata():get("list")
      h:headers():add("x-list", #list .. list[4] .. tostring(list[3]) .. list[2])
      h:headers():add("x-info", h:streamInfo():protocol() .. tostring(h:connection():ssl()))
    end`)
    await send()
    expect(seen[0]!.headers).toMatchObject({ 'x-list': '4strue2.5', 'x-info': 'HTTP/1.1nil' })
  })

  it('changes the chunks that pass, the reason phrase, and counts for itself', async () => {
    await start(`function envoy_on_response(h)
      h:headers():remove("content-length")
      h:headers():replace(":status", "429")
      h:headers():setHttp1ReasonPhrase("Slow Down")
      h:headers():add("x-path", h:requestHeaders():get(":path"))
      h:headers():add("x-decoded", h:base64Decode("aGVsbG8="))
      h:stats():counter("answers"):add(2)
      local last
      for chunk in h:bodyChunks() do
        chunk:setBytes("")
        last = chunk
      end
      last:setBytes("instead")
    end`)
    const answer = await send('/p')
    expect([answer.status, answer.statusText, await answer.text()]).toEqual([429, 'Slow Down', 'instead'])
    expect(answer.headers.get('x-path')).toBe('/p')
    expect(answer.headers.get('x-decoded')).toBe('hello')
    expect(proxy!.counter('http.h.lua.answers')).toBe(2)
  })

  it.each([
    ['for k in pairs(h:headers()) do h:headers():add("a", "b") end', 'header map cannot be modified while iterating'],
    ['for c in h:bodyChunks() do h:respond({[":status"] = "403"}, "") end', 'if headers have been continued'],
    ['coroutine.yield()', 'script performed an unexpected yield'],
    ['error({})', 'unspecified lua error'],
    ['h:respond({[":status"] = "200", a = true})', '(string expected, got boolean)'],
    ['h:body("yes")', "bad argument #1 to 'body' (boolean expected, got string)"],
    ['h:httpCall("up", {}, nil, {soon = 1})', '"soon" is not valid key for httpCall() options'],
    ['h:streamInfo():dynamicMetadata():set("a", "b", print)', "unexpected type 'function' in dynamicMetadata"],
    ['saved = saved or h h = saved h:headers()', undefined],
  ])('%s', async (code, words) => {
    await start(`function envoy_on_request(h) ${code} end`)
    expect((await send('/', { method: 'POST', body: 'x' })).status).toBe(200)
    if (words === undefined) {
      await send()
      expect(proxy!.warnings.at(-1)).toContain('object used outside of proper scope')
    } else expect(proxy!.warnings.at(-1)).toContain(words)
    expect(proxy!.counter('http.h.lua.errors')).toBe(1)
  })

  it.each([
    ['h:headers():add("x-bad", "a\\nb")', 'invalid header value for: x-bad'],
    ['h:headers():remove(":method")', 'missing required header: :method'],
  ])('what cannot be sent is refused: %s', async (code, words) => {
    await start(`function envoy_on_request(h) ${code} end`)
    const answer = await send()
    expect([answer.status, await answer.text()]).toEqual([503, words])
    expect(seen).toEqual([])
  })
})

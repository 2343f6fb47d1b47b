import { beforeAll, describe, expect, it } from 'vitest'
import { LuaScript } from '../src/proxy/filters/lua/script.ts'
import { SystemRuntime } from '../src/runtime-system.ts'

/** What a real Envoy's LuaJIT answers to each; all of it was seen of one. */
const expressions: readonly (readonly [string, string])[] = [
  ['tostring(10/2), 7/2, 1e15, 2^53', '5 | 3.5 | 1e+15 | 9.007199254741e+15'],
  ['2147483647 + 1, 0xFFFFFFFF, 4294967296', '2147483648 | 4294967295 | 4294967296'],
  ['1/0, -1/0, 10 .. 20, "10" + 5', 'inf | -inf | 1020 | 15'],
  ['string.format("%d %d %5d|%-5d|%05d", 3.0, 3.7, 42, 42, 42)', '3 3    42|42   |00042'],
  ['string.format("%g %e %.3f %x", 1e20, 12345.678, 3.14159, 255)', '1e+20 1.234568e+04 3.142 ff'],
  ['string.format("%x", -1)', 'ffffffffffffffff'],
  ['unpack({1, 2, 3})', '1 | 2 | 3'],
  ['loadstring("return 1 + 1")()', '2'],
  ['table.getn({1, 2}), table.maxn({1, [9] = 1}), math.pow(2, 10)', '2 | 9 | 1024'],
  ['bit.band(255, 15), bit.bxor(5, 3), bit.bnot(0), bit.lshift(1, 31)', '15 | 6 | -1 | -2147483648'],
  ['bit.tohex(255), bit.rshift(-1, 28), bit.bswap(0x12345678)', '000000ff | 15 | 2018915346'],
  ['string.match("a\\0b", "%z") == "\\0", _VERSION, jit.version_num', 'true | Lua 5.1 | 20199'],
  ['math.mod, string.gfind, string.pack, utf8, math.type', 'nil | nil | nil | nil | nil'],
  [
    '(function() local f = function() return x end setfenv(f, {x = "env"}) return f(), getfenv(f).x end)()',
    'env | env',
  ],
  ['pcall(function() local x; x.y = 1 end)', "false | t:1: attempt to index local 'x' (a nil value)"],
  ['pcall(function() nowhere() end)', "false | t:1: attempt to call global 'nowhere' (a nil value)"],
  ['pcall(function() return {} .. "x" end)', 'false | t:1: attempt to concatenate a table value'],
  ['loadstring("return 7 // 2")', `nil | [string "return 7 // 2"]:1: unexpected symbol near '/'`],
  ['loadstring("x = = 1")', `nil | [string "x = = 1"]:1: unexpected symbol near '='`],
  ['loadstring("if x then")', `nil | [string "if x then"]:1: 'end' expected near '<eof>'`],
  ['(function() for i = 1, 3 do if i == 2 then goto out end end ::out:: return "goto" end)()', 'goto'],
  ['coroutine.wrap(function() return pcall(function() coroutine.yield(1) end) end)()', '1'],
  ['os.date("!%Y-%m-%dT%H:%M:%SZ %j", 0), os.date("!*t", 86400).day', '1970-01-01T00:00:00Z 001 | 2'],
  ['io.open("/nonexistent/file")', 'nil | /nonexistent/file: No such file or directory | 2'],
  ['require("bit") == bit, pcall(require, "ffi") == false', 'true | true'],
  ['(function() local s = "" for k, v in pairs({x = 0, "a", "b", "c"}) do s = s .. v end return s end)()', 'abc0'],
  ['(function() local s = 0 for i = 0, 1, 0.25 do s = s + 1 end return s end)()', '5'],
]

describe('scripts are written for the LuaJIT that Envoy has', () => {
  let evaluate: (expression: string) => string
  beforeAll(() => {
    const { api } = new LuaScript('', new SystemRuntime())
    evaluate = (expression) => {
      api.string(api.main, expression)
      api.loadWith(
        `local f, problem = loadstring("return " .. ..., "=t")
         local r = f and {n = select("#", f()), f()} or {n = 1, problem}
         local out = {}
         for i = 1, r.n do out[i] = tostring(r[i]) end
         result = table.concat(out, " | ")`,
        '=test',
        1,
      )
      const { lua, main } = api
      lua.lua_getglobal(main, Buffer.from('result'))
      const text = Buffer.from(lua.lua_tostring(main, -1)!).toString()
      lua.lua_pop(main, 1)
      return text
    }
  })

  it.each(expressions)('%s', (expression, result) => {
    expect(evaluate(expression)).toBe(result)
  })

  it('a script without an end is stopped, also where it catches errors', () => {
    const endless = 'while true do pcall(function() while true do end end) end'
    expect(() => new LuaScript(endless, new SystemRuntime())).toThrow(
      /script load error: .*stopped after \d+ instructions/,
    )
  }, 60_000)
})

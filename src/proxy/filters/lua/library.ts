import type { Runtime } from '../../../runtime.ts'
import { bytes } from './bytes.ts'
import { formatTime } from './date.ts'
import type { LuaApi, LuaState } from './engine.ts'
import { FILES, readFile, writeFile } from './files.ts'
import { stringFormat } from './format.ts'

/** What LuaJIT's libraries have and Lua 5.3's lack; `...` is a table of functions of ours. */
const PRELUDE = `
local native = ...
_VERSION = "Lua 5.1"
unpack = table.unpack
loadstring = load
gcinfo = function() return collectgarbage("count") end
newproxy = native.newproxy
EnvoyTimestampResolution = { MILLISECOND = 0, MICROSECOND = 1 }

table.getn = function(t) return #t end
table.maxn = function(t)
  local m = 0
  for k in pairs(t) do if type(k) == "number" and k > m then m = k end end
  return m
end
table.foreach = function(t, f) for k, v in pairs(t) do local r = f(k, v) if r ~= nil then return r end end end
table.foreachi = function(t, f) for i = 1, #t do local r = f(i, t[i]) if r ~= nil then return r end end end

math.pow = function(a, b) return a ^ b end
math.atan2 = native.atan2
math.cosh, math.sinh, math.tanh = native.cosh, native.sinh, native.tanh
math.log10 = native.log10
math.frexp, math.ldexp = native.frexp, native.ldexp
math.tointeger, math.type, math.ult, math.maxinteger, math.mininteger = nil

string.format = native.format
string.pack, string.packsize, string.unpack = nil
utf8, fengari = nil

local time, floor, now, format_time = os.time, math.floor, native.now, native.date
os.time = function(t) if t == nil then return floor(now()) end return time(t) end
os.date = function(f, t)
  f, t = f or "%c", t or floor(now())
  local utc = string.sub(f, 1, 1) == "!"
  if utc then f = string.sub(f, 2) end
  if string.sub(f, 1, 2) ~= "*t" then return format_time(f, t, utc) end
  local field = function(c) return tonumber(format_time(c, t, utc)) end
  return {
    year = field("%Y"), month = field("%m"), day = field("%d"), hour = field("%H"), min = field("%M"),
    sec = field("%S"), wday = field("%w") + 1, yday = field("%j"), isdst = false,
  }
end
os.clock = native.clock

collectgarbage = function(what)
  if what == "count" then return native.memory() end
  if what == "step" or what == "isrunning" then return what ~= "step" end
  return 0
end

local all, list = pairs, ipairs
local plain = { ["nil"] = true, number = true, boolean = true, ["function"] = true }
pairs = function(t)
  if plain[type(t)] then error("bad argument #1 to 'pairs' (table expected, got " .. type(t) .. ")", 2) end
  return all(t)
end
ipairs = function(t)
  if plain[type(t)] then error("bad argument #1 to 'ipairs' (table expected, got " .. type(t) .. ")", 2) end
  return list(t)
end

local getinfo, getupvalue, upvaluejoin = debug.getinfo, debug.getupvalue, debug.upvaluejoin
local function of(f, level)
  if type(f) == "function" then return f end
  local info = getinfo((f or 1) + level, "f")
  return info and info.func or error("bad argument #1 to 'setfenv' (invalid level)", level)
end
local function place(f)
  for i = 1, 255 do
    local name = getupvalue(f, i)
    if name == nil then return nil end
    if name == "_ENV" then return i end
  end
end
function getfenv(f)
  if f == 0 then return _G end
  f = of(f, 2)
  local i = place(f)
  if i == nil then return _G end
  local _, env = getupvalue(f, i)
  return env
end
function setfenv(f, env)
  if f == 0 then return end
  f = of(f, 2)
  local i = place(f)
  if i ~= nil then upvaluejoin(f, i, function() return env end, 1) end
  return f
end
debug.getfenv, debug.setfenv = getfenv, setfenv

package.jspath = nil
package.cpath = "./?.so;/usr/local/lib/lua/5.1/?.so;/usr/local/lib/lua/5.1/loadall.so"
package.path = "./?.lua;/usr/local/share/luajit-2.1/?.lua;/usr/local/share/lua/5.1/?.lua;/usr/local/share/lua/5.1/?/init.lua"
package.loadlib = function() return nil, "dynamic libraries not enabled; check your Lua installation", "absent" end
package.searchers[3], package.searchers[4] = nil, nil
package.loaders = package.searchers
package.seeall = function(m) setmetatable(m, { __index = _G }) end
function module(name, ...)
  local m = package.loaded[name]
  if type(m) ~= "table" then
    m = _G
    for part in string.gmatch(name, "[^.]+") do
      m[part] = m[part] or {}
      m = m[part]
    end
    package.loaded[name] = m
  end
  m._M, m._NAME, m._PACKAGE = m, name, string.match(name, "(.*%.)") or ""
  setfenv(2, m)
  for _, f in ipairs({ ... }) do f(m) end
end

bit = native.bit
local nothing = function() end
jit = {
  version = "LuaJIT 2.1.ROLLING", version_num = 20199, os = "Linux", arch = "x64", opt = { start = nothing },
  on = nothing, off = nothing, flush = nothing, attach = nothing, security = nothing,
  status = function() return false end,
}
package.loaded.bit, package.loaded.jit = bit, jit
package.loaded.utf8, package.loaded.fengari = nil
package.preload["table.new"] = function() return function() return {} end end
package.preload["table.clear"] = function() return function(t) for k in pairs(t) do t[k] = nil end end end
for _, name in ipairs({ "ffi", "string.buffer", "jit.util", "jit.profile" }) do
  package.preload[name] = function() error("module '" .. name .. "' needs LuaJIT itself, which does not run here") end
end
`

const MATH: Readonly<Record<string, (x: number, y: number) => number>> = {
  atan2: Math.atan2,
  cosh: Math.cosh,
  sinh: Math.sinh,
  tanh: Math.tanh,
  log10: Math.log10,
  ldexp: (x, e) => x * 2 ** e,
}

/** LuaJIT's `bit`: numbers are taken modulo 2^32, and come out signed. */
const toBit = (n: number): number => Number(BigInt.asIntN(32, BigInt(Number.isFinite(n) ? roundEven(n) : 0)))

function roundEven(n: number): number {
  const floor = Math.floor(n)
  const rest = n - floor
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor
}

const BIT: Readonly<Record<string, (a: number, b: number) => number>> = {
  tobit: (a) => a,
  bnot: (a) => ~a,
  bswap: (a) => ((a >>> 24) & 0xff) | ((a >>> 8) & 0xff00) | ((a << 8) & 0xff0000) | (a << 24),
  lshift: (a, n) => a << n,
  rshift: (a, n) => (a >>> n) | 0,
  arshift: (a, n) => a >> n,
  rol: (a, n) => (a << n) | (a >>> -n),
  ror: (a, n) => (a << -n) | (a >>> n),
}

const FOLD: Readonly<Record<string, (a: number, b: number) => number>> = {
  band: (a, b) => a & b,
  bor: (a, b) => a | b,
  bxor: (a, b) => a ^ b,
}

function frexp(x: number): [number, number] {
  if (x === 0 || !Number.isFinite(x)) return [x, 0]
  let exponent = Math.max(-1023, Math.floor(Math.log2(Math.abs(x))) + 1)
  let mantissa = x * 2 ** -exponent
  while (Math.abs(mantissa) < 0.5) {
    mantissa *= 2
    exponent--
  }
  while (Math.abs(mantissa) >= 1) {
    mantissa /= 2
    exponent++
  }
  return [mantissa, exponent]
}

function tohex(api: LuaApi, L: LuaState): number {
  const value = toBit(api.aux.luaL_checknumber(L, 1)) >>> 0
  const given = api.lua.lua_isnoneornil(L, 2) ? 8 : Math.trunc(api.aux.luaL_checknumber(L, 2))
  const digits = Math.min(8, Math.abs(given))
  const text = value
    .toString(16)
    .padStart(8, '0')
    .slice(8 - digits)
  api.string(L, given < 0 ? text.toUpperCase() : text)
  return 1
}

/** Makes the libraries of a new Lua state those of LuaJIT. The clock is the runtime's. */
export function openLibraries(api: LuaApi, runtime: Runtime): void {
  const { lua, aux, main } = api
  const set = (name: string, call: (L: LuaState) => number): void => {
    lua.lua_pushcfunction(main, call)
    lua.lua_setfield(main, -2, bytes(name))
  }
  const number = (L: LuaState, n: number): number => {
    lua.lua_pushnumber(L, n)
    return 1
  }
  lua.lua_newtable(main)
  for (const [name, of] of Object.entries(MATH))
    set(name, (L) => number(L, of(aux.luaL_checknumber(L, 1), lua.lua_tonumber(L, 2))))
  set('frexp', (L) => {
    const [mantissa, exponent] = frexp(aux.luaL_checknumber(L, 1))
    lua.lua_pushnumber(L, mantissa)
    lua.lua_pushnumber(L, exponent)
    return 2
  })
  set('format', (L) => stringFormat(api, L))
  set('date', (L) => {
    const format = Buffer.from(api.stringArg(L, 1), 'latin1').toString()
    api.string(L, formatTime(format, aux.luaL_checknumber(L, 2), lua.lua_toboolean(L, 3)))
    return 1
  })
  set('memory', (L) => number(L, process.memoryUsage.rss() / 1024))
  set('readFile', (L) => readFile(api, L))
  set('writeFile', (L) => writeFile(api, L))
  set('now', (L) => number(L, runtime.wallNow() / 1000))
  set('clock', (L) => number(L, runtime.now() / 1000))
  set('newproxy', (L) => {
    lua.lua_newuserdata(L, 0)
    return 1
  })
  lua.lua_newtable(main)
  for (const [name, of] of Object.entries(BIT))
    set(name, (L) => number(L, of(toBit(aux.luaL_checknumber(L, 1)), toBit(lua.lua_tonumber(L, 2) || 0)) | 0))
  for (const [name, of] of Object.entries(FOLD)) {
    set(name, (L) => {
      let value = toBit(aux.luaL_checknumber(L, 1))
      for (let i = 2; i <= lua.lua_gettop(L); i++) value = of(value, toBit(aux.luaL_checknumber(L, i)))
      return number(L, value | 0)
    })
  }
  set('tohex', (L) => tohex(api, L))
  lua.lua_setfield(main, -2, bytes('bit'))
  api.loadWith(PRELUDE + FILES, '=prelude', 1)
}

import { createRequire } from 'node:module'
import { numberText, parseNumber } from './number.ts'

type Fn = (...args: never[]) => unknown
type Module = Record<string, unknown>
type Lexer = { t: { token: number } }

/** Tokens of Lua 5.3 that 5.1 does not know. A `//` is a division followed by another, for 5.1. */
const DIVISION = 47
const LESS = 60
/** Slots of a coroutine's stack before it overflows, as in LuaJIT. */
const MAX_STACK = 65_500
const QUOTE = 39
const NEWER_SYMBOLS = new Set([38 /* & */, 124 /* | */, 126 /* ~ */])

/**
 * Loads fengari, a Lua 5.3 in JavaScript, as the dialect that Envoy's LuaJIT speaks: all numbers are doubles, what is
 * no integer is cut where one is asked for, operators that 5.1 lacks do not parse, and messages are 5.1's.
 *
 * fengari is kept because coroutines may yield across `pcall` and iterators in it, as in LuaJIT, which the reference
 * implementation of 5.1 refuses, and because scripts call into the proxy without a border between two memories.
 * Its modules bind each other's functions when they load: the order below matters, and the version is pinned.
 */
export function loadLuaJit(): unknown {
  const require = createRequire(import.meta.url)
  const load = (name: string): Module => require(`fengari/src/${name}.js`) as Module
  const before = process.env.FENGARICONF
  process.env.FENGARICONF = JSON.stringify({ LUA_COMPAT_FLOATSTRING: true, LUAI_MAXSTACK: MAX_STACK })

  const types = load('defs').constant_types as Record<string, number>
  types.LUA_TNUMINT = types.LUA_TNUMFLT!
  load('luaconf').lua_number2str = numberText
  const limits = load('llimits')
  limits.lua_assert = limits.api_check = () => {}
  const api = load('lapi')
  const objects = load('lobject')
  ;(objects.TValue as { prototype: Module }).prototype.ttisinteger = () => false
  // fengari forgets to allow hooks again after an error that was caught, and then an endless script has no end.
  const { prototype } = load('lstate').lua_State as { prototype: object }
  Object.defineProperty(prototype, 'allowhook', { get: () => 1, set: () => {} })
  api.lua_pushinteger = api.lua_pushnumber
  api.lua_isinteger = () => false
  objects.luaO_str2num = (text: Uint8Array, into: { setfltvalue(n: number): void }): number => {
    const n = parseNumber(Buffer.from(text).toString('latin1'))
    if (n === undefined) return 0
    into.setfltvalue(n)
    return text.length + 1
  }
  objects.luaO_pushvfstring = olderMessages(objects.luaO_pushvfstring as Fn)
  refuseNewerSyntax(load('llex'))

  orderArrays(load('ltable'))

  const aux = load('lauxlib')
  const checkNumber = aux.luaL_checknumber as (L: unknown, arg: number) => number
  const isNone = load('lua').lua_isnoneornil as (L: unknown, arg: number) => boolean
  const checkInteger = (L: unknown, arg: number): number => Math.trunc(checkNumber(L, arg)) || 0
  aux.luaL_checkinteger = checkInteger
  aux.luaL_optinteger = (L: unknown, arg: number, otherwise: number): number =>
    isNone(L, arg) ? otherwise : checkInteger(L, arg)

  const loaded = require('fengari') as unknown
  if (before === undefined) delete process.env.FENGARICONF
  else process.env.FENGARICONF = before
  return loaded
}

/** 5.1 says "index local 'x' (a nil value)" where 5.3 says "index a nil value (local 'x')". */
function olderMessages(push: Fn): (L: unknown, format: Uint8Array, args: unknown[]) => unknown {
  const call = push as (L: unknown, format: Uint8Array, args: unknown[]) => unknown
  const newer = Buffer.from('attempt to %s a %s value%s')
  const older = Uint8Array.from(Buffer.from('attempt to %s %s (a %s value)'))
  const border = Buffer.from('attempt to yield across a JS-call boundary')
  const borderAsKnown = Uint8Array.from(Buffer.from('attempt to yield across C-call boundary'))
  return (L, format, args) => {
    if (format.length === border.length && border.equals(format)) return call(L, borderAsKnown, args)
    if (args.length !== 3 || !newer.equals(format)) return call(L, format, args)
    const [what, type, where] = args as [unknown, unknown, Uint8Array]
    const named = Buffer.from(where).toString('latin1')
    const inner = / \(((?:local|upvalue|global|field|method) '.*')\)$/.exec(named)?.[1]
    if (inner === undefined) return call(L, format, [what, type, new Uint8Array(0)])
    return call(L, older, [what, Uint8Array.from(Buffer.from(inner, 'latin1')), type])
  }
}

function refuseNewerSyntax(lexer: Module): void {
  const names = lexer.RESERVED as Record<string, number>
  const newer = new Set([...NEWER_SYMBOLS, names.TK_SHL, names.TK_SHR])
  const words = lexer.luaX_tokens as Uint8Array[]
  words.forEach((word, i) => {
    if (word[0] === LESS) words[i] = Uint8Array.from([QUOTE, ...word, QUOTE])
  })
  const next = lexer.luaX_next as (ls: Lexer) => void
  const fail = lexer.luaX_syntaxerror as (ls: Lexer, message: Uint8Array) => never
  lexer.luaX_syntaxerror = (ls: Lexer, message: Uint8Array): never => {
    const said = Buffer.from(message).toString('latin1')
    return fail(ls, said === 'syntax error' ? Uint8Array.from(Buffer.from("'=' expected")) : message)
  }
  lexer.luaX_next = (ls: Lexer): void => {
    next(ls)
    const { token } = ls.t
    if (token !== names.TK_IDIV && !newer.has(token)) return
    if (token === names.TK_IDIV) ls.t.token = DIVISION
    fail(ls, Uint8Array.from(Buffer.from('unexpected symbol')))
  }
}

interface Entry {
  p: Entry | null | undefined
  n: Entry | undefined
}
interface Table {
  readonly strong: Map<unknown, Entry>
  f: Entry | undefined
  l: Entry | undefined
}

/**
 * `pairs` gives the places of a list in order and before other keys, as tables with an array part do. fengari keeps the
 * order of insertion, and inserts what a constructor lists from its end on.
 */
function orderArrays(tables: Module): void {
  const setInt = tables.luaH_setint as (t: Table, key: number, value: unknown) => void
  const setFrom = tables.luaH_setfrom as (L: unknown, t: Table, key: { value: unknown }, value: unknown) => void
  tables.luaH_setint = (t: Table, key: number, value: unknown): void => {
    const last = t.l
    setInt(t, key, value)
    if (t.l !== last && last !== undefined) place(t, key)
  }
  tables.luaH_setfrom = (L: unknown, t: Table, key: { value: unknown }, value: unknown): void => {
    const last = t.l
    setFrom(L, t, key, value)
    if (typeof key.value === 'number' && t.l !== last && last !== undefined) place(t, key.value)
  }
}

/** Moves the entry that has just come in at the end to where a list has it. */
function place(t: Table, key: number): void {
  const entry = t.strong.get(key)
  if (entry === undefined || entry !== t.l) return
  const before = t.strong.get(key - 1)
  if (before !== undefined) {
    moveBehind(t, entry, before)
    return
  }
  const after = t.strong.get(key + 1)
  if (key === 1) {
    moveBehind(t, entry, undefined)
    for (let at = entry, k = 2, next = after; next !== undefined; at = next, next = t.strong.get(++k))
      moveBehind(t, next, at)
  } else if (after !== undefined) moveBehind(t, entry, after.p ?? undefined)
}

/** Puts an entry behind another; undefined: first of all. */
function moveBehind(t: Table, entry: Entry, before: Entry | undefined): void {
  if (entry === before || (entry.p ?? undefined) === before) return
  if (entry.p) entry.p.n = entry.n
  if (entry.n !== undefined) entry.n.p = entry.p
  if (t.f === entry) t.f = entry.n
  if (t.l === entry) t.l = entry.p ?? undefined
  const after = before === undefined ? t.f : before.n
  entry.p = before ?? null
  entry.n = after
  if (before === undefined) t.f = entry
  else before.n = entry
  if (after === undefined) t.l = entry
  else after.p = entry
}

import { createPublicKey, verify } from 'node:crypto'
import { cString } from './bytes.ts'
import { type LuaApi, type LuaState, luaClass } from './engine.ts'

const HASHES = new Set(['sha1', 'sha224', 'sha256', 'sha384', 'sha512'])

/** Public keys that scripts have imported, by the id they are given back by: the DER text up to its first zero byte. */
export type PublicKeys = Map<string, Buffer>

const PUBLIC_KEY = luaClass<string | undefined>('PublicKeyWrapper', {
  get(id, api, L) {
    if (id === undefined) api.lua.lua_pushnil(L)
    else api.string(L, id)
    return 1
  },
})

/** Bytes of a string argument, so many as the argument behind it says. */
function sizedArg(api: LuaApi, L: LuaState, index: number): Buffer {
  const whole = Buffer.from(api.stringArg(L, index), 'latin1')
  return whole.subarray(0, Math.max(0, api.integerArg(L, index + 1)))
}

function isKey(der: Buffer): boolean {
  try {
    createPublicKey({ key: der, format: 'der', type: 'spki' })
    return true
  } catch {
    return false
  }
}

/** `importPublicKey(der, length)`. */
export function importPublicKey(keys: PublicKeys, api: LuaApi, L: LuaState): number {
  const id = cString(api.stringArg(L, 2))
  const der = sizedArg(api, L, 2)
  const good = isKey(der)
  if (good) keys.set(id, Buffer.from(der))
  api.object(L, PUBLIC_KEY, good ? id : undefined)
  return 1
}

/** `verifySignature(hash, key, signature, length, data, length)`. */
export function verifySignature(keys: PublicKeys, api: LuaApi, L: LuaState): number {
  const hash = cString(api.stringArg(L, 2))
  const id = cString(api.stringArg(L, 3))
  const signature = sizedArg(api, L, 4)
  const data = sizedArg(api, L, 6)
  const key = keys.get(id)
  if (key === undefined) return api.fail(L, 'invalid public key')
  const problem = check(hash, key, signature, data)
  api.lua.lua_pushboolean(L, problem === undefined)
  if (problem === undefined) api.lua.lua_pushnil(L)
  else api.string(L, problem)
  return 2
}

function check(hash: string, der: Buffer, signature: Buffer, data: Buffer): string | undefined {
  if (!HASHES.has(hash.toLowerCase())) return `${hash} is not supported.`
  try {
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
    if (verify(hash.toLowerCase(), data, key, signature)) return undefined
  } catch {
    // A signature that is none of that key's is one that does not hold.
  }
  return 'Failed to verify digest. Error code: 0'
}

import { type JsonValue, ScalarType } from '@bufbuild/protobuf'
import { base64Decode } from '@bufbuild/protobuf/wire'

/** A value that does not fit its field's type. */
export class Refusal extends Error {}

/** Reads a scalar from proto3 JSON: 64-bit integers become bigints, numbers may stand in quotes, bytes are base64. */
export function decodeScalar(type: ScalarType, json: JsonValue): string | number | bigint | boolean | Uint8Array {
  switch (type) {
    case ScalarType.STRING:
      if (typeof json !== 'string') throw new Refusal(`expected a string, got ${show(json)}`)
      return json
    case ScalarType.BOOL:
      if (typeof json !== 'boolean') throw new Refusal(`expected true or false, got ${show(json)}`)
      return json
    case ScalarType.BYTES:
      return bytes(json)
    case ScalarType.FLOAT:
    case ScalarType.DOUBLE:
      return float(json)
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return Number(integer(json, -(2n ** 31n), 2n ** 31n - 1n))
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return Number(integer(json, 0n, 2n ** 32n - 1n))
    case ScalarType.INT64:
    case ScalarType.SINT64:
    case ScalarType.SFIXED64:
      return integer(json, -(2n ** 63n), 2n ** 63n - 1n)
    default:
      return integer(json, 0n, 2n ** 64n - 1n)
  }
}

function integer(json: JsonValue, min: bigint, max: bigint): bigint {
  const text = typeof json === 'number' ? json.toString() : json
  if (typeof text !== 'string' || !/^-?\d+(\.0*)?$|^-?\d+(\.\d+)?e\+?\d+$/i.test(text))
    throw new Refusal(`expected an integer, got ${show(json)}`)
  const number = Number(text)
  if (!Number.isInteger(number)) throw new Refusal(`expected an integer, got ${show(json)}`)
  const value = /^-?\d+$/.test(text) ? BigInt(text) : BigInt(number)
  if (value < min || value > max) throw new Refusal(`${text} is not between ${min} and ${max}`)
  return value
}

function float(json: JsonValue): number {
  if (typeof json === 'number') return json
  if (json === 'NaN') return Number.NaN
  if (json === 'Infinity') return Number.POSITIVE_INFINITY
  if (json === '-Infinity') return Number.NEGATIVE_INFINITY
  if (typeof json === 'string' && json.trim() === json && json !== '' && Number.isFinite(Number(json)))
    return Number(json)
  throw new Refusal(`expected a number, got ${show(json)}`)
}

function bytes(json: JsonValue): Uint8Array {
  if (typeof json !== 'string') throw new Refusal(`expected base64 text, got ${show(json)}`)
  try {
    return base64Decode(json)
  } catch {
    throw new Refusal('expected base64 text')
  }
}

function show(json: JsonValue): string {
  if (Array.isArray(json)) return 'a list'
  return typeof json === 'object' && json !== null ? 'an object' : JSON.stringify(json)
}

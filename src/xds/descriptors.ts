import {
  createFileRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  type FileRegistry,
  fromBinary,
} from '@bufbuild/protobuf'
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'

type Desc = DescMessage | DescEnum | DescExtension | DescService

// Field numbers of FileDescriptorSet, FileDescriptorProto, and of the name in every kind of descriptor.
const SET_FILE = 1
const FILE_NAME = 1
const FILE_PACKAGE = 2
const TOP_LEVEL = new Set([4, 5, 6, 7]) // message_type, enum_type, service, extension
const NAME = 1

/**
 * A registry over a descriptor set that decodes a file at the first request for one of its types, together with
 * the files it imports. A sidecar needs a fifth of Envoy's types; decoding all of them costs three times as long.
 */
export function lazyRegistry(set: Uint8Array): FileRegistry {
  const { bodies, owners } = scan(set)
  const files = new Map<string, DescFile>()
  const types = new Map<string, Desc>()

  const load = (name: string): DescFile => {
    const known = files.get(name)
    if (known) return known
    const batch: FileDescriptorProto[] = []
    const pending = new Set<string>()
    const collect = (file: string) => {
      if (files.has(file) || pending.has(file)) return
      const body = bodies.get(file)
      if (!body) throw new Error(`the descriptor set has no file ${file}`)
      pending.add(file)
      const proto = fromBinary(FileDescriptorProtoSchema, body)
      for (const dependency of proto.dependency) collect(dependency)
      batch.push(proto) // after what it imports
    }
    collect(name)
    for (const file of build(batch, files)) {
      files.set(file.proto.name, file)
      for (const type of typesOf(file)) types.set(type.typeName, type)
    }
    return files.get(name)!
  }

  const get = (typeName: string): Desc | undefined => {
    const known = types.get(typeName)
    if (known) return known
    for (let name = typeName; name; name = name.slice(0, Math.max(0, name.lastIndexOf('.')))) {
      const owner = owners.get(name)
      if (owner === undefined) continue
      load(owner)
      return types.get(typeName)
    }
    return undefined
  }
  const ofKind = <K extends Desc['kind']>(typeName: string, kind: K) => {
    const found = get(typeName)
    return found?.kind === kind ? (found as Extract<Desc, { kind: K }>) : undefined
  }
  const loadAll = () => {
    for (const name of bodies.keys()) load(name)
  }

  return {
    kind: 'registry',
    [Symbol.iterator]() {
      loadAll()
      return types.values()
    },
    get files() {
      loadAll()
      return files.values()
    },
    getFile: (name) => (bodies.has(name) ? load(name) : undefined),
    get,
    getMessage: (name) => ofKind(name, 'message'),
    getEnum: (name) => ofKind(name, 'enum'),
    getExtension: (name) => ofKind(name, 'extension'),
    getService: (name) => ofKind(name, 'service'),
    getExtensionFor(extendee, no) {
      for (const type of types.values())
        if (type.kind === 'extension' && type.number === no && type.extendee.typeName === extendee.typeName) return type
      return undefined
    },
  }
}

/**
 * Finds each file of the set, and which file holds each top-level type, without decoding any: a walk over tags and
 * lengths. It runs at every start, so it reads the bytes itself.
 */
function scan(set: Uint8Array): { bodies: Map<string, Uint8Array>; owners: Map<string, string> } {
  const bodies = new Map<string, Uint8Array>()
  const owners = new Map<string, string>()
  const reader = new Cursor(set)
  while (reader.at < set.length) {
    const { field, end } = reader.next()
    if (field === SET_FILE) {
      const start = reader.at
      const name = scanFile(reader, end, owners)
      bodies.set(name, set.subarray(start, end))
    }
    reader.at = end
  }
  return { bodies, owners }
}

function scanFile(reader: Cursor, fileEnd: number, owners: Map<string, string>): string {
  let name = ''
  let prefix = ''
  while (reader.at < fileEnd) {
    const { field, end } = reader.next()
    if (field === FILE_NAME) name = reader.text(end)
    else if (field === FILE_PACKAGE) prefix = `${reader.text(end)}.`
    else if (TOP_LEVEL.has(field)) {
      while (reader.at < end) {
        const inner = reader.next()
        if (inner.field === NAME) {
          owners.set(prefix + reader.text(inner.end), name)
          break
        }
        reader.at = inner.end
      }
    }
    reader.at = end
  }
  return name
}

/** A position in protobuf wire format. */
class Cursor {
  at = 0
  private readonly bytes: Buffer

  constructor(bytes: Uint8Array) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Reads a tag and, for a length-delimited field, its length: the content lies between `at` and `end`. */
  next(): { field: number; end: number } {
    const tag = this.varint()
    const field = tag >>> 3
    switch (tag & 7) {
      case 0: {
        const start = this.at
        this.varint()
        const end = this.at
        this.at = start
        return { field, end }
      }
      case 1:
        return { field, end: this.at + 8 }
      case 2: {
        const length = this.varint()
        return { field, end: this.at + length }
      }
      case 5:
        return { field, end: this.at + 4 }
      default:
        throw new Error('the descriptor set is broken')
    }
  }

  text(end: number): string {
    return this.bytes.toString('utf8', this.at, end)
  }

  private varint(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++]
      if (byte === undefined) throw new Error('the descriptor set is cut short')
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }
}

/** Links files that stand in import order. Those linked before are lent without their own imports, which nothing reads. */
function build(batch: FileDescriptorProto[], known: ReadonlyMap<string, DescFile>): DescFile[] {
  const imported = new Map<string, DescFile>()
  const lend = (name: string) => {
    const file = known.get(name)
    if (!file || imported.has(name)) return
    imported.set(name, { ...file, dependencies: [] })
    for (const index of file.proto.publicDependency) lend(file.proto.dependency[index]!)
  }
  for (const proto of batch) for (const name of proto.dependency) lend(name)
  if (imported.size === 0)
    return [...createFileRegistry({ $typeName: 'google.protobuf.FileDescriptorSet', file: batch }).files]
  const built: DescFile[] = []
  for (const proto of batch) {
    const resolve = (name: string) => imported.get(name)
    const file = createFileRegistry(proto, resolve).getFile(proto.name)!
    built.push(file)
    imported.set(proto.name, { ...file, dependencies: [] })
  }
  return built
}

function* typesOf(of: DescFile | DescMessage): Iterable<Desc> {
  const [messages, enums, extensions] =
    of.kind === 'file'
      ? [of.messages, of.enums, of.extensions]
      : [of.nestedMessages, of.nestedEnums, of.nestedExtensions]
  yield* enums
  yield* extensions
  if (of.kind === 'file') yield* of.services
  for (const message of messages) {
    yield message
    yield* typesOf(message)
  }
}

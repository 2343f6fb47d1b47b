import {
  create,
  createFileRegistry,
  type DescEnum,
  type DescExtension,
  type DescFile,
  type DescMessage,
  type DescService,
  type FileRegistry,
  type Message,
} from '@bufbuild/protobuf'
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt'

type Desc = DescMessage | DescEnum | DescExtension | DescService

/**
 * A registry over a descriptor set, as scripts/descriptor-lines.mjs writes it, that reads a file at the first request
 * for one of its types, together with the files it imports. A sidecar needs a fifth of Envoy's types; reading all of
 * them costs three times as long.
 */
export function lazyRegistry(lines: string): FileRegistry {
  const [index, ...texts] = lines.split('\n')
  const bodies = new Map<string, string>()
  const owners = new Map<string, string>()
  for (const [i, [name, ...typeNames]] of (JSON.parse(index!) as [string, ...string[]][]).entries()) {
    bodies.set(name, texts[i]!)
    for (const typeName of typeNames) owners.set(typeName, name)
  }
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
      const proto = restored(FileDescriptorProtoSchema, JSON.parse(body)) as FileDescriptorProto
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
 * Makes the message that `object` was before it became JSON, in place. It has all its lists, and of the other fields
 * those that are set; the defaults are in its prototype.
 */
function restored(schema: DescMessage, object: Record<string, unknown>): Message {
  const { prototype, inside } = partsOf(schema)
  Object.setPrototypeOf(object, prototype)
  object.$typeName = schema.typeName
  for (const [name, type] of inside) {
    const value = object[name]
    if (Array.isArray(value)) for (const item of value) restored(type, item)
    else if (value) restored(type, value as Record<string, unknown>)
  }
  const unknown = object.$unknown as { data: unknown }[] | undefined
  for (const option of unknown ?? []) option.data = new Uint8Array(Buffer.from(option.data as string, 'base64'))
  return object as unknown as Message
}

/** The prototype of a type's messages, and those of its fields that hold messages. */
interface Parts {
  readonly prototype: object
  readonly inside: readonly [string, DescMessage][]
}

const parts = new Map<DescMessage, Parts>()

function partsOf(schema: DescMessage): Parts {
  let found = parts.get(schema)
  if (!found) {
    const inside = schema.fields.flatMap((f) => (f.message ? [[f.localName, f.message] as [string, DescMessage]] : []))
    found = { prototype: Object.getPrototypeOf(create(schema)) as object, inside }
    parts.set(schema, found)
  }
  return found
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

import fs from 'node:fs'
import path from 'node:path'
import { createFileRegistry, type DescField, type DescMessage, fromBinary, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { expect, test } from 'vitest'
import { lazyRegistry } from '../src/xds/descriptors.ts'

const gen = path.join(import.meta.dirname, '..', 'gen')
const set = fs.readFileSync(path.join(gen, 'descriptors.jsonl'), 'latin1')
const eager = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, fs.readFileSync(path.join(gen, 'descriptors.binpb'))),
)

const shape = (message: DescMessage) =>
  message.fields.map((field: DescField) => [
    field.name,
    field.number,
    field.fieldKind,
    field.message?.typeName ?? field.enum?.typeName ?? field.scalar,
    field.oneof?.name,
  ])

test('types that are decoded one by one are those of the whole set, in whatever order they are asked for', () => {
  for (const order of ['as they come', 'backwards'] as const) {
    const lazy = lazyRegistry(set)
    const names = [...eager].map((type) => type.typeName)
    if (order === 'backwards') names.reverse()
    for (const name of names) {
      const type = lazy.get(name)!
      expect(type.kind).toBe(eager.get(name)!.kind)
      if (type.kind !== 'message') continue
      expect(shape(type)).toEqual(shape(eager.getMessage(name)!))
      // One type has one descriptor, however it was reached.
      for (const field of type.fields)
        if (field.message) expect(lazy.getMessage(field.message.typeName)).toBe(field.message)
    }
    expect([...lazy].length).toBe(names.length)
  }
})

test('files and extensions are found too, and what is not there is not', () => {
  const lazy = lazyRegistry(set)
  expect(lazy.getMessage('envoy.type.v3.Percent')!.fields.length).toBe(1)
  expect(lazy.getMessage('envoy.type.v3.Percents')).toBeUndefined()
  expect(lazy.getFile('no/such.proto')).toBeUndefined()
  expect(lazy.getFile('envoy/type/v3/percent.proto')!.messages.map((m) => m.name)).toContain('FractionalPercent')
  const rules = lazy.getExtension('validate.rules')!
  expect(lazy.getExtensionFor(rules.extendee, 1071)).toBe(rules)
})

test('files are those of the compiler, byte for byte, with all options', () => {
  const lazy = lazyRegistry(set)
  for (const { proto } of eager.files) {
    const found = lazy.getFile(proto.name)!.proto
    expect(toBinary(FileDescriptorProtoSchema, found)).toEqual(toBinary(FileDescriptorProtoSchema, proto))
  }
})

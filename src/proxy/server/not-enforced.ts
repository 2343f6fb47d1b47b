import type { Message } from '@bufbuild/protobuf'
import { schemaOf } from '../../xds/messages.ts'

/** Collects the config fields that have no effect here, each told once: `not enforced yet: <path>`. */
export class NotEnforced {
  private readonly told = new Set<string>()
  private readonly write: (line: string) => void

  /** `write` takes one line without its end. */
  constructor(write: (line: string) => void) {
    this.write = write
  }

  note(path: string): void {
    if (this.told.has(path)) return
    this.told.add(path)
    this.write(`not enforced yet: ${path}`)
  }

  /** Notes every field of the message that is set and is in neither list; `ignored` are those without effect by nature. */
  check(message: Message, path: string, enforced: readonly string[], ignored: readonly string[] = []): void {
    for (const field of setFields(message)) {
      if (!enforced.includes(field) && !ignored.includes(field)) this.note(`${path}.${field}`)
    }
  }

  /** All that was told so far, for the admin interface and tests. */
  get paths(): readonly string[] {
    return [...this.told]
  }
}

/** The proto names of the fields that a message sets, in the order of its descriptor. */
export function setFields(message: Message): string[] {
  const values = message as unknown as Record<string, unknown>
  const set: string[] = []
  for (const field of schemaOf(message.$typeName).fields) {
    const holder = field.oneof ? (values[field.oneof.localName] as { case?: string } | undefined) : undefined
    const isSet = field.oneof ? holder?.case === field.localName : hasValue(values[field.localName])
    if (isSet) set.push(field.name)
  }
  return set
}

function hasValue(value: unknown): boolean {
  if (value === undefined || value === '' || value === 0 || value === 0n || value === false) return false
  if (Array.isArray(value)) return value.length > 0
  if (value instanceof Uint8Array) return value.length > 0
  if (typeof value === 'object' && value !== null && !('$typeName' in value)) return Object.keys(value).length > 0
  return true
}

import { isFieldSet, type Message } from '@bufbuild/protobuf'
import type { Duration } from '@bufbuild/protobuf/wkt'
import { schemaOf } from '../../xds/messages.ts'
import { ConfigError } from '../context.ts'

/** Collects the errors of one configuration, each with the path of the field it is about. */
export class Problems {
  readonly errors: string[] = []

  /** Records one error about `path`. */
  add(path: string, message: string): void {
    this.errors.push(`${path}: ${message}`)
  }

  /**
   * Refuses every set field of `message` that is not in `known`, so that nothing is ignored in silence. Names are
   * those of the generated code (camelCase); messages show the proto's.
   */
  refuseUnknown(message: Message, known: ReadonlySet<string>, path: string): void {
    for (const field of schemaOf(message.$typeName).fields) {
      if (!known.has(field.localName) && isFieldSet(message as never, field as never)) {
        this.add(`${path}.${field.name}`, 'not supported')
      }
    }
  }

  /** Runs `fn`, turning a ConfigError into entries under `path`. Returns undefined when it threw. */
  collect<T>(path: string, fn: () => T): T | undefined {
    try {
      return fn()
    } catch (e) {
      if (!(e instanceof ConfigError)) throw e
      for (const error of e.errors) this.errors.push(path === '' ? error : `${path}: ${error}`)
      return undefined
    }
  }

  /** Throws all that was collected. */
  throwIfAny(): void {
    if (this.errors.length > 0) throw new ConfigError(this.errors)
  }
}

/** A Duration in milliseconds; undefined when absent. */
export function durationMs(d: Duration | undefined): number | undefined {
  return d === undefined ? undefined : Number(d.seconds) * 1000 + d.nanos / 1e6
}

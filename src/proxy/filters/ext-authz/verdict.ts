import type { JsonObject } from '@bufbuild/protobuf'

/** A header as an authorizer gives it: the name in any case, the value in the bytes of the wire (latin1). */
export type HeaderPair = readonly [name: string, value: string]

/**
 * What an authorizer says of a request (source/extensions/filters/common/ext_authz/ext_authz.h Response). Nothing in it
 * has been looked at yet: names and values may be unfit for a request.
 */
export class Verdict {
  readonly result: 'ok' | 'denied' | 'error'
  /** Replace the request's; of a denial or an error, those of the answer. */
  readonly headersToSet: HeaderPair[] = []
  /** Another line, whether or not there is one. */
  readonly headersToAdd: HeaderPair[] = []
  /** Join those that the request has. */
  readonly headersToAppend: HeaderPair[] = []
  headersToRemove: readonly string[] = []
  readonly responseToAdd: HeaderPair[] = []
  readonly responseToSet: HeaderPair[] = []
  readonly responseToAddIfAbsent: HeaderPair[] = []
  readonly responseToOverwriteIfPresent: HeaderPair[] = []
  /** A header came with an action that there is none of. */
  sawInvalidAction = false
  queryToSet: readonly HeaderPair[] = []
  queryToRemove: readonly string[] = []
  /** Of the answer; undefined: the one that is configured for errors. */
  status: number | undefined = undefined
  body: Buffer = EMPTY
  metadata: JsonObject | undefined = undefined

  constructor(result: Verdict['result']) {
    this.result = result
  }
}

const EMPTY = Buffer.alloc(0)

/** Text as the bytes of its UTF-8, one character each, which is what headers are kept in. */
export function wireText(text: string): string {
  return /^[\x00-\x7f]*$/.test(text) ? text : Buffer.from(text, 'utf8').toString('latin1')
}

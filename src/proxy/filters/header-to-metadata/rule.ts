import { fromBinary, toJson } from '@bufbuild/protobuf'
import { ValueSchema } from '@bufbuild/protobuf/wkt'
import type {
  Config_KeyValuePair,
  Config_Rule,
} from '#gen/envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata_pb.js'
import { atod } from '../../atod.ts'
import { ConfigError } from '../../context.ts'
import { type HeaderMap, type HeaderName, headerName } from '../../http/headers.ts'
import { cookieValue } from '../../http/router/hash-policy.ts'
import { HeaderReader } from '../../http/router/header-matcher.ts'
import { RegexRewrite } from '../../http/router/regex.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import { decodeBase64 } from '../base64.ts'
import { textOf } from '../ext-authz/utf8.ts'
import type { HeaderToMetadataStats } from './stats.ts'

/** Values of this length and more are left out. */
const MAX_VALUE = 8 * 1024

const NAMESPACE = 'envoy.filters.http.header_to_metadata'

/** Config.ValueType and Config.ValueEncode. */
const NUMBER = 1
const PROTOBUF_VALUE = 2
const BASE64 = 1

/** Values by namespace and key. */
export type Found = Map<string, Record<string, unknown>>

/** One compiled rule (source/extensions/filters/http/header_to_metadata/header_to_metadata_filter.cc Rule). */
export class Rule {
  private readonly header: HeaderReader | undefined
  private readonly removed: HeaderName | undefined
  private readonly cookie: string
  private readonly present: Config_KeyValuePair | undefined
  private readonly missing: Config_KeyValuePair | undefined
  private readonly rewrite: RegexRewrite | undefined

  /** Throws ConfigError, with Envoy's words. */
  constructor(config: Config_Rule) {
    const { header, cookie, onHeaderPresent: present, onHeaderMissing: missing } = config
    const refuse = (why: string): never => {
      throw new ConfigError([why])
    }
    if (header !== '' && cookie !== '') refuse('Cannot specify both header and cookie in the same rule')
    if (header === '' && cookie === '') refuse('One of Cookie or Header option needs to be specified')
    if (!present && !missing) {
      const what = header === '' ? `cookie '${cookie}'` : `header '${header.toLowerCase()}'`
      refuse(
        `header to metadata filter: rule for ${what} has neither \`on_header_present\` nor \`on_header_missing\` set`,
      )
    }
    if (present?.value && present.regexValueRewrite) refuse('Cannot specify both value and regex_value_rewrite')
    if (cookie !== '' && config.remove) refuse('Cannot specify remove for cookie')
    if (missing?.value === '') refuse('Cannot specify on_header_missing rule with an empty value')
    this.header = header === '' ? undefined : new HeaderReader(header)
    this.removed = config.remove ? headerName(header.toLowerCase()) : undefined
    this.cookie = cookie
    this.present = present
    this.missing = missing
    this.rewrite = present?.regexValueRewrite && new RegexRewrite(present.regexValueRewrite)
  }

  /** Takes a value out of a head; false: there is none, and a rule for that case. */
  apply(head: HeaderMap, found: Found, stats: HeaderToMetadataStats | undefined, added: () => void): boolean {
    const value = this.extract(head)
    const pair = value === undefined ? this.missing : this.present
    if (pair === undefined) return true
    let text = value ?? ''
    if (pair.value !== '') text = toByteString(pair.value)
    else if (this.rewrite !== undefined) {
      const before = text
      text = this.rewrite.replaceAll(text)
      if (before !== '' && text === '') stats?.emptied.inc()
    }
    if (text !== '' && keep(pair, text, found, stats)) added()
    return value !== undefined
  }

  private extract(head: HeaderMap): string | undefined {
    if (this.header === undefined) return cookieValue(head, this.cookie) || undefined
    const values = this.header.all(head)
    if (values.length === 0) return undefined
    if (this.removed !== undefined) head.remove(this.removed)
    return values.join(',')
  }
}

/** Adds the value under the pair's key, as what the pair says it is; false for a value that is none. */
function keep(
  pair: Config_KeyValuePair,
  text: string,
  found: Found,
  stats: HeaderToMetadataStats | undefined,
): boolean {
  if (text.length >= MAX_VALUE) {
    stats?.tooLong.inc()
    return false
  }
  let bytes = text
  if (pair.encode === BASE64) {
    bytes = decodeBase64(text)?.toString('latin1') ?? ''
    if (bytes === '') {
      stats?.badBase64.inc()
      return false
    }
  }
  const value = typedValue(bytes, pair.type)
  if (value === undefined) return false
  const namespace = pair.metadataNamespace || NAMESPACE
  let values = found.get(namespace)
  if (values === undefined) {
    values = {}
    found.set(namespace, values)
  }
  values[pair.key] = value
  return true
}

function typedValue(bytes: string, type: number): unknown {
  if (type === NUMBER) return atod(bytes)
  if (type !== PROTOBUF_VALUE) return textOf(bytes)
  try {
    const value = fromBinary(ValueSchema, Buffer.from(bytes, 'latin1'))
    return value.kind.case === undefined ? null : toJson(ValueSchema, value)
  } catch {
    return undefined // no google.protobuf.Value
  }
}

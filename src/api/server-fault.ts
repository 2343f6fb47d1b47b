import { RE2JS } from 're2js'
import { isDuration, parseDuration } from './duration.ts'
import { GRPC_CODES } from './grpc-codes.ts'
import { closest } from './suggest.ts'

/** The annotation of pods that makes their app fail. */
export const FAULT_ANNOTATION = 'dinghy.dev/fault'

/** What a fault does to a request, or to a connection that carries no HTTP. Times in ms. */
export type FaultAction =
  | { readonly kind: 'delay'; readonly ms: number; readonly jitter: number }
  /** Log-normal, by its median and its 99th percentile. */
  | { readonly kind: 'delay-distribution'; readonly p50: number; readonly p99: number }
  | {
      readonly kind: 'abort'
      readonly status: number
      readonly body: string
      readonly headers: readonly (readonly [string, string])[]
    }
  | { readonly kind: 'grpc'; readonly status: number; readonly message: string }
  /** `after`: before any of the response, after its head, or after so many bytes of its body. */
  | { readonly kind: 'reset'; readonly after: 'request' | 'headers' | number }
  | { readonly kind: 'refuse' }
  | { readonly kind: 'flap'; readonly up: number; readonly down: number }
  | { readonly kind: 'slow'; readonly bytesPerSecond: number }
  | { readonly kind: 'hang' }

/** How a path must be. */
export type PathMatch =
  | { readonly kind: 'exact' | 'prefix'; readonly text: string }
  | { readonly kind: 'regex'; readonly text: string; readonly regex: RE2JS }

/** One rule: an action, what it is limited to, and how often it strikes. */
export interface FaultRule {
  readonly action: FaultAction
  /** 0 to 100. */
  readonly percent: number
  /** Empty: all. */
  readonly paths: readonly PathMatch[]
  readonly methods: readonly string[]
  /** Lower-case names; without a value, presence is enough. All must match. */
  readonly headers: readonly { readonly name: string; readonly value: string | undefined }[]
  /** Container ports; empty: all. */
  readonly ports: readonly number[]
  /** Strikes so many times, and no more. */
  readonly first: number | undefined
  /** ms from when it was set. */
  readonly duration: number | undefined
  /** As it was written. */
  readonly text: string
}

/** A text that is no fault; the message says where and why. */
export class FaultSyntaxError extends Error {}

const UNITS: Readonly<Record<string, number>> = { b: 1, kb: 1024, mb: 1024 * 1024, '': 1 }
const KINDS = ['delay', 'abort', 'grpc', 'reset', 'refuse', 'flap', 'slow', 'hang']
const MODIFIERS = ['path', 'method', 'header', 'port', 'first', 'for']

/**
 * Reads rules such as `abort 503 50% path=/api/* first=10; delay 2s±500ms`: separated by `;`, each an action and what
 * it is limited to, in any order after the action. Words with spaces or `;` in them stand in double quotes. Throws
 * FaultSyntaxError.
 *
 *     delay 200ms | delay 200ms±50ms | delay p50=20ms p99=2s
 *     abort STATUS [body="…"] [response-header="name: value"]…
 *     grpc CODE [message="…"]          code by number or name
 *     reset [after=headers|BYTES]      refuse     flap up=10s down=5s     slow 10kb/s     hang
 *     N%  path=/exact|/prefix*|~regex  method=GET,POST  header=name[:value]  port=N  first=N  for=30s
 */
export function parseFault(text: string): FaultRule[] {
  const rules = splitRules(text).map(parseRule)
  if (rules.length === 0) throw new FaultSyntaxError(`no fault; there are ${KINDS.join(', ')}`)
  return rules
}

/** The rules as text, as `parseFault` reads it. */
export function formatFault(rules: readonly FaultRule[]): string {
  return rules.map((rule) => rule.text).join('; ')
}

/** Whether a rule needs the request to decide, and so means nothing to a connection without HTTP. */
export function needsRequest({ action, paths, methods, headers }: FaultRule): boolean {
  return action.kind === 'abort' || action.kind === 'grpc' || paths.length + methods.length + headers.length > 0
}

function splitRules(text: string): string[] {
  return (text.match(/(?:"(?:[^"\\]|\\.)*"?|[^;"])+/g) ?? []).map((rule) => rule.trim()).filter(Boolean)
}

/** `name=value` words and bare ones, with their quotes undone. */
function splitWords(text: string): string[] {
  return (text.match(/(?:"(?:[^"\\]|\\.)*"?|[^\s"])+/g) ?? []).map((word) => {
    if ((word.match(/(?<!\\)"/g) ?? []).length % 2 !== 0) throw new FaultSyntaxError(`a quote is missing in ${word}`)
    return word.replace(/"((?:[^"\\]|\\.)*)"/g, (_, inside: string) => inside.replace(/\\(.)/g, '$1'))
  })
}

/** The words of one rule that are still to be understood. */
class Words {
  readonly bare: string[] = []
  readonly named: [name: string, value: string][] = []
  readonly text: string

  constructor(text: string) {
    this.text = text
    for (const word of splitWords(text)) {
      const m = /^([a-z][a-z0-9-]*)=(.*)$/s.exec(word)
      if (m) this.named.push([m[1]!, m[2]!])
      else this.bare.push(word)
    }
  }

  /** The next word without a name. */
  next(): string | undefined {
    return this.bare.shift()
  }

  all(name: string): string[] {
    const found = this.named.filter(([n]) => n === name).map(([, value]) => value)
    this.named.splice(0, this.named.length, ...this.named.filter(([n]) => n !== name))
    return found
  }

  one(name: string): string | undefined {
    const found = this.all(name)
    if (found.length > 1) this.fail(`${name}= stands twice`)
    return found[0]
  }

  fail(why: string): never {
    throw new FaultSyntaxError(`${why} in "${this.text}"`)
  }
}

function parseRule(text: string): FaultRule {
  const words = new Words(text)
  const kind = words.next() ?? ''
  if (!KINDS.includes(kind)) {
    const near = closest(kind, KINDS)
    words.fail(`"${kind}" is no fault${near ? `: did you mean ${near}?` : `; there are ${KINDS.join(', ')}`}`)
  }
  const action = parseAction(kind, words)
  const percents = words.bare.filter((word) => word.endsWith('%'))
  if (percents.length > 1) words.fail('two percentages')
  const stray = words.bare.find((word) => !word.endsWith('%'))
  if (stray !== undefined) words.fail(`"${stray}" is not understood`)
  const first = words.one('first')
  const duration = words.one('for')
  const rule: FaultRule = {
    action,
    percent: percents[0] === undefined ? 100 : percentOf(percents[0], words),
    paths: words
      .all('path')
      .flatMap((path) => (path.startsWith('~') ? [path] : listed([path])))
      .map((path) => pathOf(path, words)),
    methods: listed(words.all('method')).map((method) => method.toUpperCase()),
    headers: words.all('header').map((header) => headerOf(header, words)),
    ports: listed(words.all('port')).map((port) => integer(port, 'port', 1, 65535, words)),
    first: first === undefined ? undefined : integer(first, 'first', 1, Number.MAX_SAFE_INTEGER, words),
    duration: duration === undefined ? undefined : time(duration, words),
    text,
  }
  const unknown = words.named[0]?.[0]
  if (unknown !== undefined) {
    const near = closest(unknown, MODIFIERS)
    words.fail(`${unknown}= means nothing to ${kind}${near ? `: did you mean ${near}=?` : ''}`)
  }
  const onConnections = kind === 'refuse' || kind === 'flap'
  if (onConnections && needsRequest(rule))
    words.fail(`${kind} is about connections, which have no path, method or header,`)
  if (kind === 'flap' && (rule.percent !== 100 || rule.first !== undefined))
    words.fail('flap takes neither a percentage nor first=')
  return rule
}

function parseAction(kind: string, words: Words): FaultAction {
  switch (kind) {
    case 'delay':
      return parseDelay(words)
    case 'abort':
      return {
        kind,
        status: integer(words.next(), 'the status', 200, 599, words),
        body: words.one('body') ?? '',
        headers: words.all('response-header').map((header) => {
          const m = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*)$/.exec(header)
          if (!m) words.fail(`response-header "${header}" is no "name: value"`)
          return [m[1]!.toLowerCase(), m[2]!] as const
        }),
      }
    case 'grpc':
      return { kind, status: grpcCode(words.next(), words), message: words.one('message') ?? 'fault injected' }
    case 'reset': {
      const after = words.one('after')
      if (after === undefined) return { kind, after: 'request' }
      return { kind, after: after === 'headers' ? 'headers' : bytes(after, words) }
    }
    case 'flap': {
      const [up, down] = [words.one('up'), words.one('down')]
      if (up === undefined || down === undefined) words.fail('flap needs up= and down=, as in flap up=10s down=5s,')
      return { kind, up: positiveTime(up, words), down: positiveTime(down, words) }
    }
    case 'slow': {
      const rate = words.next() ?? ''
      if (!rate.endsWith('/s')) words.fail('slow needs a rate, as in slow 10kb/s,')
      return { kind, bytesPerSecond: Math.max(1, bytes(rate.slice(0, -2), words)) }
    }
    default:
      return { kind: kind as 'refuse' | 'hang' }
  }
}

function parseDelay(words: Words): FaultAction {
  const [p50, p99] = [words.one('p50'), words.one('p99')]
  if (p50 !== undefined || p99 !== undefined) {
    if (p50 === undefined || p99 === undefined) words.fail('p50= and p99= go together')
    const by = { p50: positiveTime(p50, words), p99: positiveTime(p99, words) }
    if (by.p99 < by.p50) words.fail('p99 is less than p50')
    return { kind: 'delay-distribution', ...by }
  }
  const [fixed = '', jitter] = (words.next() ?? '').split(/±|\+-/)
  return { kind: 'delay', ms: time(fixed, words), jitter: jitter === undefined ? 0 : time(jitter, words) }
}

function listed(values: readonly string[]): string[] {
  return values.flatMap((value) => value.split(',')).filter(Boolean)
}

function pathOf(text: string, words: Words): PathMatch {
  if (text.startsWith('~')) {
    try {
      return { kind: 'regex', text: text.slice(1), regex: RE2JS.compile(text.slice(1)) }
    } catch (e) {
      words.fail(`path=${text} is no RE2 expression (${(e as Error).message})`)
    }
  }
  if (!text.startsWith('/')) words.fail(`path=${text} does not begin with / (or with ~, for an expression)`)
  return text.endsWith('*') ? { kind: 'prefix', text: text.slice(0, -1) } : { kind: 'exact', text }
}

function headerOf(text: string, words: Words): { name: string; value: string | undefined } {
  const m = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?::[ \t]*(.*))?$/s.exec(text)
  if (!m) words.fail(`header="${text}" is no name or name:value`)
  return { name: m[1]!.toLowerCase(), value: m[2] }
}

function percentOf(text: string, words: Words): number {
  const n = Number(text.slice(0, -1))
  if (!/^\d+(\.\d+)?%$/.test(text) || n > 100) words.fail(`"${text}" is no percentage of 0% to 100%`)
  return n
}

function integer(text: string | undefined, what: string, min: number, max: number, words: Words): number {
  const n = Number(text)
  if (text === undefined || !/^\d+$/.test(text) || n < min || n > max)
    words.fail(`${what} must be a whole number ${max > 65535 ? `of at least ${min}` : `of ${min} to ${max}`}`)
  return n
}

function time(text: string, words: Words): number {
  if (!isDuration(text) || text.startsWith('-')) words.fail(`"${text}" is no duration such as 200ms or 1m30s`)
  return parseDuration(text)
}

function positiveTime(text: string, words: Words): number {
  const ms = time(text, words)
  if (ms <= 0) words.fail(`"${text}" must be more than 0`)
  return ms
}

function bytes(text: string, words: Words): number {
  const m = /^(\d+(?:\.\d+)?)(b|kb|mb)?$/i.exec(text)
  if (!m) words.fail(`"${text}" is no number of bytes such as 500, 10kb or 1mb`)
  return Math.round(Number(m[1]) * UNITS[(m[2] ?? '').toLowerCase()]!)
}

function grpcCode(text: string | undefined, words: Words): number {
  const byName = GRPC_CODES.indexOf((text ?? '').toUpperCase())
  if (byName > 0) return byName
  return integer(text, 'the gRPC code', 1, 16, words)
}

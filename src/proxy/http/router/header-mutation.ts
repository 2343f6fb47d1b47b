import type { HeaderValueOption } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import { requestSingles, responseSingles } from '../../http1/joined.ts'
import { compileHeaderFormat, type Formatter } from '../../observe/formatter.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { type HeaderMap, type HeaderName, headerName, RequestHead } from '../headers.ts'

/** HeaderValueOption.HeaderAppendAction. */
const APPEND = 0
const ADD_IF_ABSENT = 1
const OVERWRITE = 2
const OVERWRITE_IF_EXISTS = 3

interface Addition {
  readonly name: HeaderName
  readonly singleInRequest: boolean
  readonly singleInResponse: boolean
  readonly action: number
  readonly keepEmpty: boolean
  readonly literal: string
  /** Set when the value has operators such as `%UPSTREAM_HOST%`. */
  readonly formatter: Formatter | undefined
}

/** What one level (route, virtual host, …) does to headers: removals, then overwrites, then additions (source/common/router/header_parser.cc). */
export class HeaderMutation {
  readonly empty: boolean
  private readonly additions: readonly Addition[]
  private readonly removals: readonly HeaderName[]

  constructor(toAdd: readonly HeaderValueOption[], toRemove: readonly string[], runtime: Runtime) {
    const errors: string[] = []
    this.additions = toAdd.map((option) => compileAddition(option, runtime, errors))
    this.removals = toRemove.map((name) => {
      if (untouchable(name)) errors.push(`${name}: pseudo headers and host may not be removed`)
      return headerName(name.toLowerCase())
    })
    if (errors.length > 0) throw new ConfigError(errors)
    this.empty = toAdd.length === 0 && toRemove.length === 0
  }

  /** Changes `head`. All values are formatted before the first is applied. */
  apply(head: HeaderMap, info: StreamInfo): void {
    for (let i = 0; i < this.removals.length; i++) head.remove(this.removals[i]!)
    const additions = this.additions
    if (additions.length === 0) return
    if (additions.length === 1) {
      const one = additions[0]!
      applyOne(head, one, additionValue(one, info))
      return
    }
    const values: (string | undefined)[] = []
    for (const a of additions) {
      const skip =
        (a.action === ADD_IF_ABSENT && head.has(a.name)) || (a.action === OVERWRITE_IF_EXISTS && !head.has(a.name))
      values.push(skip ? undefined : additionValue(a, info))
    }
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i < additions.length; i++) {
        const a = additions[i]!
        const value = values[i]
        if (value === undefined || overwrites(a) !== (pass === 0) || (value === '' && !a.keepEmpty)) continue
        if (pass === 0) head.set(a.name, value)
        else append(head, a, value)
      }
    }
  }

  toString(): string {
    const parts = this.removals.map((n) => `-${n.name}`)
    for (const a of this.additions) parts.push(`${overwrites(a) ? '' : '+'}${a.name.name}: ${a.literal}`)
    return parts.join(', ')
  }
}

function overwrites(a: Addition): boolean {
  return a.action === OVERWRITE || a.action === OVERWRITE_IF_EXISTS
}

function additionValue(a: Addition, info: StreamInfo): string {
  return a.formatter === undefined ? a.literal : a.formatter.format(info)
}

function applyOne(head: HeaderMap, a: Addition, value: string): void {
  if (value === '' && !a.keepEmpty) return
  switch (a.action) {
    case ADD_IF_ABSENT:
      if (!head.has(a.name)) head.add(a.name, value)
      return
    case OVERWRITE_IF_EXISTS:
      if (head.has(a.name)) head.set(a.name, value)
      return
    case OVERWRITE:
      head.set(a.name, value)
      return
    default:
      append(head, a, value)
  }
}

/** Another line, or for headers that a message has once, another value in the same line. */
function append(head: HeaderMap, a: Addition, value: string): void {
  const before = head.get(a.name)
  const single = head instanceof RequestHead ? a.singleInRequest : a.singleInResponse
  if (before !== undefined && single) head.set(a.name, `${before},${value}`)
  else head.add(a.name, value)
}

function untouchable(name: string): boolean {
  return name.startsWith(':') || name.toLowerCase() === 'host'
}

function compileAddition(option: HeaderValueOption, runtime: Runtime, errors: string[]): Addition {
  const key = option.header?.key ?? ''
  if (key === '') errors.push('header.key: must not be empty')
  if (untouchable(key)) errors.push(`${key}: pseudo headers and host may not be set`)
  const raw = option.header?.rawValue
  const literal =
    raw !== undefined && raw.length > 0 ? Buffer.from(raw).toString('latin1') : (option.header?.value ?? '')
  const legacy = option.append === undefined ? undefined : option.append ? APPEND : OVERWRITE
  let formatter: Formatter | undefined
  if (literal.includes('%')) {
    try {
      formatter = compileHeaderFormat(literal, runtime)
    } catch (e) {
      if (!(e instanceof ConfigError)) throw e
      errors.push(...e.errors.map((error) => `${key}: ${error}`))
    }
  }
  const name = headerName(key.toLowerCase())
  return {
    name,
    singleInRequest: requestSingles.has(name.hash),
    singleInResponse: responseSingles.has(name.hash),
    action: legacy ?? option.appendAction,
    keepEmpty: option.keepEmptyValue,
    literal,
    formatter,
  }
}

/** Applies several levels in order; levels that do nothing should have been left out. */
export function applyMutations(mutations: readonly HeaderMutation[], head: HeaderMap, info: StreamInfo): void {
  for (let i = 0; i < mutations.length; i++) mutations[i]!.apply(head, info)
}

import net from 'node:net'
import type { StringRules } from '#gen/validate/validate_pb.js'
import { all, given, type Rule, sizeRule } from './validate-rule.ts'

const HTTP_HEADER_NAME = 1

/** The rule for a string, in the order and the words of protoc-gen-validate's C++ code. */
export function stringRule(rules: StringRules): Rule | undefined {
  const bound = (name: 'minLen' | 'maxLen' | 'minBytes' | 'maxBytes') => (given(rules, name) ? rules[name] : undefined)
  const quoted = (list: string[]) => `[${list.map((s) => JSON.stringify(s)).join(', ')}]`
  const is = (test: (value: string) => boolean, complaint: string): Rule => {
    return (value) => (test(value as string) ? undefined : complaint)
  }
  return all([
    given(rules, 'const') && is((v) => v === rules.const, `value must equal ${rules.const}`),
    given(rules, 'len') && is((v) => characters(v) === rules.len, `value length must be ${rules.len} characters`),
    sizeRule('value length must be', 'characters', bound('minLen'), bound('maxLen'), characters),
    given(rules, 'lenBytes') && is((v) => bytes(v) === rules.lenBytes, `value length must be ${rules.lenBytes} bytes`),
    sizeRule('value length must be', 'bytes', bound('minBytes'), bound('maxBytes'), bytes),
    given(rules, 'pattern') && patternRule(rules.pattern),
    given(rules, 'prefix') &&
      is((v) => v.startsWith(rules.prefix), `value does not have prefix ${JSON.stringify(rules.prefix)}`),
    given(rules, 'suffix') &&
      is((v) => v.endsWith(rules.suffix), `value does not have suffix ${JSON.stringify(rules.suffix)}`),
    given(rules, 'contains') &&
      is((v) => v.includes(rules.contains), `value does not contain substring ${JSON.stringify(rules.contains)}`),
    given(rules, 'notContains') &&
      is((v) => !v.includes(rules.notContains), `value contains substring ${JSON.stringify(rules.notContains)}`),
    rules.in.length > 0 && is((v) => rules.in.includes(v), `value must be in list ${quoted(rules.in)}`),
    rules.notIn.length > 0 && is((v) => !rules.notIn.includes(v), `value must not be in list ${quoted(rules.notIn)}`),
    wellKnownRule(rules),
  ])
}

function wellKnownRule(rules: StringRules): Rule | undefined {
  const { wellKnown } = rules
  const is = (test: (value: string) => boolean, what: string): Rule => {
    return (value) => (test(value as string) ? undefined : `value must be a valid ${what}`)
  }
  switch (wellKnown.case) {
    case 'ip':
      return is((v) => net.isIP(v) !== 0, 'IP address')
    case 'ipv4':
      return is((v) => net.isIPv4(v), 'IPv4 address')
    case 'ipv6':
      return is((v) => net.isIPv6(v), 'IPv6 address')
    case 'hostname':
      return is(isHostname, 'hostname')
    case 'address':
      return is((v) => net.isIP(v) !== 0 || isHostname(v), 'hostname, or ip address')
    case 'uri':
      return is((v) => URL.canParse(v), 'absolute URI')
    case 'uriRef':
      return is((v) => URL.canParse(v, 'http://base'), 'URI')
    case 'uuid':
      return is((v) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(v), 'UUID')
    case 'email':
      return is((v) => /^[^@\s]+@[^@\s]+$/.test(v), 'email address')
    case 'wellKnownRegex':
      return headerRule(wellKnown.value === HTTP_HEADER_NAME, rules.strict)
    default:
      return undefined
  }
}

/** RFC 7230 header names and values; not strict: anything without NUL, CR and LF. Shown as Go quotes the pattern. */
function headerRule(name: boolean, strict: boolean): Rule {
  if (!strict) return patternRule('^[^\\u0000\\u000A\\u000D]*$', '^[^\\x00\\n\\r]*$')
  if (name) return patternRule("^:?[0-9a-zA-Z!#$%&'*+\\-.^_|~`]+$")
  return patternRule('^[^\\u0000-\\u0008\\u000A-\\u001F\\u007F]*$', '^[^\\x00-\\b\\n-\\x1f\\x7f]*$')
}

function patternRule(pattern: string, shown = pattern): Rule {
  const regex = new RegExp(`^(?:${pattern})$`)
  return (value) => (regex.test(value as string) ? undefined : `value does not match regex pattern "${shown}"`)
}

function isHostname(value: string): boolean {
  return /^(?=.{1,253}\.?$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.?$/i.test(value)
}

/** Length in Unicode code points. */
function characters(value: unknown): bigint {
  let count = (value as string).length
  if (/[\ud800-\udbff]/.test(value as string)) count = [...(value as string)].length
  return BigInt(count)
}

function bytes(value: unknown): bigint {
  return BigInt(Buffer.byteLength(value as string))
}

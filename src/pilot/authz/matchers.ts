import { type Init, packed } from '../../xds/messages.ts'
import { quoteMeta } from '../quote-meta.ts'

/** A permission of Envoy's RBAC, as it is written. */
export type Permission = Init<'envoy.config.rbac.v3.Permission'>
/** A principal of Envoy's RBAC, as it is written. */
export type Principal = Init<'envoy.config.rbac.v3.Principal'>
type StringMatcher = Init<'envoy.type.matcher.v3.StringMatcher'>
type ValueMatcher = Init<'envoy.type.matcher.v3.ValueMatcher'>
type MetadataMatcher = Init<'envoy.type.matcher.v3.MetadataMatcher'>
type HeaderMatcher = Init<'envoy.config.route.v3.HeaderMatcher'>

// Matchers as istiod writes the values of an AuthorizationPolicy (pilot/pkg/security/authz/matcher).

/** The whole value. */
export const exactly = (value: string, ignoreCase = false): StringMatcher => ({
  matchPattern: { case: 'exact', value },
  ignoreCase,
})

/** The start of the value. */
export const startsWith = (value: string, ignoreCase = false): StringMatcher => ({
  matchPattern: { case: 'prefix', value },
  ignoreCase,
})

/** The end of the value. */
export const endsWith = (value: string, ignoreCase = false): StringMatcher => ({
  matchPattern: { case: 'suffix', value },
  ignoreCase,
})

/** RE2, of the whole value. */
export const regex = (value: string): StringMatcher => ({
  matchPattern: { case: 'safeRegex', value: { regex: value } },
})

/** `*` takes anything but nothing; `x*` a start, `*x` an end, else the value itself. */
export function stringMatcher(value: string, prefix = ''): StringMatcher {
  if (value === '*') return regex('.+')
  if (value.startsWith('*')) {
    const end = value.replace(/^\*/, '')
    return prefix === '' ? endsWith(end) : regex(`${prefix}.*${quoteMeta(end)}`)
  }
  if (value.endsWith('*')) return startsWith(prefix + value.slice(0, -1))
  return exactly(prefix + value)
}

/** The same for a header, where `*` is presence. */
export function headerMatcher(name: string, value: string, ignoreCase = false): HeaderMatcher {
  if (value === '*') return { name, headerMatchSpecifier: { case: 'presentMatch', value: true } }
  const match = value.startsWith('*')
    ? endsWith(value.slice(1), ignoreCase)
    : value.endsWith('*')
      ? startsWith(value.slice(0, -1), ignoreCase)
      : exactly(value, ignoreCase)
  return { name, headerMatchSpecifier: { case: 'stringMatch', value: match } }
}

const stringValue = (value: StringMatcher): ValueMatcher => ({ matchPattern: { case: 'stringMatch', value } })
const listOf = (value: ValueMatcher): ValueMatcher => ({
  matchPattern: { case: 'listMatch', value: { matchPattern: { case: 'oneOf', value } } },
})
const anyOf = (values: ValueMatcher[]): ValueMatcher =>
  values.length === 1 ? values[0]! : { matchPattern: { case: 'orMatch', value: { valueMatchers: values } } }

function metadata(filter: string, keys: readonly string[], value: ValueMatcher): MetadataMatcher {
  return { filter, path: keys.map((key) => ({ segment: { case: 'key', value: key } })), value }
}

const JWT = 'envoy.filters.http.jwt_authn'

/** A claim of the token that is a string. */
export const claimMatcher = (claim: string, value: StringMatcher): MetadataMatcher =>
  metadata(JWT, ['payload', claim], stringValue(value))

/** A claim, maybe nested, that is one of these strings or a list that holds one. */
export function claimsMatcher(claims: readonly string[], values: readonly string[]): MetadataMatcher {
  const value = anyOf(values.map((text) => stringValue(stringMatcher(text))))
  return metadata(JWT, ['payload', ...claims], {
    matchPattern: { case: 'orMatch', value: { valueMatchers: [listOf(value), value] } },
  })
}

/** Dynamic metadata that another filter wrote; a value in brackets is looked for in a list. */
export function filterMetadataMatcher(filter: string, key: string, values: readonly string[]): MetadataMatcher {
  const matchers = values.map((value) =>
    value.startsWith('[') && value.endsWith(']')
      ? listOf(stringValue(stringMatcher(value.replace(/^[[\]]+|[[\]]+$/g, ''))))
      : stringValue(stringMatcher(value)),
  )
  return metadata(filter, [key], anyOf(matchers))
}

/** A path with `{*}` for one segment and `{**}` for the rest, as Envoy's URI template. */
export function pathTemplate(path: string): Permission {
  const template = path.replaceAll('{*}', '*').replaceAll('{**}', '**')
  return {
    rule: {
      case: 'uriTemplate',
      value: {
        name: 'uri-template',
        typedConfig: packed('envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig', {
          pathTemplate: template,
        }),
      },
    },
  }
}

import type { Message } from '@bufbuild/protobuf'
import type { TypedExtensionConfig } from '#gen/envoy/config/core/v3/extension_pb.js'
import type { Descriptor as ExprDescriptor } from '#gen/envoy/extensions/rate_limit_descriptors/expr/v3/expr_pb.js'
import type { HttpRequestQueryParamMatchInput } from '#gen/envoy/type/matcher/v3/http_inputs_pb.js'
import { problemText } from '../../../xds/problem.ts'
import { resolveTypedConfig } from '../../../xds/typed-config.ts'
import { compileCel, compileCelExpr } from '../../cel/expression.ts'
import { celText } from '../../cel/text.ts'
import { ConfigError } from '../../context.ts'
import { decodedQuery } from '../../filters/header-mutation-query.ts'
import { inputOf, UNAVAILABLE } from '../../matching/inputs.ts'
import { toByteString } from '../../observe/format/bytes.ts'
import type { DescriptorAction } from './actions.ts'
import type { DescriptorSubject } from './descriptor.ts'

const EXPR = 'envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor'

/** An `extension` action: a CEL expression, or an input of matchers under the extension's name. Throws ConfigError. */
export function compileExtension(config: TypedExtensionConfig): DescriptorAction {
  const any = config.typedConfig
  if (any === undefined) throw new ConfigError(['extension.typed_config: is required'])
  const { message, problems } = resolveTypedConfig(any)
  if (message === undefined || problems.length > 0)
    throw new ConfigError(problems.map((problem) => `extension: ${problemText(problem)}`))
  return message.$typeName === EXPR ? expression(message as ExprDescriptor) : matchingInput(config.name, message)
}

/** A CEL expression's value (source/extensions/rate_limit_descriptors/expr/config.cc). */
function expression({ descriptorKey, skipIfError, exprSpecifier: spec }: ExprDescriptor): DescriptorAction {
  if (spec.case === undefined)
    throw new ConfigError(['Rate limit descriptor extension failed: expression specifier is not set'])
  const evaluate = spec.case === 'text' ? compileCel(spec.value) : compileCelExpr(spec.value)
  const key = toByteString(descriptorKey)
  return (entries, { info }) => {
    const value = evaluate(info)
    if (value === undefined) return skipIfError
    entries.push({ key, value: celText(value) })
    return true
  }
}

const INPUTS = 'envoy.type.matcher.v3.'

/** Inputs that are known, and see nothing of a request that has not been answered. */
const LATER = new Set(
  [
    'HttpRequestTrailerMatchInput',
    'HttpResponseHeaderMatchInput',
    'HttpResponseTrailerMatchInput',
    'HttpResponseStatusCodeMatchInput',
    'HttpResponseStatusCodeClassMatchInput',
  ].map((name) => INPUTS + name),
)

function matchingInput(name: string, message: Message): DescriptorAction {
  const key = toByteString(name)
  const read = textInput(message)
  if (read === undefined) {
    throw new ConfigError([
      `Didn't find a registered implementation for '${name}' with type URL: '${message.$typeName}'`,
    ])
  }
  return (entries, subject) => {
    const text = read(subject)
    if (text === undefined) return false
    if (text !== '' && key !== '') entries.push({ key, value: text })
    return true
  }
}

/** What an input says as text; undefined for a message that is none. */
function textInput(message: Message): ((subject: DescriptorSubject) => string | undefined) | undefined {
  if (message.$typeName === `${INPUTS}HttpRequestQueryParamMatchInput`) {
    const parameter = toByteString((message as HttpRequestQueryParamMatchInput).queryParam)
    return ({ request }) => decodedQuery(request.path).get(parameter)?.[0]
  }
  if (LATER.has(message.$typeName)) return () => undefined
  const input = inputOf(message)
  if (input === undefined) return undefined
  if (input.kind !== 'text') return () => undefined
  return ({ connection, request, info }) => {
    const text = input.get({ connection, head: request, info })
    return text === UNAVAILABLE ? undefined : text
  }
}

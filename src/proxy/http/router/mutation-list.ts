import type { HeaderMutation as MutationProto } from '#gen/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { ConfigError } from '../../context.ts'
import type { StreamInfo } from '../../stream-info.ts'
import { type HeaderMap, type HeaderName, headerName } from '../headers.ts'
import { HeaderMutation } from './header-mutation.ts'
import { compileStringMatcher, type StringMatcher } from './string-matcher.ts'

type Step =
  | { readonly kind: 'remove'; readonly name: HeaderName }
  | { readonly kind: 'remove-matching'; readonly matcher: StringMatcher }
  | { readonly kind: 'append'; readonly mutation: HeaderMutation }

/** A list of header mutations, each done before the next is looked at (source/common/http/header_mutation.cc). */
export class MutationList {
  readonly empty: boolean
  private readonly steps: readonly Step[]

  /** Errors name the index under `path`. Throws ConfigError. */
  constructor(configs: readonly MutationProto[], runtime: Runtime, path: string) {
    const errors: string[] = []
    this.steps = configs.flatMap((config, i) => {
      try {
        return [compileStep(config, runtime)]
      } catch (e) {
        if (!(e instanceof ConfigError)) throw e
        errors.push(...e.errors.map((error) => `${path}[${i}]: ${error}`))
        return []
      }
    })
    if (errors.length > 0) throw new ConfigError(errors)
    this.empty = configs.length === 0
  }

  apply(head: HeaderMap, info: StreamInfo): void {
    for (const step of this.steps) {
      if (step.kind === 'append') step.mutation.apply(head, info)
      else if (step.kind === 'remove') head.remove(step.name)
      else {
        for (let i = head.lines - 1; i >= 0; i--) if (step.matcher.matches(head.nameAt(i))) head.removeAt(i)
      }
    }
  }
}

function compileStep(config: MutationProto, runtime: Runtime): Step {
  const { action } = config
  switch (action.case) {
    case 'append':
      return { kind: 'append', mutation: new HeaderMutation([action.value], [], runtime) }
    case 'remove':
      return { kind: 'remove', name: headerName(action.value.toLowerCase()) }
    case 'removeOnMatch': {
      const { keyMatcher } = action.value
      if (keyMatcher === undefined) throw new ConfigError(['remove_on_match.key_matcher: is required'])
      return { kind: 'remove-matching', matcher: compileStringMatcher(keyMatcher) }
    }
    default:
      throw new ConfigError(['action: is required'])
  }
}

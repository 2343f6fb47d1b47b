import type { JwtProvider, JwtRequirement } from '#gen/envoy/extensions/filters/http/jwt_authn/v3/config_pb.js'
import { ConfigError } from '../../context.ts'
import type { HeaderName } from '../../http/headers.ts'
import { Audiences } from './audiences.ts'
import { Authenticator } from './authenticator.ts'
import { Extractor } from './locations.ts'
import type { Provider } from './provider.ts'
import type { Providers } from './providers.ts'
import { STATUS, type Status } from './status.ts'
import type { Verification } from './verification.ts'

/** A node of a requirement's tree (source/extensions/filters/http/jwt_authn/verifier.cc). Keeps nothing of a request. */
export abstract class Requirement {
  /** Its place in the verification's states. */
  readonly id: number
  private readonly parent: Group | undefined

  constructor(tree: Tree, parent: Group | undefined) {
    this.id = tree.nodes++
    this.parent = parent
  }

  /** Begins to check; `finish` of the verification is called when the root knows, maybe before this returns. */
  abstract start(verification: Verification): void

  /** This node has its status: the next one up is told. */
  complete(status: Status, verification: Verification): void {
    const state = verification.state(this.id)
    if (state.completed) return
    state.completed = true
    state.status = status
    if (this.parent === undefined) verification.finish(status)
    else this.parent.childDone(status, verification)
  }
}

/** No requirement at all. */
class AllowAll extends Requirement {
  start(verification: Verification): void {
    this.complete(STATUS.ok, verification)
  }
}

/** What the authenticators of a node that looks at tokens are to do. */
interface TokenPolicy {
  /** Undefined: the token's issuer says whose it is. */
  readonly provider?: Provider
  /** In place of the provider's own. */
  readonly audiences?: Audiences
  readonly allowsMissing?: boolean
  readonly allowsFailed?: boolean
}

/** Tokens of one provider, or of any. */
export class TokenRequirement extends Requirement {
  readonly provider: Provider | undefined
  readonly audiences: Audiences | undefined
  readonly allowsMissing: boolean
  readonly allowsFailed: boolean
  private readonly extractor: Extractor

  constructor(tree: Tree, parent: Group | undefined, policy: TokenPolicy) {
    super(tree, parent)
    this.provider = policy.provider
    this.audiences = policy.audiences
    this.allowsMissing = policy.allowsMissing ?? false
    this.allowsFailed = policy.allowsFailed ?? false
    this.extractor = new Extractor(policy.provider ? [policy.provider.config] : tree.configs)
  }

  start(verification: Verification): void {
    this.extractor.sanitize(verification.head)
    const authenticator = new Authenticator(this, verification, this.extractor.extract(verification.head))
    authenticator.start()
    if (!verification.state(this.id).completed) verification.waitFor(authenticator)
  }
}

/** Lets everything pass, and hands on what good tokens say; of others a header tells that they are none. */
class ExtractOnly extends TokenRequirement {
  private readonly header: HeaderName | undefined

  constructor(tree: Tree, parent: Group | undefined, header: HeaderName | undefined) {
    super(tree, parent, { allowsMissing: true })
    this.header = header
  }

  override complete(status: Status, verification: Verification): void {
    if (status !== STATUS.ok && this.header !== undefined) verification.head.set(this.header, 'false')
    super.complete(STATUS.ok, verification)
  }
}

abstract class Group extends Requirement {
  protected children: readonly Requirement[] = []

  start(verification: Verification): void {
    for (const child of this.children) {
      if (verification.state(this.id).completed) return
      child.start(verification)
    }
  }

  abstract childDone(status: Status, verification: Verification): void
}

/** Good once all are, bad once one is. */
class All extends Group {
  constructor(tree: Tree, parent: Group | undefined, requirements: readonly JwtRequirement[]) {
    super(tree, parent)
    this.children = requirements.map((requirement) => compile(requirement, tree, this))
  }

  childDone(status: Status, verification: Verification): void {
    const state = verification.state(this.id)
    if (state.completed) return
    if (++state.completedChildren === this.children.length || status !== STATUS.ok) this.complete(status, verification)
  }
}

/** Good once one is; else the most telling status of all. */
class AnyOf extends Group {
  private readonly allowsMissing: boolean
  private readonly allowsFailed: boolean

  constructor(tree: Tree, parent: Group | undefined, requirements: readonly JwtRequirement[]) {
    super(tree, parent)
    const has = (kind: JwtRequirement['requiresType']['case']): boolean =>
      requirements.some((r) => r.requiresType.case === kind)
    this.allowsMissing = has('allowMissing')
    this.allowsFailed = has('allowMissingOrFailed')
    const others = requirements.filter(
      ({ requiresType: { case: kind } }) => kind !== 'allowMissing' && kind !== 'allowMissingOrFailed',
    )
    const { allowsMissing, allowsFailed } = this
    const children = others.map((requirement) => compile(requirement, tree, this))
    if (children.length === 0 && (allowsMissing || allowsFailed)) {
      children.push(new TokenRequirement(tree, this, { allowsMissing: true, allowsFailed }))
    }
    this.children = children
  }

  childDone(status: Status, verification: Verification): void {
    const state = verification.state(this.id)
    if (state.completed) return
    if (status === STATUS.ok) this.complete(status, verification)
    else if (++state.completedChildren === this.children.length) this.complete(this.verdict(verification), verification)
  }

  private verdict(verification: Verification): Status {
    if (this.allowsFailed) return STATUS.ok
    let worst = STATUS.missed
    for (const child of this.children) {
      const { status } = verification.state(child.id)
      const telling = status !== STATUS.missed && status !== STATUS.unknownIssuer
      if (telling || worst === STATUS.missed) worst = status
    }
    return this.allowsMissing && worst === STATUS.missed ? STATUS.ok : worst
  }
}

/** What the nodes of one tree are compiled with. */
interface Tree {
  nodes: number
  readonly providers: Providers
  readonly configs: readonly JwtProvider[]
}

/** Compiles a requirement. Throws ConfigError on a provider that there is not. */
export function compileRequirement(requirement: JwtRequirement, providers: Providers): Requirement {
  const configs = providers.all.map((provider) => provider.config)
  return compile(requirement, { nodes: 0, providers, configs }, undefined)
}

function compile(requirement: JwtRequirement, tree: Tree, parent: Group | undefined): Requirement {
  const type = requirement.requiresType
  switch (type.case) {
    case 'providerName':
      return new TokenRequirement(tree, parent, { provider: providerOf(tree, type.value) })
    case 'providerAndAudiences': {
      const { providerName, audiences } = type.value
      const provider = providerOf(tree, providerName)
      return new TokenRequirement(tree, parent, {
        provider,
        ...(audiences.length > 0 ? { audiences: new Audiences(audiences) } : {}),
      })
    }
    case 'requiresAny':
      return new AnyOf(tree, parent, type.value.requirements)
    case 'requiresAll':
      return new All(tree, parent, type.value.requirements)
    case 'allowMissing':
      return new TokenRequirement(tree, parent, { allowsMissing: true })
    case 'allowMissingOrFailed':
      return new TokenRequirement(tree, parent, { allowsMissing: true, allowsFailed: true })
    case 'extractOnlyWithoutValidation':
      return new ExtractOnly(tree, parent, tree.providers.statusHeader(type.value.verificationStatusHeader))
    default:
      return new AllowAll(tree, parent)
  }
}

function providerOf(tree: Tree, name: string): Provider {
  const provider = tree.providers.get(name)
  if (provider === undefined) throw new ConfigError([`Required provider ['${name}'] is not configured.`])
  return provider
}

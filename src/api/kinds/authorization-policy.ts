import type { z } from 'zod'
import { list, message, oneOf, text } from '../schema.ts'
import { PolicySelector, PolicyTargetReference } from './selector.ts'

/** All fields that are set must hold; the values of a field are alternatives. */
export const Source = message({
  principals: list(text),
  notPrincipals: list(text),
  requestPrincipals: list(text),
  notRequestPrincipals: list(text),
  namespaces: list(text),
  notNamespaces: list(text),
  serviceAccounts: list(text),
  notServiceAccounts: list(text),
  ipBlocks: list(text),
  notIpBlocks: list(text),
  remoteIpBlocks: list(text),
  notRemoteIpBlocks: list(text),
  trustDomains: list(text),
  notTrustDomains: list(text),
})
export type Source = z.infer<typeof Source>

/** A source. */
export const RuleFrom = message({
  source: Source,
})
export type RuleFrom = z.infer<typeof RuleFrom>

/** All fields that are set must hold; the values of a field are alternatives. */
export const Operation = message({
  hosts: list(text),
  notHosts: list(text),
  ports: list(text),
  notPorts: list(text),
  methods: list(text),
  notMethods: list(text),
  paths: list(text),
  notPaths: list(text),
})
export type Operation = z.infer<typeof Operation>

/** An operation. */
export const RuleTo = message({
  operation: Operation,
})
export type RuleTo = z.infer<typeof RuleTo>

/** A condition on an attribute. */
export const Condition = message(
  {
    key: text,
    values: list(text),
    notValues: list(text),
  },
  ['key'],
)
export type Condition = z.infer<typeof Condition>

/** Any of from, any of to, all of when. */
export const AuthorizationRule = message({
  from: list(RuleFrom),
  to: list(RuleTo),
  when: list(Condition),
})
export type AuthorizationRule = z.infer<typeof AuthorizationRule>

/** Names an extension provider of MeshConfig. */
export const AuthorizationExtensionProvider = message({
  name: text,
})
export type AuthorizationExtensionProvider = z.infer<typeof AuthorizationExtensionProvider>

/** Who may do what (security/v1beta1/authorization_policy.proto). */
export const AuthorizationPolicy = message(
  {
    selector: PolicySelector,
    targetRef: PolicyTargetReference,
    targetRefs: list(PolicyTargetReference),
    /** None: an ALLOW policy allows nothing. */
    rules: list(AuthorizationRule),
    /** ALLOW when unset. */
    action: oneOf('ALLOW', 'DENY', 'AUDIT', 'CUSTOM'),
    provider: AuthorizationExtensionProvider,
  },
  [],
  [['provider']],
)
export type AuthorizationPolicy = z.infer<typeof AuthorizationPolicy>

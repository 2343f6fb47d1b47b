import { messageType } from '../catalogue.ts'

/**
 * This project's own messages: what a real Istio takes without a word and then does otherwise than it reads. Each says
 * what happens, and how to write it.
 */
const list = (items: readonly string[]): string => items.join(', ')

export const DENY_PATH_GAPS = messageType(
  'DGY0101',
  'Warning',
  'DenyPathHasGaps',
  (pattern: string, mode: string, passing: readonly string[], remedy: string) =>
    `Requests for ${list(passing)} pass the refusal of ${pattern} under path normalization ${mode}, and reach the application as they are. ${remedy}`,
)
export const DENY_PATH_SPELLINGS = messageType(
  'DGY0102',
  'Info',
  'DenyPathHasOtherSpellings',
  (pattern: string, passing: readonly string[]) =>
    `Requests for ${list(passing)} pass the refusal of ${pattern}; an application that ignores case, cuts parameters after ";" (and so takes "..;" for ".."), decodes twice, or trims the end (blanks, ".", "%23…", "%3f…") takes them for it. Where it may: write an ALLOW policy that names the paths to let in.`,
)
export const PATH_NEVER_MATCHES = messageType(
  'DGY0103',
  'Warning',
  'PathNeverMatches',
  (pattern: string, why: string, remedy: string) => `The path ${pattern} never matches: ${why}. ${remedy}`,
  true,
)
export const PATH_IS_LITERAL = messageType(
  'DGY0104',
  'Warning',
  'PathIsLiteral',
  (pattern: string) =>
    `The path ${pattern} is compared as it stands: only a "*" at its start or end is a wildcard, and nothing is a regular expression. Write {*} for one segment, {**} for the rest.`,
)
export const DENY_HOST_GAPS = messageType(
  'DGY0105',
  'Warning',
  'DenyHostHasGaps',
  (host: string, passing: readonly string[]) =>
    `A request with Host ${list(passing)} passes the refusal of ${host}: a sidecar serves every Host (other names and addresses of its services too), and compares the whole text. Write an ALLOW policy that names the hosts to let in, or refuse by something that the client cannot choose.`,
)
export const DENY_HEADER_GAPS = messageType(
  'DGY0106',
  'Warning',
  'DenyHeaderHasGaps',
  (header: string, passing: string) =>
    `A client passes this by sending ${header} ${passing}. Write an ALLOW policy that names the values to let in.`,
)
export const HEADER_IS_FORGEABLE = messageType(
  'DGY0107',
  'Info',
  'HeaderIsForgeable',
  (header: string, passing: string) =>
    `Whoever sends the header ${header} is let in, ${passing}: nothing else in this rule says who the caller is. Add a source (principals, requestPrincipals), or make sure that a gateway before it takes the header away.`,
)
export const DENY_METHOD_GAPS = messageType(
  'DGY0108',
  'Info',
  'DenyMethodHasGaps',
  (method: string, passing: string, remedy: string) =>
    `${passing} passes the refusal of ${method}, and an application may take it for that. ${remedy}`,
)
export const METHOD_NEVER_MATCHES = messageType(
  'DGY0109',
  'Warning',
  'MethodNeverMatches',
  (method: string) =>
    `The method ${method} never matches, since methods are compared as they stand. Write ${method.toUpperCase()}.`,
  true,
)
export const DENY_ON_TCP = messageType(
  'DGY0110',
  'Warning',
  'HttpFieldsOnTcpPortDeny',
  (fields: readonly string[], ports: readonly string[], rest: string) =>
    `The HTTP fields of this rule (${list(fields)}) are passed over on the TCP port ${list(ports)}: it refuses ${rest} there. Name the HTTP ports in the rule (operation.ports), or the port's protocol in its Service.`,
)
export const ALLOW_ON_TCP = messageType(
  'DGY0111',
  'Warning',
  'HttpFieldsOnTcpPortAllow',
  (fields: readonly string[], ports: readonly string[]) =>
    `The HTTP fields of this rule (${list(fields)}) cannot hold on the TCP port ${list(ports)}: it never allows anything there, and nothing else does, so every connection is refused. Add a rule without them for the port, or name the port's protocol in its Service.`,
)
export const PRINCIPAL_WITH_SCHEME = messageType(
  'DGY0112',
  'Warning',
  'PrincipalWithScheme',
  (principal: string) =>
    `The principal ${principal} never matches: principals are written without "spiffe://". Write ${principal.replace(/^spiffe:\/\//, '')}.`,
  true,
)
export const PRINCIPAL_OF_OTHER_DOMAIN = messageType(
  'DGY0113',
  'Warning',
  'PrincipalOfUnknownTrustDomain',
  (principal: string, domains: readonly string[]) =>
    `No caller is ${principal}: the trust domain of this mesh is ${list(domains)}. Write one of them, or add it to MeshConfig trustDomainAliases or caCertificates.`,
  true,
)
export const PLAINTEXT_HAS_NO_IDENTITY = messageType(
  'DGY0114',
  'Warning',
  'PlaintextHasNoIdentity',
  (field: string, verb: 'refused' | 'allowed', ports: readonly string[]) =>
    verb === 'refused'
      ? `A caller in plaintext has no identity, so ${field} does not refuse it, and plaintext is taken at ${list(ports)}. Set mTLS mode STRICT there (PeerAuthentication), or write an ALLOW policy that names the callers.`
      : `A caller in plaintext has no identity, so ${field} lets it in, and plaintext is taken at ${list(ports)}. Set mTLS mode STRICT there (PeerAuthentication), or name the callers to let in.`,
)
export const NO_TOKEN_IS_READ = messageType(
  'DGY0115',
  'Warning',
  'TokenRuleWithoutRequestAuthentication',
  (field: string, workloads: readonly string[], effect: string) =>
    `No RequestAuthentication binds ${list(workloads)}, so no request there has ${field}: ${effect}. Add one that names the issuer.`,
  true,
)
export const TOKEN_NOT_REQUIRED = messageType(
  'DGY0116',
  'Warning',
  'TokenNotRequired',
  (workloads: readonly string[]) =>
    `A request without a token passes: a RequestAuthentication refuses invalid tokens only, and no AuthorizationPolicy for ${list(workloads)} asks for one. Add one with action ALLOW and requestPrincipals: ["*"].`,
)
export const FORWARDED_ADDRESS_BELIEVED = messageType(
  'DGY0117',
  'Warning',
  'ForwardedAddressIsBelieved',
  (field: string, where: string) =>
    `${field} goes by X-Forwarded-For, which ${where}. Use ipBlocks for the address of the connection, and keep remoteIpBlocks to gateways whose proxies in front are counted (numTrustedProxies).`,
)
export const BINDS_ALL_NAMESPACES = messageType(
  'DGY0118',
  'Info',
  'RootNamespaceSelector',
  (namespaces: readonly string[]) =>
    `In the root namespace a selector takes workloads of every namespace: here of ${list(namespaces)}. Put the policy into the namespace of those it is meant for.`,
)
export const PEER_AUTHENTICATION_IGNORED = messageType(
  'DGY0119',
  'Warning',
  'PeerAuthenticationIgnored',
  (why: string, remedy: string) => `This PeerAuthentication has no effect: ${why}. ${remedy}`,
  true,
)
export const PORT_OF_SERVICE = messageType(
  'DGY0120',
  'Warning',
  'PortIsNotOfWorkload',
  (port: string, targets: readonly string[]) =>
    `Port ${port} never matches: it is the Service's, and policies go by the workload's own. Write ${list(targets)}.`,
  true,
)
export const UNKNOWN_PROVIDER = messageType(
  'DGY0121',
  'Error',
  'UnknownAuthorizationProvider',
  (provider: string, known: readonly string[]) =>
    `There is no extension provider ${JSON.stringify(provider)} for external authorization, so every request that the policy binds is refused. Define it in MeshConfig extensionProviders${known.length > 0 ? `, or name one of ${list(known)}` : ''}.`,
  true,
)
export const BINDS_NOTHING = messageType(
  'DGY0122',
  'Warning',
  'PolicyBindsNothing',
  (labels: string) =>
    `No workload has the labels ${labels}, so this binds nothing. Compare them with the pod template's labels.`,
  true,
)
export const DRY_RUN = messageType(
  'DGY0123',
  'Info',
  'DryRunPolicy',
  () => 'This policy only counts and logs what it would do (istio.io/dry-run). Remove the annotation to enforce it.',
)
export const PLAINTEXT_TO_STRICT = messageType(
  'DGY0124',
  'Error',
  'PlaintextToStrict',
  (clients: string, server: string, policy: string) =>
    `Connections from ${clients} to ${server} fail: they are not Istio's mutual TLS, and ${policy} there takes nothing else. Remove tls from this rule, or set its mode to ISTIO_MUTUAL.`,
)
export const MTLS_TO_PLAINTEXT = messageType(
  'DGY0125',
  'Error',
  'MutualTlsToPlaintext',
  (clients: string, server: string, why: string) =>
    `Connections from ${clients} to ${server} fail: this rule makes them mutual TLS, and ${why}. Remove tls from this rule: clients then find out by themselves.`,
)
export const HEADER_IS_LOOSE = messageType(
  'DGY0126',
  'Info',
  'HeaderIsComparedLoosely',
  (header: string, passing: string, remedy: string) => `This takes a request with ${header} ${passing}. ${remedy}`,
)
export const TOKENS_ARE_TAKEN_WIDELY = messageType(
  'DGY0127',
  'Info',
  'TokensAreTakenWidely',
  (issuer: string, passing: readonly string[], remedies: readonly string[]) =>
    `Tokens of ${issuer} are taken ${passing.join(', and ')} (besides: without "exp" for ever, and for 60 s after it). Name ${remedies.join(', and ')}.`,
)
export const ENVOY_FILTER_VALUE = messageType(
  'DGY0128',
  'Error',
  'EnvoyFilterValueCannotBeRead',
  (problem: string) => `istiod cannot read this, and leaves the patch out: ${problem}`,
)
export const ENVOY_FILTER_FIELD = messageType(
  'DGY0129',
  'Warning',
  'EnvoyFilterFieldIsUnknown',
  (problem: string) => `istiod leaves this field out: ${problem}`,
)

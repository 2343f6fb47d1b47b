import type { IngressBackend, IngressPath, IngressRule, IngressSpec } from '../kinds/ingress.ts'
import { isDnsSubdomain } from '../metadata.ts'
import type { ApiObject } from '../objects.ts'
import { isAddress } from './names.ts'
import { each, type Scope } from './scope.ts'

/** How a class was named before `ingressClassName`. */
export const CLASS_ANNOTATION = 'kubernetes.io/ingress.class'

/** Sequences that the paths of Exact and Prefix must not hold, and those that they must not end in. */
const BAD_PARTS = ['//', '/./', '/../', '%2f', '%2F']
const BAD_ENDS = ['/..', '/.']

/** Ingress, by the API server's rules (k8s.io/kubernetes pkg/apis/networking/validation). */
export function checkIngress(root: Scope, { spec, metadata }: ApiObject<'Ingress'>): void {
  const scope = root.at('spec')
  const annotated = metadata.annotations[CLASS_ANNOTATION]
  if (!spec.rules?.length && !spec.defaultBackend) scope.error('either defaultBackend or rules must be there')
  if (spec.ingressClassName !== undefined) {
    if (annotated !== undefined)
      scope.at('ingressClassName').errorAtKey(`only one of it and the annotation ${CLASS_ANNOTATION} may be set`)
    if (!isDnsSubdomain(spec.ingressClassName))
      scope.at('ingressClassName').error(`"${spec.ingressClassName}" is no name of an IngressClass`)
  }
  if (spec.defaultBackend) {
    checkBackend(scope.at('defaultBackend'), spec.defaultBackend)
    scope.at('defaultBackend').warnAtKey('has no effect: Istio ignores it, what no rule takes is answered with 404')
  }
  each(scope.at('rules'), spec.rules, checkRule)
  checkTls(scope, spec)
}

function checkRule(at: Scope, rule: IngressRule): void {
  if (rule.host) checkHost(at.at('host'), rule.host)
  if (!rule.http) return
  if (rule.http.paths.length === 0) at.at('http', 'paths').errorAtKey('one path at least is needed')
  each(at.at('http', 'paths'), rule.http.paths, checkPath)
}

function checkHost(at: Scope, host: string): void {
  const name = host.startsWith('*.') ? host.slice(2) : host
  if (isAddress(host)) at.error(`"${host}": a host is a DNS name, no IP address`)
  else if (!isDnsSubdomain(name)) at.error(`"${host}" is no DNS name (small letters, digits, "-", ".", or "*." before)`)
}

function checkPath(at: Scope, entry: IngressPath): void {
  const { path = '', pathType, backend } = entry
  checkBackend(at.at('backend'), backend)
  if (path !== '' && !path.startsWith('/')) at.at('path').error(`"${path}": must start with "/"`)
  if (pathType === 'ImplementationSpecific') return
  if (path === '') {
    at.error(`the type ${pathType} needs a path`)
    return
  }
  const bad = BAD_PARTS.find((part) => path.includes(part)) ?? BAD_ENDS.find((end) => path.endsWith(end))
  if (bad) at.at('path').error(`"${path}": must not hold "${bad}"`)
}

function checkBackend(at: Scope, backend: IngressBackend): void {
  const { service } = backend
  const resource = 'resource' in backend && backend.resource !== undefined
  if (service && resource) at.error('only one of service and resource may be set')
  if (!service && !resource) at.error('service is needed')
  if (!service && resource) at.at('resource').warnAtKey('has no effect: Istio sends to services alone')
  if (!service) return
  const { name, number } = service.port ?? {}
  if (name !== undefined && number !== undefined)
    at.at('service', 'port').error('only one of name and number may be set')
  if (!name && !number) at.at('service').error('port.number or port.name is needed')
  if (number !== undefined && (number < 1 || number > 65535))
    at.at('service', 'port', 'number').error(`a port is a number from 1 to 65535, not ${number}`)
}

function checkTls(scope: Scope, { tls }: IngressSpec): void {
  each(scope.at('tls'), tls, (at, entry) => {
    each(at.at('hosts'), entry.hosts, checkHost)
    if (!entry.secretName) at.warn('has no effect: Istio needs secretName')
  })
}

/** IngressClass (ValidateIngressClass). */
export function checkIngressClass(root: Scope, { spec }: ApiObject<'IngressClass'>): void {
  const controller = spec?.controller
  if (!controller) root.error('spec.controller is needed')
  else if (!/^[a-z0-9.-]+\/.+$/.test(controller))
    root.at('spec', 'controller').error(`"${controller}": must be a path after a domain, such as "example.com/ingress"`)
}

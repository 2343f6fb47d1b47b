import type { TCPRoute, TLSRoute, VirtualService } from '../kinds/virtual-service.ts'
import { checkDestination, checkWeights } from './destination.ts'
import { checkHttpRoute } from './http-route.ts'
import { checkExportTo, checkLabels, checkPort, checkSubnet, isAddress, wildcardFault } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'
import { warnUnreachable } from './unreachable.ts'
import { checkGatewayNames, isClaimName } from './values.ts'

/** VirtualService (ValidateVirtualService). */
export function checkVirtualService(scope: Scope, spec: VirtualService, namespace: string): void {
  const { hosts = [], gateways = [], http = [], tls = [], tcp = [] } = spec
  const delegated = hosts.length === 0
  if (delegated) {
    for (const field of ['gateways', 'tls', 'tcp'] as const) {
      if (spec[field]?.length)
        scope.at(field).errorAtKey('a VirtualService without hosts is a delegate, and has http routes alone')
    }
  }
  checkGatewayNames(scope.at('gateways'), gateways)
  const atGateway = gateways.length > 0 && !gateways.includes('mesh')
  checkHosts(scope, spec, atGateway)
  if (http.length + tls.length + tcp.length === 0) scope.error('one of http, tls and tcp is needed')
  each(scope.at('http'), http, (at, route) => {
    checkHttpRoute(at, route, delegated)
    if (!atGateway) checkNoClaims(at, route.match)
  })
  each(scope.at('tls'), tls, (at, route) => {
    checkTlsRoute(at, route, spec, atGateway)
  })
  each(scope.at('tcp'), tcp, checkTcpRoute)
  checkExportTo(scope.at('exportTo'), spec.exportTo, { namespace })
  warnUnreachable(scope, spec)
}

function checkHosts(scope: Scope, spec: VirtualService, atGateway: boolean): void {
  const hosts = spec.hosts ?? []
  const withSni = spec.tls?.some((route) => route.match.some(({ sniHosts }) => sniHosts.length > 0)) ?? false
  let sound = true
  each(scope.at('hosts'), hosts, (at, host) => {
    const fault = atGateway ? gatewayHostFault(host, withSni) : wildcardFault(host)
    if (fault !== undefined && !isAddress(host)) {
      at.error(fault)
      sound = false
    } else if (host === '*' && !atGateway) {
      at.error('"*" is for VirtualServices of gateways alone')
      sound = false
    }
  })
  if (!sound) return
  hosts.forEach((host, i) => {
    const other = hosts.slice(0, i).find((earlier) => overlap(earlier, host))
    if (other !== undefined) scope.at('hosts', i).error(`"${host}" overlaps "${other}"`)
  })
}

/** The generated names of AUTO_PASSTHROUGH gateways are hosts as well: `outbound_.80_._.name.example`. */
function gatewayHostFault(host: string, withSni: boolean): string | undefined {
  if (!withSni || !host.startsWith('outbound_')) return wildcardFault(host)
  const parts = host.split('_')
  const good = parts.length >= 4 && /\d/.test(parts[1] as string) && /[a-zA-Z]/.test(parts[3] as string)
  return good ? undefined : `"${host}" is not of the form outbound_.<port>_.<subset>_.<host>`
}

/** Whether two hosts, with or without wildcards, have names in common (host.Name.Matches). */
function overlap(a: string, b: string): boolean {
  const [wildA, wildB] = [a.startsWith('*'), b.startsWith('*')]
  if (wildA && wildB) return a.length < b.length ? b.slice(1).endsWith(a.slice(1)) : a.slice(1).endsWith(b.slice(1))
  if (wildA) return b.endsWith(a.slice(1))
  if (wildB) return a.endsWith(b.slice(1))
  return a === b
}

/** Whether every name of `host` is one of `of` (host.Name.SubsetOf). */
function isWithin(host: string, of: string): boolean {
  if (of.startsWith('*'))
    return host.startsWith('*')
      ? host.length >= of.length && host.slice(1).endsWith(of.slice(1))
      : host.endsWith(of.slice(1))
  return host === of
}

function checkNoClaims(scope: Scope, matches: NonNullable<VirtualService['http']>[number]['match']): void {
  each(scope.at('match'), matches, (at, match) => {
    for (const field of ['headers', 'withoutHeaders'] as const) {
      for (const name of Object.keys(match[field] ?? {})) {
        if (isClaimName(name)) at.at(field, name).errorAtKey('claims of a JWT can be matched at gateways alone')
      }
    }
  })
}

function checkTlsRoute(scope: Scope, route: TLSRoute, spec: VirtualService, atGateway: boolean): void {
  if (route.match.length === 0) scope.at('match').errorAtKey('one match at least is needed')
  each(scope.at('match'), route.match, (at, match) => {
    if (match.sniHosts.length === 0) at.at('sniHosts').errorAtKey('one host at least is needed')
    each(at.at('sniHosts'), match.sniHosts, (place, host) => {
      const fault = atGateway ? gatewayHostFault(host, true) : wildcardFault(host)
      if (fault !== undefined && isAddress(host)) place.warn('most clients send no address as SNI')
      else if (fault !== undefined) place.error(fault)
      else if (!spec.hosts?.some((of) => isWithin(host, of))) {
        place.error(`"${host}" is not among the hosts of the VirtualService (${spec.hosts?.join(', ') ?? ''})`)
      }
    })
    checkL4(at, match)
  })
  checkL4Destinations(scope, route)
}

function checkTcpRoute(scope: Scope, route: TCPRoute): void {
  each(scope.at('match'), route.match, checkL4)
  checkL4Destinations(scope, route)
}

type L4Match = NonNullable<TCPRoute['match']>[number] | TLSRoute['match'][number]

function checkL4(scope: Scope, match: L4Match): void {
  each(scope.at('destinationSubnets'), match.destinationSubnets, checkSubnet)
  if (match.port) checkPort(scope.at('port'), match.port)
  checkLabels(scope.at('sourceLabels'), match.sourceLabels)
  checkGatewayNames(scope.at('gateways'), match.gateways)
}

function checkL4Destinations(scope: Scope, { route }: TCPRoute | TLSRoute): void {
  if (!route?.length) scope.error('route is needed')
  each(scope.at('route'), route, (at, { destination }) => {
    checkDestination(at.at('destination'), destination)
  })
  checkWeights(scope.at('route'), route)
}

import type { ServiceSpec } from '../kinds/service.ts'
import { isDnsLabel, isDnsSubdomain } from '../metadata.ts'
import type { ApiObject } from '../objects.ts'
import { checkAddress, isAddress } from './names.ts'
import type { Scope } from './scope.ts'
import { each, eachEntry } from './scope.ts'

/** Services and endpoints, by the API server's rules (k8s.io/kubernetes pkg/apis/core/validation). */

/** The spec of a service. */
export function checkService(scope: Scope, spec: ServiceSpec): void {
  const { type, ports = [], clusterIP, externalName } = spec
  if (type === 'ExternalName') {
    if (!externalName) scope.error('the type ExternalName needs externalName')
    else if (!isDnsSubdomain(externalName.replace(/\.$/, '').toLowerCase()))
      scope.at('externalName').error(`"${externalName}" is no DNS name`)
    if (clusterIP && clusterIP !== 'None') scope.at('clusterIP').errorAtKey('has no place with the type ExternalName')
  } else if (ports.length === 0 && clusterIP !== 'None') scope.error('ports are needed')
  if (clusterIP === 'None' && (type === 'NodePort' || type === 'LoadBalancer')) {
    scope.at('clusterIP').error(`a headless service cannot have the type ${type}`)
  } else if (clusterIP && clusterIP !== 'None' && !isAddress(clusterIP))
    scope.at('clusterIP').error(`"${clusterIP}" is neither an IP address nor "None"`)
  const names = new Set<string>()
  const numbers = new Set<string>()
  each(scope.at('ports'), ports, (at, port) => {
    if (!port.name && ports.length > 1) at.error('name is needed, as there are several ports')
    if (port.name) {
      if (!isDnsLabel(port.name))
        at.at('name').error(`"${port.name}" is no port name (at most 63 lower-case letters, digits and "-")`)
      if (names.has(port.name)) at.at('name').error(`a port "${port.name}" is there already`)
      names.add(port.name)
    }
    const number = `${port.port}/${port.protocol}`
    if (numbers.has(number)) at.at('port').error(`port ${number} is there already`)
    numbers.add(number)
    const { targetPort: target } = port
    if (typeof target === 'number' && (target < 1 || target > 65535))
      at.at('targetPort').error(`a port is a number from 1 to 65535, not ${target}`)
    if (typeof target === 'string' && !/^(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(target)) {
      const hint = /^\d+$/.test(target) ? ': write it without quotes' : ''
      at.at('targetPort').error(`"${target}" is no name of a container port${hint}`)
    }
    if (port.nodePort !== undefined && (port.nodePort < 0 || port.nodePort > 65535))
      at.at('nodePort').error(`a port is a number from 1 to 65535, not ${port.nodePort}`)
  })
}

/** The addresses of an Endpoints object. */
export function checkEndpoints(scope: Scope, { subsets }: ApiObject<'Endpoints'>): void {
  each(scope.at('subsets'), subsets, (at, subset) => {
    for (const field of ['addresses', 'notReadyAddresses'] as const) {
      each(at.at(field), subset[field], (place, { ip }) => {
        checkAddress(place.at('ip'), ip)
      })
    }
  })
}

/** The addresses of an EndpointSlice. */
export function checkEndpointSlice(scope: Scope, slice: ApiObject<'EndpointSlice'>): void {
  each(scope.at('endpoints'), slice.endpoints, (at, { addresses }) => {
    if (addresses.length === 0) at.at('addresses').errorAtKey('one address at least is needed')
    each(at.at('addresses'), addresses, (place, address) => {
      const fits =
        slice.addressType === 'FQDN'
          ? isDnsSubdomain(address)
          : isAddress(address) && address.includes(':') === (slice.addressType === 'IPv6')
      if (!fits) place.error(`"${address}" is no address of the type ${slice.addressType}`)
    })
  })
  if (!slice.metadata.labels['kubernetes.io/service-name']) {
    scope.at('metadata').warnAtKey('without the label kubernetes.io/service-name it belongs to no Service')
  }
}

const KEY = /^[-._a-zA-Z0-9]+$/

/** The keys of ConfigMaps and Secrets. */
export function checkKeys(scope: Scope, data: Readonly<Record<string, string>> | undefined): void {
  eachEntry(scope, data, (at, key) => {
    if (!KEY.test(key) || key.length > 253) at.errorAtKey(`"${key}" is no key (letters, digits, "-", "_" and ".")`)
  })
}

/** Base64; anything else is kept as it is, since placeholders are common. */
export function checkBase64(scope: Scope, data: Readonly<Record<string, string>> | undefined): void {
  checkKeys(scope, data)
  eachEntry(scope, data, (at, _, value) => {
    const plain = value.replace(/\s/g, '')
    if (plain.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(plain)) at.loose('is no base64: kept as it is')
  })
}

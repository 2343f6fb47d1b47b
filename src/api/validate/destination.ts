import type { Destination } from '../kinds/virtual-service.ts'
import { checkPort, isLabel, wildcardFault } from './names.ts'
import type { Scope } from './scope.ts'

/** A destination: a host, perhaps with a subset and a port. */
export function checkDestination(scope: Scope, destination: Destination): void {
  const { host, subset, port } = destination
  if (host === '*') scope.at('host').error('a destination is one service, not "*"')
  else {
    const fault = wildcardFault(host)
    if (fault !== undefined) scope.at('host').error(fault)
  }
  if (subset) checkSubsetName(scope.at('subset'), subset)
  if (port) checkPort(scope.at('port', ...(port.number === undefined ? [] : ['number'])), port.number)
}

/** The name of a subset. */
export function checkSubsetName(scope: Scope, name: string): void {
  if (!isLabel(name))
    scope.error(name === '' ? 'must not be empty' : `"${name}" is no subset name (at most 63 letters, digits and "-")`)
}

/** The weights of a split: none negative, and with several destinations not all of them 0. */
export function checkWeights(scope: Scope, routes: readonly { weight?: number | undefined }[] | undefined): void {
  let total = 0
  routes?.forEach(({ weight = 0 }, i) => {
    if (weight < 0) scope.at(i, 'weight').error(`must not be negative, is ${weight}`)
    total += weight
  })
  if (routes && routes.length > 1 && total === 0)
    scope.error('with several destinations, one weight at least must be more than 0')
}

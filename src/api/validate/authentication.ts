import type { PeerAuthentication } from '../kinds/peer-authentication.ts'
import { checkSelector } from './names.ts'
import type { Scope } from './scope.ts'
import { eachEntry } from './scope.ts'

/** PeerAuthentication (ValidatePeerAuthentication). */
export function checkPeerAuthentication(scope: Scope, spec: PeerAuthentication): void {
  const { selector, portLevelMtls } = spec
  checkSelector(scope.at('selector'), selector)
  if (!portLevelMtls) return
  const at = scope.at('portLevelMtls')
  if (Object.keys(selector?.matchLabels ?? {}).length === 0)
    at.errorAtKey('needs a selector: ports are those of a workload')
  if (Object.keys(portLevelMtls).length === 0) at.errorAtKey('must not be empty')
  eachEntry(at, portLevelMtls, (place, port) => {
    if (!/^\d+$/.test(port) || Number(port) < 1 || Number(port) > 65535)
      place.errorAtKey(`a port is a number from 1 to 65535, not ${port}`)
  })
}

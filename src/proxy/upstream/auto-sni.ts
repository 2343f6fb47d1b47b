import { isIP } from 'node:net'
import { type HeaderName, headerName } from '../http/headers.ts'
import type { LoadBalancerContext } from './cluster.ts'

/** auto_sni: the SNI is the host that the request is for, unless that is an address (source/common/router/router.cc). */
export class AutoSni {
  private readonly header: HeaderName | undefined
  private lastAuthority = ''
  private last: string | undefined

  /** `header`: whose value goes before the authority; empty: none. */
  constructor(header: string) {
    this.header = header === '' ? undefined : headerName(header)
  }

  of(context: LoadBalancerContext): string | undefined {
    const { headers } = context
    // A header that the request lacks leaves the authority.
    const named = this.header === undefined ? undefined : headers?.get(this.header)
    const authority = named || headers?.authority
    if (authority === undefined || authority === '') return undefined
    if (authority !== this.lastAuthority) {
      this.lastAuthority = authority
      const name = authority.replace(/:\d+$/, '')
      this.last = isIP(name.replace(/^\[|\]$/g, '')) === 0 ? name : undefined
    }
    return this.last
  }
}

/**
 * What one workload presents: its certificate chain (leaf first), its key, and the roots it trusts. The key is out of
 * the reach of whatever prints or serialises objects.
 */
export class Identity {
  /** SPIFFE id, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
  readonly spiffeId: string
  /** Leaf, intermediates, and the roots too, as istio-agent puts together what the CA answers. */
  readonly certChainPem: string
  readonly rootPem: string
  /** Wall-clock milliseconds. */
  readonly notAfter: number
  /** When it is due for renewal, in wall-clock milliseconds. */
  readonly renewAt: number
  readonly #privateKeyPem: string

  constructor(
    facts: Pick<Identity, 'spiffeId' | 'certChainPem' | 'rootPem' | 'notAfter' | 'renewAt' | 'privateKeyPem'>,
  ) {
    this.spiffeId = facts.spiffeId
    this.certChainPem = facts.certChainPem
    this.rootPem = facts.rootPem
    this.notAfter = facts.notAfter
    this.renewAt = facts.renewAt
    this.#privateKeyPem = facts.privateKeyPem
  }

  get privateKeyPem(): string {
    return this.#privateKeyPem
  }
}

/** A workload's SPIFFE id, as Istio forms it. */
export function spiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

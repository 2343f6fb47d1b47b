import type { X509Certificate } from 'node:crypto'
import type { CertificateFacts } from './der-read.ts'
import { CaConfigError } from './errors.ts'

/** A certificate in the forms that are needed of it. */
export interface Link {
  readonly pem: string
  readonly certificate: X509Certificate
  readonly facts: CertificateFacts
}

/** The way up from a signer. */
export interface Chains {
  /** The signer first, a root last; one element when the signer is a root. */
  readonly path: readonly Link[]
  /** All roots that a path leads to. */
  readonly anchors: readonly Link[]
}

/** For messages: where the certificates came from. */
export interface ChainNames {
  readonly now: number
  readonly cert: string
  readonly roots: string
  readonly chain: string | undefined
}

/**
 * Finds the paths from a signer to the roots, of which at least one must be good. Throws CaConfigError with what is
 * wrong with the best of them.
 */
export function chainsTo(own: Link, between: readonly Link[], roots: readonly Link[], names: ChainNames): Chains {
  const found: Link[][] = []
  climb([own], between, roots, found)
  if (found.length === 0) throw new CaConfigError(unvouched(own, between, roots, names))
  const good: Link[][] = []
  let problem = ''
  for (const path of found) {
    const wrong = faultOf(path, names)
    if (wrong === undefined) good.push(path)
    else problem ||= wrong
  }
  const [first] = good.sort((a, b) => a.length - b.length)
  if (!first) throw new CaConfigError(problem)
  return { path: first, anchors: [...new Set(good.map((path) => path.at(-1)!))] }
}

/** `expired on …` or `is not valid before …`; undefined when it is valid now. */
export function validity(certificate: X509Certificate, now: number): string | undefined {
  if (now >= Date.parse(certificate.validTo)) return `expired on ${certificate.validTo}`
  // Those who write certificates and those who read them have clocks that differ by a little.
  if (now + SKEW < Date.parse(certificate.validFrom)) return `is not valid before ${certificate.validFrom}`
  return undefined
}

const SKEW = 60_000
/** Longer paths than this are of no use to anyone. */
const MAX_PATH = 10

function climb(path: Link[], between: readonly Link[], roots: readonly Link[], found: Link[][]): void {
  const top = path.at(-1)!
  for (const root of roots) {
    if (root.pem === top.pem) found.push(path)
    else if (issued(top, root)) found.push([...path, root])
  }
  if (path.length >= MAX_PATH) return
  for (const next of between) {
    if (path.some(({ pem }) => pem === next.pem) || roots.some(({ pem }) => pem === next.pem)) continue
    if (issued(top, next)) climb([...path, next], between, roots, found)
  }
}

function issued(below: Link, above: Link): boolean {
  return below.certificate.checkIssued(above.certificate) && below.certificate.verify(above.certificate.publicKey)
}

function faultOf(path: readonly Link[], names: ChainNames): string | undefined {
  for (const [i, { certificate, facts }] of path.entries()) {
    if (i === 0) continue
    const where = i === path.length - 1 ? names.roots : (names.chain ?? names.cert)
    const who = `${where}: the certificate ${oneLine(certificate.subject)}`
    const wrong = validity(certificate, names.now)
    if (wrong) return `${who} ${wrong}`
    // Roots are trusted whatever they say of themselves.
    if (i < path.length - 1 && (!facts.isCa || !facts.maySign)) return `${who} is not the certificate of a CA`
    if (facts.pathLength !== undefined && i > facts.pathLength)
      return `${who} lets ${facts.pathLength} CAs follow (path length), and ${i} do, down to ${names.cert}`
  }
  return undefined
}

function unvouched(own: Link, between: readonly Link[], roots: readonly Link[], names: ChainNames): string {
  // What is missing is the issuer of the uppermost certificate that can be reached.
  let top = own
  const seen = new Set([top])
  for (;;) {
    const next = between.find((link) => !seen.has(link) && issued(top, link))
    if (!next) break
    seen.add(next)
    top = next
  }
  const issuer = oneLine(top.certificate.issuer)
  const sameName = [...roots, ...between].some((link) => oneLine(link.certificate.subject) === issuer)
  const where = names.chain ? `${names.roots} and ${names.chain}` : names.roots
  return sameName
    ? `${names.roots}: does not vouch for ${names.cert}: there is a certificate ${issuer}, but it is not the one that signed ${oneLine(top.certificate.subject)}`
    : `${names.roots}: does not vouch for ${names.cert}: ${issuer}, which signed ${oneLine(top.certificate.subject)}, is not in ${where}`
}

function oneLine(name: string | undefined): string {
  return (name ?? '').replaceAll('\n', ', ') || '(without a name)'
}

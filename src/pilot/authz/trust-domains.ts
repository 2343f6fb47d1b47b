/** Principals and trust domains with their aliases (pilot/pkg/security/trustdomain/bundle.go). */

/** `td/ns/x/sa/y` of this mesh under each of its trust domains; anything else as it is. */
export function withAliases(values: readonly string[], domains: readonly string[]): string[] {
  return values.flatMap((principal) => {
    const [domain = '', ...rest] = principal.split('/')
    if (rest.length !== 4 || domain === '*') return [principal]
    if (domain !== 'cluster.local' && !domains.some((known) => matches(domain, known))) return [principal]
    const out = domains.map((known) => (endMatches(known, domain) ? principal : [known, ...rest].join('/')))
    return [...new Set(out)]
  })
}

/** A trust domain of this mesh stands for all of them. */
export const expandDomains = (values: readonly string[], domains: readonly string[]): string[] => [
  ...new Set(values.flatMap((value) => (domains.includes(value) ? domains : [value]))),
]

/** Either may be a pattern with `*` at its start or end. */
const matches = (a: string, b: string): boolean =>
  a === b || b === '*' || startMatches(a, b) || startMatches(b, a) || endMatches(a, b) || endMatches(b, a)

const startMatches = (text: string, pattern: string): boolean =>
  pattern.endsWith('*') && text.startsWith(pattern.slice(0, -1))

const endMatches = (text: string, pattern: string): boolean =>
  pattern.startsWith('*') && text.endsWith(pattern.slice(1))

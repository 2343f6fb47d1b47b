import type { ApiObject } from '../../../api/objects.ts'
import type { Link } from '../../links/link.ts'
import { originText } from '../../links/link.ts'
import { linksOf } from '../../links/links.ts'
import { linkRows } from '../../links/rows.ts'
import type { Analyzer } from '../analyzer.ts'
import { MTLS_TO_PLAINTEXT, PLAINTEXT_TO_STRICT } from './catalogue.ts'

/** DestinationRules whose TLS settings the server does not take. */
export const links: Analyzer = {
  name: 'dinghy.LinkAnalyzer',
  description: 'Finds DestinationRules whose TLS settings do not fit how the server takes connections',
  types: [PLAINTEXT_TO_STRICT, MTLS_TO_PLAINTEXT],
  analyze(context) {
    const { snapshot } = context.push
    if (snapshot.list('DestinationRule').length === 0) return
    const failing = linksOf(context.push, context.capture).filter(
      ({ fails, by }) => fails && by.origin?.kind === 'DestinationRule',
    )
    for (const row of linkRows(failing)) {
      const [{ by, transport, mode, modeBy }] = row.links as [Link]
      const { namespace = '', name = '', line } = by.origin ?? {}
      const rule = snapshot.get('DestinationRule', namespace, name)
      if (!rule) continue
      const path = tlsAt(rule, line)
      const policy = modeBy ? originText(modeBy) : `mTLS mode ${mode}`
      if (transport === 'mTLS') context.report(MTLS_TO_PLAINTEXT, rule, path, row.clients, row.target, row.fails ?? '')
      else context.report(PLAINTEXT_TO_STRICT, rule, path, row.clients, row.target, policy)
    }
  },
}

/** The path of the tls block on that line. */
function tlsAt(rule: ApiObject<'DestinationRule'>, line: number | undefined): (string | number)[] {
  const policies: (string | number)[][] = [
    ['spec', 'trafficPolicy'],
    ...(rule.spec.subsets ?? []).map((_, i) => ['spec', 'subsets', i, 'trafficPolicy']),
  ]
  const paths = policies.flatMap((path) => [
    ...Array.from({ length: 16 }, (_, i) => [...path, 'portLevelSettings', i, 'tls']),
    [...path, 'tls'],
  ])
  return paths.find((path) => rule.origin.locate(path).line === line) ?? ['spec', 'trafficPolicy']
}

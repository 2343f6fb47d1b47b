import net from 'node:net'
import type { OtherObject } from '../../api/objects.ts'
import type { Analyzer } from './analyzer.ts'
import { EXTERNAL_CONTROL_PLANE_IP, INVALID_EXTERNAL_CONTROL_PLANE } from './catalogue.ts'
import { webhooksOf } from './webhooks.ts'

/** Where the webhooks of a control plane outside the cluster point (analyzers/externalcontrolplane). */
export const externalControlPlane: Analyzer = {
  name: 'externalcontrolplane.ExternalControlPlaneAnalyzer',
  description: 'Checks that the remote IstioOperator resources reference an external control plane',
  types: [INVALID_EXTERNAL_CONTROL_PLANE, EXTERNAL_CONTROL_PLANE_IP],
  analyze(context) {
    const isIstios = ({ kind, metadata: { name } }: OtherObject): boolean =>
      kind === 'MutatingWebhookConfiguration'
        ? name.startsWith('istio-sidecar-injector')
        : kind === 'ValidatingWebhookConfiguration' &&
          (name === 'istiod-default-validator' || name.startsWith('istio-validator'))
    for (const object of context.others.filter(isIstios)) {
      for (const [i, { name, clientConfig }] of webhooksOf(object).entries()) {
        const path = ['webhooks', i, 'clientConfig', 'url']
        const { url } = clientConfig
        if (url === undefined) {
          if (!clientConfig.service) context.report(INVALID_EXTERNAL_CONTROL_PLANE, object, path, '', name, 'is blank')
          continue
        }
        const host = hostOf(url)
        if (host === undefined)
          context.report(INVALID_EXTERNAL_CONTROL_PLANE, object, path, url, name, 'was provided in an invalid format')
        else if (net.isIP(host)) context.report(EXTERNAL_CONTROL_PLANE_IP, object, path, url, name)
      }
    }
  },
}

/** As Go's net/url: control characters and ports that are no number are errors; a bare host has none. */
function hostOf(url: string): string | undefined {
  if ([...url].some((char) => char < ' ' || char === '\x7f') || /^:/.test(url)) return undefined
  const authority = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#]*)/.exec(url)?.[1]
  if (authority === undefined) return ''
  const m = /^(?:[^@]*@)?(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d*))?$/.exec(authority)
  if (!m || /[\s<>"%]/.test(m[2] ?? '')) return undefined
  return m[1] ?? m[2] ?? ''
}

import type { IngressBackend, IngressPath } from '../../api/kinds/ingress.ts'
import type { HTTPRoute, StringMatch } from '../../api/kinds/virtual-service.ts'
import type { ApiObject, Path } from '../../api/objects.ts'
import { serviceHostname } from '../../registry/host.ts'
import type { Snapshot } from '../../store/store.ts'

/** A path of an Ingress as a rule of a VirtualService, and where it was written. */
export interface IngressRoute {
  ingress: ApiObject<'Ingress'>
  path: Path
  rule: HTTPRoute
}

/** The rules of one rule of an Ingress; paths whose backend cannot be told are left out (convertIngressRule). */
export function routesOf(
  ingress: ApiObject<'Ingress'>,
  index: number,
  snapshot: Snapshot,
  domain: string,
): IngressRoute[] {
  const { namespace } = ingress.metadata
  const paths = ingress.spec.rules?.[index]?.http?.paths ?? []
  return paths.flatMap((entry, at) => {
    const port = backendPort(entry.backend, namespace, snapshot)
    const { service } = entry.backend
    if (!service || port === undefined) return []
    const uri = uriOf(entry)
    const host = serviceHostname(service.name, namespace, domain)
    const rule: HTTPRoute = {
      ...(uri ? { match: [{ uri }] } : {}),
      route: [{ destination: { host, port: { number: port } }, weight: 100 }],
    }
    return [{ ingress, path: ['spec', 'rules', index, 'http', 'paths', at], rule }]
  })
}

/** A port's number; a name is looked up in the service. */
function backendPort({ service }: IngressBackend, namespace: string, snapshot: Snapshot): number | undefined {
  if (!service) return undefined
  if (service.port?.number) return service.port.number
  const found = snapshot.get('Service', namespace, service.name)
  return found?.spec.ports?.find((port) => port.name === service.port?.name)?.port
}

function uriOf({ path = '', pathType }: IngressPath): StringMatch | undefined {
  if (pathType === 'Exact') return { exact: path }
  if (pathType === 'Prefix') return { prefix: path }
  // Anything at all (createFallbackStringMatch).
  if (['', '*', '/*', '.*'].includes(path)) return undefined
  const prefix = /^(.*)(?:\.\*|\/\*)$/.exec(path)?.[1]
  return prefix === undefined ? { exact: path } : { prefix }
}

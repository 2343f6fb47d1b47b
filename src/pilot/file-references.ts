import type { ServerTLSSettings } from '../api/kinds/gateway.ts'
import type { ClientTLSSettings, TrafficPolicy } from '../api/kinds/traffic-policy.ts'
import type { ApiObject, Path, Position } from '../api/objects.ts'
import type { Snapshot } from '../store/snapshot.ts'

/** A field that names a file. */
export interface FileReference {
  /** `DestinationRule default/db`. */
  readonly object: string
  readonly field: string
  readonly at: Position
}

/** The first field of a DestinationRule or Gateway that names a file; undefined when none does. */
export function fileReference(snapshot: Snapshot, file: string): FileReference | undefined {
  for (const rule of snapshot.list('DestinationRule'))
    for (const [path, tls] of clientSettings(rule)) {
      const field = (['clientCertificate', 'privateKey', 'caCertificates'] as const).find((name) => tls[name] === file)
      if (field) return reference(rule, field, path)
    }
  for (const gateway of snapshot.list('Gateway'))
    for (const [path, tls] of serverSettings(gateway)) {
      const field = (['serverCertificate', 'privateKey', 'caCertificates'] as const).find((name) => tls[name] === file)
      if (field) return reference(gateway, field, path)
    }
  return undefined
}

function reference(object: ApiObject<'DestinationRule' | 'Gateway'>, field: string, path: Path): FileReference {
  const { namespace, name } = object.metadata
  return { object: `${object.kind} ${namespace}/${name}`, field, at: object.origin.locate([...path, field]) }
}

function clientSettings({ spec }: ApiObject<'DestinationRule'>): [Path, ClientTLSSettings][] {
  const of = (policy: TrafficPolicy | undefined, path: Path): [Path, ClientTLSSettings][] => [
    ...(policy?.tls ? [[[...path, 'tls'], policy.tls] as [Path, ClientTLSSettings]] : []),
    ...(policy?.portLevelSettings ?? []).flatMap(({ tls }, i): [Path, ClientTLSSettings][] =>
      tls ? [[[...path, 'portLevelSettings', i, 'tls'], tls]] : [],
    ),
  ]
  return [
    ...of(spec.trafficPolicy, ['spec', 'trafficPolicy']),
    ...(spec.subsets ?? []).flatMap((subset, i) => of(subset.trafficPolicy, ['spec', 'subsets', i, 'trafficPolicy'])),
  ]
}

type ServerFiles = Pick<ServerTLSSettings, 'serverCertificate' | 'privateKey' | 'caCertificates'>

function serverSettings({ spec }: ApiObject<'Gateway'>): [Path, ServerFiles][] {
  return (spec.servers ?? []).flatMap(({ tls }, i): [Path, ServerFiles][] => {
    const path = ['spec', 'servers', i, 'tls']
    if (!tls) return []
    const several = (tls.tlsCertificates ?? []).map((one, k): [Path, ServerFiles] => [
      [...path, 'tlsCertificates', k],
      one,
    ])
    return [[path, tls], ...several]
  })
}

import { anchorFault } from '../../api/validate/trust-anchor.ts'
import { certificatesOf } from '../../ca/pem.ts'
import type { Mesh } from '../mesh.ts'

/**
 * The further roots of trust that MeshConfig has written out, each in PEM. With one that is none, all are left out, of
 * which validation has told (pilot/pkg/trustbundle/trustbundle.go UpdateTrustAnchor).
 */
export function statedAnchors({ caCertificates = [] }: Mesh): string[] {
  const texts = caCertificates.flatMap(({ pem }) => pem || [])
  return texts.some((text) => anchorFault(text) !== undefined) ? [] : texts.flatMap(certificatesOf)
}

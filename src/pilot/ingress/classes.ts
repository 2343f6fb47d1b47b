import type { ApiObject } from '../../api/objects.ts'
import { CLASS_ANNOTATION } from '../../api/validate/ingress.ts'
import type { Snapshot } from '../../store/store.ts'
import type { Mesh } from '../mesh.ts'

/** Set on the class that Ingresses without one get from the API server. */
const DEFAULT_ANNOTATION = 'ingressclass.kubernetes.io/is-default-class'
/** The controller of classes that Istio serves. */
const CONTROLLER = 'istio.io/ingress-controller'

/** Whether Istio serves an Ingress, by its class (shouldProcessIngressWithClass). */
export function isServed(ingress: ApiObject<'Ingress'>, snapshot: Snapshot, mesh: Mesh): boolean {
  const mode = mesh.ingressControllerMode ?? 'STRICT'
  const annotated = ingress.metadata.annotations[CLASS_ANNOTATION]
  if (annotated !== undefined) {
    return (mode === 'STRICT' || mode === 'DEFAULT') && annotated === (mesh.ingressClass ?? 'istio')
  }
  const found = classOf(ingress, snapshot)
  return found ? found.spec?.controller === CONTROLLER : mode === 'DEFAULT'
}

/** The class of an Ingress: the one it names, or the default one (the API server's plugin DefaultIngressClass). */
function classOf(ingress: ApiObject<'Ingress'>, snapshot: Snapshot): ApiObject<'IngressClass'> | undefined {
  const name = ingress.spec.ingressClassName
  if (name !== undefined) return snapshot.get('IngressClass', '', name)
  // Of several the youngest.
  return snapshot.list('IngressClass').findLast(({ metadata }) => metadata.annotations[DEFAULT_ANNOTATION] === 'true')
}

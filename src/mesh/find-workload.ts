import type { Workload } from '../registry/model.ts'

/** No workload, or more than one, goes by a name. */
export class UnknownWorkloadError extends Error {}

/**
 * The instance that a user means by `NAME` or `NAME.NAMESPACE` (as istioctl writes it), or `NAMESPACE/NAME`: by
 * the pod's name, else the owner's (`deploy/NAME` too), else the `app` label. Of several instances the first
 * counts, as with `kubectl exec deploy/…`. Throws UnknownWorkloadError, naming what there is.
 */
export function findWorkload(workloads: readonly Workload[], text: string): Workload {
  return findWorkloads(workloads, text)[0]!
}

/** All instances that a user means, as with `findWorkload`; one at least. */
export function findWorkloads(workloads: readonly Workload[], text: string): Workload[] {
  const [namespace, name] = split(text)
  const inNamespace = workloads.filter((w) => namespace === undefined || w.namespace === namespace)
  const ways: ((w: Workload) => boolean)[] = [
    (w) => w.name === name,
    (w) => w.workloadName === name,
    (w) => w.labels.app === name,
  ]
  for (const way of ways) {
    const found = inNamespace.filter(way)
    const namespaces = [...new Set(found.map((w) => w.namespace))]
    if (found.length && (namespaces.length === 1 || namespaces.includes('default')))
      return found.filter((w) => namespaces.length === 1 || w.namespace === 'default')
    if (found.length)
      throw new UnknownWorkloadError(
        `"${text}" is in several namespaces: ${namespaces.map((n) => `${name}.${n}`).join(', ')}`,
      )
  }
  const known = [...new Set(workloads.map((w) => `${w.workloadName}.${w.namespace}`))].sort()
  throw new UnknownWorkloadError(`no workload is called "${text}"; there are: ${known.join(', ') || 'none'}`)
}

function split(text: string): [string | undefined, string] {
  const bare = text.replace(/^(?:deploy(?:ment)?|pod|sts|statefulset|ds|daemonset|job)s?\//, '')
  const slash = bare.indexOf('/')
  if (slash >= 0) return [bare.slice(0, slash), bare.slice(slash + 1)]
  const dot = bare.lastIndexOf('.')
  return dot < 0 ? [undefined, bare] : [bare.slice(dot + 1), bare.slice(0, dot)]
}

import type { LabelSelector } from '../kinds/label-selector.ts'
import type { Container, PodSpec, PodTemplateSpec } from '../kinds/pod.ts'
import { isDnsLabel, isDnsSubdomain, labelFindings } from '../metadata.ts'
import { checkFaultAnnotation } from './fault-annotation.ts'
import { checkAddress, checkPort } from './names.ts'
import type { Scope } from './scope.ts'
import { each } from './scope.ts'

/** Pods and what makes them, as far as the API server's rules matter to a mesh (k8s.io/kubernetes pkg/apis/core/validation). */

/** The name of a container port: 15 characters at most, a letter among them. */
function isPortName(name: string): boolean {
  return /^(?=.*[a-z])[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$/.test(name) && !name.includes('--')
}

/** The spec of a pod. */
export function checkPodSpec(scope: Scope, spec: PodSpec): void {
  if (spec.containers.length === 0) scope.at('containers').errorAtKey('one container at least is needed')
  const names = new Set<string>()
  for (const field of ['initContainers', 'containers'] as const) {
    each(scope.at(field), spec[field], (at, container) => {
      checkContainer(at, container)
      if (names.has(container.name)) at.at('name').error(`a container "${container.name}" is there already`)
      names.add(container.name)
    })
  }
  const account = spec.serviceAccountName ?? spec.serviceAccount
  if (account && !isDnsSubdomain(account))
    scope.at('serviceAccountName').error(`"${account}" is no name of a service account`)
}

function checkContainer(scope: Scope, container: Container): void {
  if (!isDnsLabel(container.name))
    scope
      .at('name')
      .error(`"${container.name}" is no name of a container (at most 63 lower-case letters, digits and "-")`)
  if (container.image === '' || container.image === undefined) scope.loose('image is needed')
  const names = new Set<string>()
  each(scope.at('ports'), container.ports, (at, port) => {
    checkPort(at.at('containerPort'), port.containerPort)
    if (port.name === undefined) return
    if (!isPortName(port.name))
      at.at('name').error(`"${port.name}" is no port name (at most 15 lower-case letters, digits and "-")`)
    if (names.has(port.name)) at.at('name').error(`a port "${port.name}" is there already`)
    names.add(port.name)
  })
}

/** The addresses in a pod's status. */
export function checkPodStatus(scope: Scope, status: { podIP?: string | undefined } | undefined): void {
  if (status?.podIP) checkAddress(scope.at('podIP'), status.podIP)
}

/** The template of a controller, and that its selector selects what comes out of it. */
export function checkTemplate(scope: Scope, spec: { selector: LabelSelector; template: PodTemplateSpec }): void {
  checkTemplateAlone(scope.at('template'), spec.template)
  const labels = spec.template.metadata?.labels ?? {}
  const { matchLabels = {}, matchExpressions = [] } = spec.selector
  if (Object.keys(matchLabels).length + matchExpressions.length === 0) {
    scope.at('selector').errorAtKey('must not be empty')
    return
  }
  for (const [key, value] of Object.entries(matchLabels)) {
    if (labels[key] !== value)
      scope.at('selector', 'matchLabels', key).error(`the labels of the template do not have ${key}: ${value}`)
  }
  each(scope.at('selector', 'matchExpressions'), matchExpressions, (at, { key, operator, values = [] }) => {
    const value = labels[key]
    const fits: Record<string, boolean> = {
      In: value !== undefined && values.includes(value),
      NotIn: value === undefined || !values.includes(value),
      Exists: value !== undefined,
      DoesNotExist: value === undefined,
    }
    if (!(operator in fits)) at.at('operator').error(`"${operator}" is not one of In, NotIn, Exists, DoesNotExist`)
    else if (!fits[operator]) at.error('the labels of the template do not fit this')
  })
}

/** The template of a Job, whose selector is made by the cluster. */
export function checkJob(scope: Scope, template: PodTemplateSpec): void {
  checkTemplateAlone(scope.at('template'), template)
  if (template.spec.restartPolicy === 'Always') {
    scope
      .at('template', 'spec', 'restartPolicy')
      .loose('a Job restarts OnFailure or Never, and has to say so: taken as Never')
  }
}

function checkTemplateAlone(scope: Scope, template: PodTemplateSpec): void {
  for (const { path, message } of labelFindings(template.metadata?.labels ?? {}, [])) {
    scope.at('metadata', 'labels', ...path).error(message.replace(/^[^:]*: /, ''))
  }
  checkFaultAnnotation(scope.at('metadata'), template.metadata)
  checkPodSpec(scope.at('spec'), template.spec)
}

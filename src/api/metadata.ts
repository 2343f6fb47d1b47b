import { z } from 'zod'
import type { Finding } from './issues.ts'
import { findingsOf, shown } from './issues.ts'
import type { KindInfo } from './kinds-table.ts'
import type { ObjectMeta, Path } from './objects.ts'
import { pathText } from './problems.ts'
import { bool, list, map, open, text } from './schema.ts'

const Metadata = open(
  {
    name: text,
    namespace: text,
    labels: map(text),
    annotations: map(text),
    creationTimestamp: text,
    deletionTimestamp: text,
    ownerReferences: list(open({ kind: text, name: text, controller: bool }, ['kind', 'name'])),
    uid: text,
    resourceVersion: text,
    generation: z.int(),
  },
  ['name'],
)

const LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/
const SERVICE = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/
const NAME_PART = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

/** Whether a text is a DNS label (RFC 1123): 1 to 63 of a-z, 0-9 and `-`, not at the ends. */
export function isDnsLabel(name: string): boolean {
  return LABEL.test(name)
}

/** Whether a text is a DNS subdomain (RFC 1123): labels joined by dots, 253 characters at most. */
export function isDnsSubdomain(name: string): boolean {
  return name.length <= 253 && name.split('.').every(isDnsLabel)
}

const NAMES = {
  subdomain: { test: isDnsSubdomain, words: 'lower-case letters, digits, "-" and "."' },
  label: { test: isDnsLabel, words: 'at most 63 lower-case letters, digits and "-"' },
  service: {
    test: (name: string) => SERVICE.test(name),
    words: 'at most 63 lower-case letters, digits and "-", with a letter first',
  },
}

/** What is wrong with the keys and values of a map of labels (k8s.io/apimachinery validation). */
export function labelFindings(labels: Record<string, string>, path: Path): Finding[] {
  const findings: Finding[] = []
  for (const [key, value] of Object.entries(labels)) {
    const at = [...path, key]
    if (!isQualifiedName(key))
      findings.push({ path: at, atKey: true, message: `${pathText(at)}: "${key}" is no label key` })
    if (!LABEL_VALUE.test(value)) {
      const rule = 'at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends'
      findings.push({ path: at, message: `${pathText(at)}: ${shown(value)} is no label value: ${rule}` })
    }
  }
  return findings
}

/** Whether a text is a qualified name: `[dns.prefix/]name`. */
export function isQualifiedName(key: string): boolean {
  const slash = key.indexOf('/')
  if (slash < 0) return NAME_PART.test(key)
  return isDnsSubdomain(key.slice(0, slash)) && NAME_PART.test(key.slice(slash + 1))
}

/** The metadata of an object as the API server takes it (namespace defaulted), or what is wrong with it. */
export function readMetadata(
  info: KindInfo | undefined,
  namespaced: boolean,
  value: unknown,
): { meta?: ObjectMeta; findings: Finding[] } {
  const whole = { metadata: value ?? {} }
  const schema = z.object({ metadata: Metadata })
  const parsed = schema.safeParse(whole)
  if (!parsed.success) return { findings: findingsOf(schema, whole, parsed.error) }
  const { name, namespace, labels = {}, annotations = {}, creationTimestamp, uid } = parsed.data.metadata
  const { deletionTimestamp, ownerReferences } = parsed.data.metadata
  const findings: Finding[] = []
  const rule = NAMES[info?.names ?? 'subdomain']
  if (name === '') findings.push({ path: ['metadata', 'name'], message: 'metadata.name: must not be empty' })
  else if (info && !rule.test(name)) {
    findings.push({ path: ['metadata', 'name'], message: `metadata.name: "${name}" is no valid name: ${rule.words}` })
  }
  if (namespace !== undefined && namespace !== '' && !isDnsLabel(namespace)) {
    const message = `metadata.namespace: "${namespace}" is no valid name: ${NAMES.label.words}`
    findings.push({ path: ['metadata', 'namespace'], message })
  }
  findings.push(...labelFindings(labels, ['metadata', 'labels']))
  for (const key of Object.keys(annotations)) {
    const path = ['metadata', 'annotations', key]
    if (!isQualifiedName(key.toLowerCase()))
      findings.push({ path, atKey: true, message: `${pathText(path)}: "${key}" is no annotation key` })
  }
  if (creationTimestamp !== undefined && !TIME.test(creationTimestamp)) {
    const message = `metadata.creationTimestamp: "${creationTimestamp}" is no time like 2026-01-31T12:00:00Z`
    findings.push({ path: ['metadata', 'creationTimestamp'], message })
  }
  const meta: ObjectMeta = {
    name,
    namespace: namespaced ? namespace || 'default' : '',
    labels,
    annotations,
    ...(creationTimestamp !== undefined && { creationTimestamp }),
    ...(deletionTimestamp !== undefined && { deletionTimestamp }),
    ...(ownerReferences !== undefined && { ownerReferences }),
    ...(uid !== undefined && { uid }),
  }
  return { meta, findings }
}

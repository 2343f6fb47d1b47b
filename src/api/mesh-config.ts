import type { z } from 'zod'
import { fieldNames, findingsOf } from './issues.ts'
import { MeshConfig } from './kinds/mesh-config.ts'
import type { ApiObject, ObjectMeta, Origin, Path, Position } from './objects.ts'
import type { Problem, Severity } from './problems.ts'
import { hasErrors, pathText } from './problems.ts'
import { didYouMean } from './suggest.ts'
import { checkMeshConfig } from './validate/mesh-config.ts'
import type { Verdict } from './validate/scope.ts'
import { Scope } from './validate/scope.ts'
import type { YamlDocument } from './yaml.ts'
import { parseYaml } from './yaml.ts'

type Fields = Record<string, unknown>

/** How a problem of the mesh configuration gets its place. */
interface Places {
  locate(path: Path): Position
  problem(severity: Severity, path: Path, message: string, atKey?: boolean): Problem
}

/** The name under which the mesh configuration is kept. */
const META: ObjectMeta = { name: 'istio', namespace: 'istio-system', labels: {}, annotations: {} }

/** Whether a file without apiVersion and kind is a MeshConfig, going by its name: mesh.yaml, meshconfig.yml, mesh-config.json. */
export function isMeshConfigFile(file: string): boolean {
  return /(^|[/\\])mesh-?config\.(ya?ml|json)$|(^|[/\\])mesh\.(ya?ml|json)$/i.test(file)
}

/**
 * Reads a MeshConfig as istiod does (pkg/util/protomarshal ApplyYAML): fields in camelCase or snake_case, unknown ones
 * have no effect. Here they give a warning.
 */
export function readMeshConfig(
  value: unknown,
  places: Places,
  origin: Origin,
): { object?: ApiObject<'MeshConfig'>; problems: Problem[] } {
  const problems: Problem[] = []
  const config = camelFields(value ?? {}, [], problems, places)
  let parsed = MeshConfig.safeParse(config)
  if (!parsed.success && unquoteNumbers(config, parsed.error.issues)) parsed = MeshConfig.safeParse(config)
  if (!parsed.success) {
    for (const { path, message, atKey } of findingsOf(MeshConfig, config, parsed.error)) {
      problems.push(places.problem('error', path, message, atKey))
    }
    return { problems }
  }
  const verdicts: Verdict[] = []
  checkMeshConfig(new Scope(verdicts, false), parsed.data)
  for (const { severity, path, message, atKey } of verdicts)
    problems.push(places.problem(severity, path, message, atKey))
  if (hasErrors(problems)) return { problems }
  const object = {
    apiVersion: 'mesh.istio.io/v1alpha1',
    kind: 'MeshConfig' as const,
    metadata: META,
    spec: parsed.data,
    origin,
  }
  return { object, problems }
}

/** The fields of the schema, in camelCase; what the schema does not know is left out with a warning. */
function camelFields(value: unknown, path: Path, problems: Problem[], places: Places): unknown {
  if (Array.isArray(value)) return value.map((item, i) => camelFields(item, [...path, i], problems, places))
  if (typeof value !== 'object' || value === null) return value
  const known = fieldNames(MeshConfig, path)
  const result: Fields = {}
  for (const [key, part] of Object.entries(value)) {
    if (part === null) continue
    const name =
      known.length === 0 || known.includes(key) ? key : key.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase())
    if (known.length > 0 && !known.includes(name)) {
      const at = path.length === 0 ? '' : `${pathText(path)}: `
      const message = `${at}unknown field "${key}" of MeshConfig, which has no effect${didYouMean(key, known)}`
      problems.push(places.problem('warning', [...path, key], message, true))
      continue
    }
    result[name] = isFreeForm(path, name) ? part : camelFields(part, [...path, name], problems, places)
  }
  return result
}

/**
 * Protobuf's JSON takes numbers in quotes, as Istio's own sample of external authorization has them (`port: "9000"`). Makes
 * numbers of those that the issues are about; true when there were some.
 */
function unquoteNumbers(config: unknown, issues: readonly z.core.$ZodIssue[]): boolean {
  let some = false
  for (const issue of issues) {
    if (issue.code !== 'invalid_type' || !NUMERIC.includes(issue.expected)) continue
    const name = issue.path.at(-1) as string | number
    const holder = issue.path
      .slice(0, -1)
      .reduce<unknown>((at, part) => (at as Fields)[part as string], config) as Fields
    const found = holder[name]
    if (typeof found !== 'string' || !/^-?\d+(\.\d+)?$/.test(found)) continue
    holder[name] = Number(found)
    some = true
  }
  return some
}

const NUMERIC: readonly string[] = ['number', 'int']

function isFreeForm(path: Path, name: string): boolean {
  return name === 'labels' && path.at(-1) === 'logFormat'
}

/** Reads the value of `mesh` in the ConfigMap `istio-system/istio`; places are those inside of the ConfigMap's file. */
export function readMeshConfigText(
  text: string,
  holder: YamlDocument,
  at: Path,
): { object?: ApiObject<'MeshConfig'>; problems: Problem[] } {
  const inner = parseYaml(holder.file, text)
  const block = holder.blockOrigin(at)
  const start = holder.locate(at)
  const shift = (position: Position): Position =>
    block ? { ...position, line: position.line + block.line, col: position.col + block.indent } : start
  const moved = (problem: Problem): Problem =>
    block
      ? { ...problem, ...shift(problem), excerpt: ' '.repeat(block.indent) + (problem.excerpt ?? '') }
      : { ...problem, ...holder.problem(problem.severity, at, problem.message) }
  const document = inner.documents[0]
  if (!document)
    return inner.problems.length === 0
      ? readMeshConfig({}, holder, { ...start, locate: () => start })
      : { problems: inner.problems.map(moved) }
  const origin: Origin = {
    ...shift(document.start),
    locate: (path) => shift(document.locate(path[0] === 'spec' ? path.slice(1) : path)),
  }
  const { object, problems } = readMeshConfig(document.value, document, origin)
  return { ...(object && { object }), problems: [...inner.problems, ...problems].map(moved) }
}

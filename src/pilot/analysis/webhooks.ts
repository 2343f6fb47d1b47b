import type { OtherObject } from '../../api/objects.ts'

/** What analyzers read of a webhook (k8s.io/api/admissionregistration/v1). */
export interface Webhook {
  readonly name: string
  readonly clientConfig: { readonly url?: string; readonly service?: unknown }
  readonly namespaceSelector?: LabelSelector
  readonly objectSelector?: LabelSelector
}

/** A selector with expressions. */
export interface LabelSelector {
  readonly matchLabels?: Readonly<Record<string, string>>
  readonly matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[]
}

/** The webhooks of a configuration. Parts of another form count as missing. */
export function webhooksOf({ body }: OtherObject): Webhook[] {
  if (!Array.isArray(body.webhooks)) return []
  return body.webhooks.map((item: unknown) => {
    const hook = (typeof item === 'object' && item !== null ? item : {}) as Partial<Webhook>
    return { ...hook, name: typeof hook.name === 'string' ? hook.name : '', clientConfig: hook.clientConfig ?? {} }
  })
}

/** Whether labels have what a selector asks for; a missing one asks for nothing. */
export function selectorMatches(
  selector: LabelSelector | undefined,
  labels: Readonly<Record<string, string>>,
): boolean {
  if (!selector) return true
  const { matchLabels = {}, matchExpressions = [] } = selector
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key]
      if (operator === 'Exists') return value !== undefined
      if (operator === 'DoesNotExist') return value === undefined
      if (operator === 'In') return value !== undefined && values.includes(value)
      return operator === 'NotIn' && (value === undefined || !values.includes(value))
    })
  )
}

import { friendlyName, type Message } from '../pilot/analysis/message.ts'
import { CliError } from './errors.ts'

/**
 * What `--suppress CODE=RESOURCE` leaves out. A resource is `Kind name.namespace` or `Kind namespace/name`, with `*` for
 * any part. Throws CliError for another form.
 */
export function suppressions(texts: readonly string[], useCode: (code: string) => void): (message: Message) => boolean {
  const rules = texts.map((text) => {
    const [code, resource, more] = text.split('=')
    if (!code || !resource || more !== undefined)
      throw new CliError(`${text} is not a valid suppression value: write it as CODE=RESOURCE`, 2)
    useCode(code)
    const source = resource.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    return { code, resource: new RegExp(`^${source.join('.*')}$`) }
  })
  return ({ code, subject }) => {
    if (!subject) return false
    const { kind, namespace, name } = subject
    const names = [friendlyName(subject), namespace ? `${kind} ${name}.${namespace}` : `${kind} ${name}`]
    return rules.some((rule) => rule.code === code && names.some((known) => rule.resource.test(known)))
  }
}

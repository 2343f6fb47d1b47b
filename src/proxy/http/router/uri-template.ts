import { RE2JS } from 're2js'
import { ConfigError } from '../../context.ts'

const LITERAL = /^[-._~%!$&'()+,;:@=A-Za-z0-9]+$/
const OPERATOR = "[a-zA-Z0-9\\-._~%!$&'()+,;:@]"

/**
 * A URI template such as `/a/{x}/{y=*}/{rest=**}` (source/extensions/path/uri_template_lib): `*` is one segment,
 * `**` any number of them and only at the end, `{name}` is `{name=*}`.
 */
export class UriTemplate {
  readonly text: string
  readonly variables: readonly string[]
  private readonly re: RE2JS

  constructor(text: string) {
    this.text = text
    if (!text.startsWith('/')) throw new ConfigError([`path template "${text}" must start with a slash`])
    const variables: string[] = []
    let open = true
    const whole = (piece: string): string => {
      if (!open) throw new ConfigError([`path template "${text}": ** must be the last part`])
      if (piece === '*') return `${OPERATOR}+`
      if (piece === '**') {
        open = false
        return `(?:${OPERATOR}|/)*`
      }
      if (!LITERAL.test(piece)) throw new ConfigError([`path template "${text}": bad part "${piece}"`])
      return RE2JS.quote(piece)
    }
    let pattern = ''
    let rest = text
    while (rest !== '') {
      const variable = /^\/\{([A-Za-z][A-Za-z0-9_]*)(?:=([^{}]+))?\}/.exec(rest)
      if (variable) {
        const [all, name, value = '*'] = variable
        if (variables.includes(name!)) throw new ConfigError([`path template "${text}": {${name}} is repeated`])
        variables.push(name!)
        pattern += `/(${value.split('/').map(whole).join('/')})`
        rest = rest.slice(all.length)
        continue
      }
      const piece = /^\/([^/{}]*)/.exec(rest)
      if (!piece) throw new ConfigError([`path template "${text}": cannot be read at "${rest}"`])
      pattern += piece[1] === '' ? '/' : `/${whole(piece[1]!)}`
      rest = rest.slice(piece[0].length)
    }
    if (variables.length > 5) throw new ConfigError([`path template "${text}": more than 5 variables`])
    this.variables = variables
    this.re = RE2JS.compile(pattern)
  }

  /** The variables' values in order of appearance; undefined when the path does not match. */
  match(path: string): string[] | undefined {
    const matcher = this.re.matcher(path)
    if (!matcher.matches()) return undefined
    return this.variables.map((_, i) => matcher.group(i + 1) ?? '')
  }
}

/** A rewrite such as `/b/{rest}/{x}`: literals and variables of the template that matched. */
export class UriTemplateRewrite {
  readonly text: string
  private readonly template: UriTemplate
  private readonly parts: readonly (string | number)[]

  constructor(text: string, template: UriTemplate) {
    this.text = text
    this.template = template
    const parts: (string | number)[] = []
    for (const piece of text.split(/(\{[^{}]*\})/)) {
      if (!piece.startsWith('{')) {
        if (piece !== '') parts.push(piece)
        continue
      }
      const index = template.variables.indexOf(piece.slice(1, -1))
      if (index < 0) throw new ConfigError([`path template rewrite "${text}": ${piece} is not in "${template.text}"`])
      parts.push(index)
    }
    this.parts = parts
  }

  /** The new path; the old one when the template does not match. */
  rewrite(path: string): string {
    const values = this.template.match(path)
    if (values === undefined) return path
    let out = ''
    for (const part of this.parts) out += typeof part === 'string' ? part : values[part]
    return out
  }

  toString(): string {
    return this.text
  }
}

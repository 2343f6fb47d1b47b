import { RE2JS } from 're2js'
import { ConfigError } from '../../context.ts'

/** What segments of paths are made of (RFC 3986 pchar, with the asterisk that Envoy allows since 1.33). */
const PCHAR = "-a-zA-Z0-9._~%!$&'()+,;:@=*"
const LITERAL = new RegExp(`^[${PCHAR}]+$`)
const SEGMENT = `[${PCHAR}]+`
const ANYTHING = `[${PCHAR}/]*`

const MAX_VARIABLES = 5
const MAX_NAME = 16

/**
 * A URI template such as `/a/{x}/{y=*}/{rest=**}.js` (source/extensions/path/uri_template_lib): `*` is one segment,
 * `**` any number of them, after which there may be only literals; `{name}` is `{name=*}`. After the last `*`, `**` or
 * variable a suffix may follow without a slash.
 */
export class UriTemplate {
  readonly text: string
  readonly variables: readonly string[]
  private readonly re: RE2JS

  /** Throws ConfigError. */
  constructor(text: string) {
    this.text = text
    const parser = new Parser(text)
    this.re = RE2JS.compile(parser.pattern())
    this.variables = parser.variables
  }

  /** The variables' values in order of appearance; undefined when the path does not match. */
  match(path: string): string[] | undefined {
    const matcher = this.re.matcher(path)
    if (!matcher.matches()) return undefined
    return this.variables.map((_, i) => matcher.group(i + 1) ?? '')
  }
}

class Parser {
  readonly variables: string[] = []
  private readonly text: string
  private rest: string
  private open = true

  constructor(text: string) {
    this.text = text
    this.rest = text.slice(1)
  }

  /** A regular expression for whole paths. */
  pattern(): string {
    if (!/^\/[!-~]*$/.test(this.text)) throw this.bad('must start with a slash and be printable')
    const parts: string[] = []
    let suffix = ''
    while (this.rest !== '') {
      parts.push(this.part())
      if (this.rest === '') break
      if (this.rest === '/') {
        parts.push('')
        break
      }
      if (!this.rest.startsWith('/')) {
        suffix = this.literal()
        if (this.rest !== '') throw this.bad('nothing may follow after a suffix')
        break
      }
      this.rest = this.rest.slice(1)
    }
    if (this.variables.length > MAX_VARIABLES) throw this.bad(`more than ${MAX_VARIABLES} variables`)
    return `/${parts.join('/')}${suffix}`
  }

  private part(): string {
    if (this.rest.startsWith('*')) return this.operator()
    return this.rest.startsWith('{') ? this.variable() : this.literal()
  }

  private operator(): string {
    if (!this.open) throw this.bad('only literals may follow after **')
    if (!this.rest.startsWith('**')) {
      this.rest = this.rest.slice(1)
      return SEGMENT
    }
    this.open = false
    this.rest = this.rest.slice(2)
    return ANYTHING
  }

  private literal(): string {
    const end = this.rest.indexOf('/')
    const literal = end < 0 ? this.rest : this.rest.slice(0, end)
    if (!LITERAL.test(literal)) throw this.bad(`bad part "${literal}"`)
    this.rest = this.rest.slice(literal.length)
    // As in Envoy, an asterisk stays what it is in a regular expression.
    return literal.replace(/[$()+.]/g, '\\$&')
  }

  private variable(): string {
    const found = /^\{([A-Za-z][A-Za-z0-9_]*)(?:=([^}]*))?\}/.exec(this.rest)
    if (!found) throw this.bad(`cannot be read at "${this.rest}"`)
    const [all, name, value = '*'] = found as unknown as [string, string, string | undefined]
    if (name.length > MAX_NAME) throw this.bad(`the name ${name} has more than ${MAX_NAME} characters`)
    if (this.variables.includes(name)) throw this.bad(`{${name}} is repeated`)
    this.variables.push(name)
    const after = this.rest.slice(all.length)
    const parts: string[] = []
    this.rest = value
    do {
      if (this.rest.startsWith('{')) throw this.bad('a variable within a variable')
      parts.push(this.part())
      if (this.rest !== '' && !/^\/./.test(this.rest)) throw this.bad(`bad part "${this.rest}"`)
      this.rest = this.rest.slice(1)
    } while (this.rest !== '')
    this.rest = after
    return `(${parts.join('/')})`
  }

  private bad(why: string): ConfigError {
    return new ConfigError([`path template "${this.text}": ${why}`])
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

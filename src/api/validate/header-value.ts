import type { Scope } from './scope.ts'

/** Control characters other than tab. */
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/

type State = 'text' | 'name' | 'argument' | 'list' | 'delimiter' | 'string' | 'list-end' | 'end'

/**
 * What is wrong with a header value in which `%COMMAND(args)%` stands for something, or nothing: the grammar of Envoy's
 * header formatter as Istio checks it (pkg/config/validation/header_value_validator.go). `%%` is a percent sign. The
 * names of commands are not looked at.
 */
export function headerValueFault(value: string): string | undefined {
  if (CONTROL.test(value)) return 'has a control character'
  let state: State = 'text'
  for (let i = 0; i < value.length; i++) {
    const c = value[i]
    switch (state) {
      case 'text':
        if (c !== '%') break
        if (i + 1 === value.length) return 'has a single "%" at its end: write "%%"'
        if (value[i + 1] === '%') i++
        else state = 'name'
        break
      case 'name':
        if (c === '%') state = 'text'
        else if (c === '(') state = 'argument'
        break
      case 'argument':
        if (c === '[') state = 'list'
        else if (c !== ' ') state = 'string'
        break
      case 'list':
        if (c === '"') state = 'string'
        else if (c !== ' ') return 'has an argument list without quotes'
        break
      case 'delimiter':
        if (c === ',') state = 'list'
        else if (c === ']') state = 'list-end'
        else if (c !== ' ') return 'has an argument list without "," or "]" after a string'
        break
      case 'string':
        if (c === '\\') {
          if (i + 1 === value.length) return 'ends in a backslash'
          i++
        } else if (c === ')') state = 'end'
        else if (c === '"') state = 'delimiter'
        break
      case 'list-end':
        if (c === ')') state = 'end'
        else if (c !== ' ') return 'has no ")" after its argument list'
        break
      case 'end':
        if (c === '%') state = 'text'
        else if (c !== ' ') return 'has no "%" after ")"'
        break
    }
  }
  return state === 'text' ? undefined : 'has a "%" without a second one: write "%%" for a percent sign'
}

/** Says what is wrong with a header value. */
export function checkHeaderValue(scope: Scope, value: string): void {
  const fault = headerValueFault(value)
  if (fault !== undefined) scope.error(`the value ${fault}`)
}

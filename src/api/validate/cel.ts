import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
let cel: typeof import('@bufbuild/cel') | undefined

/** Why a text is no CEL expression, or nothing. The parser is loaded when the first one comes: most meshes have none. */
export function celFault(expression: string): string | undefined {
  cel ??= require('@bufbuild/cel') as typeof import('@bufbuild/cel')
  try {
    cel.parse(expression)
    return undefined
  } catch (error) {
    return (error as Error).message.replace(/^<input>:/, '')
  }
}

import v8 from 'node:v8'

/**
 * Lets V8 inline further than it does by default: a request passes through some sixty small functions, and their calls
 * are what is left to save (3 % of its CPU time). To be called before traffic comes, since it counts for functions that
 * are optimised afterwards.
 */
export function inlineFurther(): void {
  v8.setFlagsFromString('--max-inlined-bytecode-size=1000')
  v8.setFlagsFromString('--max-inlined-bytecode-size-cumulative=4000')
}

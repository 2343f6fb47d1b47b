#!/usr/bin/env node
import module from 'node:module'

// Node 22.1 and later can keep compiled code on disk. It must be told before the code is loaded: hence no plain import.
;(module as { enableCompileCache?: () => unknown }).enableCompileCache?.()

const { run } = await import('./cli/main.ts')
await run(process.argv.slice(2))

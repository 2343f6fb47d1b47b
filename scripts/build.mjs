#!/usr/bin/env node
// Bundles src/cli.ts and src/testing, with the packages they use, into dist: cli.js, testing.js, and chunks/ that each
// verb loads as it needs them; and types/ for those who import dinghy/testing.
//   node scripts/build.mjs [FOLDER]
// A bundle, since opening some hundred small files took a third of the time in which `dinghy proxy` starts; not
// minified, since that gained nothing and stack traces stay legible. Types are `npm run typecheck`'s business.
import fs from 'node:fs'
import path from 'node:path'
import { rolldown } from 'rolldown'
import { writeTypes } from './types.mjs'

const root = path.resolve(import.meta.dirname, '..')
const dist = path.resolve(process.argv[2] ?? path.join(root, 'dist'))

const bundle = await rolldown({
  cwd: root,
  input: { cli: 'src/cli.ts', testing: 'src/testing/index.ts' },
  platform: 'node',
  tsconfig: 'tsconfig.json',
  // Loaded by the verbs that speak gRPC alone, and it looks for files beside its own.
  external: ['@grpc/grpc-js'],
  // What is only a warning there, such as an import that leads nowhere, would be a failure at run time.
  onLog: (level, log, handle) => handle(level === 'warn' ? 'error' : level, log),
})
const { output } = await bundle.generate({
  dir: dist,
  format: 'esm',
  sourcemap: true,
  comments: { legal: true, annotation: false, jsdoc: false },
  entryFileNames: '[name].js',
  // One folder below dist, as sources are one folder below src: what a file finds from its own URL, it finds in both.
  chunkFileNames: (chunk) => `chunks/${packageOf(chunk) ?? chunk.name}-[hash].js`,
})
await bundle.close()

// Only a build that came to its end takes the place of the last one, of which nothing stays.
fs.rmSync(dist, { recursive: true, force: true })
for (const file of output) write(file.fileName, file.type === 'chunk' ? file.code : file.source)
write('chunks/descriptors.jsonl', fs.readFileSync(path.join(root, 'gen', 'descriptors.jsonl')))
fs.chmodSync(path.join(dist, 'cli.js'), 0o755)
writeTypes(root, path.join(dist, 'types'), 'testing/index')

function write(name, content) {
  const file = path.join(dist, name)
  fs.mkdirSync(path.dirname(file), { recursive: true })
  fs.writeFileSync(file, content)
}

/** The package that a chunk consists of: its files have names such as `index`, which say nothing. */
function packageOf({ moduleIds, facadeModuleId }) {
  const ids = moduleIds.length > 0 ? moduleIds : [facadeModuleId ?? '']
  const names = new Set(ids.map((id) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(id)?.[1]))
  const [name] = names
  return names.size === 1 ? name?.replace('@', '').replace('/', '-') : undefined
}

#!/usr/bin/env node
// Keeps the layers and finds circles among imports. Prints `file:line: what is wrong`; exit status 1 if anything is.
//   node scripts/check-imports.mjs [FOLDER…]
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..')
const src = path.join(root, 'src')

/** What each layer, a folder of src, may import besides itself. `*` is the file src/<name>.ts of everybody's use. */
const LAYERS = {
  xds: [],
  api: [],
  store: ['api'],
  registry: ['store', 'api'],
  ca: ['store', 'api'],
  pilot: ['registry', 'ca', 'store', 'api', 'xds'],
  proxy: ['xds'],
  ratelimit: ['store', 'api', 'xds'],
  mesh: ['pilot', 'proxy', 'registry', 'ca', 'store', 'api', 'xds'],
  testing: ['mesh', 'ratelimit', 'pilot', 'proxy', 'registry', 'ca', 'store', 'api', 'xds'],
  dashboard: ['mesh', 'pilot', 'proxy', 'registry', 'ca', 'store', 'api', 'xds'],
  cli: ['testing', 'dashboard', 'mesh', 'ratelimit', 'pilot', 'proxy', 'registry', 'ca', 'store', 'api', 'xds'],
}

/** Files beside the folders that every layer may use: they import no layer themselves. */
const SHARED = /^(runtime|runtime-[a-z]+|seeded-[a-z]+)\.ts$/

/** Files beside the folders that may use every layer. */
const TOP = new Set(['cli.ts', 'index.ts'])

const SPECIFIER = String.raw`'(?<path>[^'\n]+)'`
const IMPORT_FORMS = [
  String.raw`^\s*import\s+(?<types>type\s+)?[\w*{][^'"\x60;()=]*?\bfrom\s*${SPECIFIER}`,
  String.raw`^\s*export\s+(?<types>type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s*from\s*${SPECIFIER}`,
  String.raw`^\s*import\s*${SPECIFIER}`,
  String.raw`\bimport\s*\(\s*${SPECIFIER}`,
].map((form) => new RegExp(form, 'gm'))

function filesIn(dir) {
  if (!fs.existsSync(dir)) return []
  return fs
    .readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && /\.(ts|tsx|mts)$/.test(e.name) && !e.name.endsWith('.d.ts'))
    .map((e) => path.join(e.parentPath ?? e.path, e.name))
    .sort()
}

/** Text with comments blanked out, lines kept. */
function withoutComments(text) {
  return text.replace(/\/\*[\s\S]*?\*\/|(?<=^|\s)\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '))
}

/** The relative and `#` imports of a file with their lines; `types`: for types alone, gone when the program runs. */
function importsOf(file) {
  const text = withoutComments(fs.readFileSync(file, 'utf8'))
  const found = []
  for (const form of IMPORT_FORMS) {
    for (const match of text.matchAll(form)) {
      const line = text.slice(0, match.index + match[0].search(/\S/)).split('\n').length
      found.push({ specifier: match.groups.path, line, types: match.groups.types !== undefined })
    }
  }
  return found
}

const show = (file) => path.relative(root, file)

function layerOf(file) {
  const inside = path.relative(src, file)
  return inside.includes(path.sep) ? inside.split(path.sep)[0] : undefined
}

function problemOf(file, target, entry) {
  const from = layerOf(file)
  const to = layerOf(target)
  const top = path.relative(src, target)
  if (target.startsWith('..') || !target.startsWith(src + path.sep)) return `imports ${show(target)} from outside src`
  if (to === undefined) {
    if (SHARED.test(top)) return undefined
    return from === undefined && TOP.has(path.relative(src, file))
      ? undefined
      : `imports ${show(target)}, which nobody may`
  }
  if (from === undefined) {
    if (TOP.has(path.relative(src, file))) return undefined
    return `is used by every layer and may not import ${to} (${entry.specifier})`
  }
  if (from === to) return undefined
  if (!Object.hasOwn(LAYERS, from)) return `is in the unknown layer ${from}: name it in scripts/check-imports.mjs`
  if (!LAYERS[from].includes(to)) return `${from} may not import ${to} (${entry.specifier})`
  return undefined
}

/** Circles of imports that exist at run time: each strongly connected group of files once, as one shortest circle. */
function circles(graph) {
  const index = new Map()
  const low = new Map()
  const stack = []
  const groups = []
  const visit = (start) => {
    const work = [[start, 0]]
    while (work.length > 0) {
      const frame = work.at(-1)
      const [file] = frame
      if (frame[1] === 0) {
        index.set(file, index.size)
        low.set(file, index.get(file))
        stack.push(file)
      }
      const next = (graph.get(file) ?? [])[frame[1]++]
      if (next !== undefined) {
        if (!index.has(next.target)) work.push([next.target, 0])
        else if (stack.includes(next.target)) low.set(file, Math.min(low.get(file), index.get(next.target)))
        continue
      }
      work.pop()
      if (work.length > 0) {
        const [parent] = work.at(-1)
        low.set(parent, Math.min(low.get(parent), low.get(file)))
      }
      if (low.get(file) === index.get(file)) {
        const group = stack.splice(stack.indexOf(file))
        if (group.length > 1 || (graph.get(file) ?? []).some((e) => e.target === file)) groups.push(group)
      }
    }
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return groups.map((group) => shortest(graph, group))
}

function shortest(graph, group) {
  const inside = new Set(group)
  const start = [...group].sort()[0]
  const from = new Map([[start, undefined]])
  const queue = [start]
  for (const file of queue) {
    for (const entry of graph.get(file) ?? []) {
      if (!inside.has(entry.target)) continue
      if (entry.target === start) {
        const way = []
        for (let at = file; at !== undefined; at = from.get(at)) way.unshift(at)
        return way
      }
      if (!from.has(entry.target)) {
        from.set(entry.target, file)
        queue.push(entry.target)
      }
    }
  }
  return group
}

const folders = process.argv.slice(2)
const files = (folders.length > 0 ? folders.map((f) => path.resolve(f)) : [src]).flatMap(filesIn)
const problems = []
const graph = new Map()
for (const file of files) {
  const edges = []
  for (const entry of importsOf(file)) {
    const report = (message) => problems.push(`${show(file)}:${entry.line}: ${message}`)
    if (entry.specifier.startsWith('#gen/') && !entry.types) report(`${entry.specifier} holds types only: import type`)
    if (!entry.specifier.startsWith('.')) continue
    const target = path.resolve(path.dirname(file), entry.specifier)
    if (!/\.(ts|tsx|mts|json)$/.test(entry.specifier)) report(`${entry.specifier} must end in .ts`)
    else if (!fs.existsSync(target)) report(`${entry.specifier} does not exist`)
    else {
      const problem = problemOf(file, target, entry)
      if (problem) report(problem)
      if (!entry.types) edges.push({ target, line: entry.line })
    }
  }
  graph.set(file, edges)
}
for (const circle of circles(graph)) {
  const next = circle[1] ?? circle[0]
  const edge = graph.get(circle[0]).find((e) => e.target === next)
  problems.push(`${show(circle[0])}:${edge.line}: imports in a circle: ${[...circle, circle[0]].map(show).join(' → ')}`)
}
for (const problem of problems) console.log(problem)
console.log(problems.length === 0 ? `imports of ${files.length} files are fine` : `${problems.length} problems`)
process.exit(problems.length === 0 ? 0 : 1)

// Compiles the Envoy and xDS .proto files that @grpc/grpc-js-xds ships into gen/: one descriptor set,
// the same for the run time, .d.ts files for the compiler, and a map from message names to their TypeScript types.
// Nothing of it is committed. A stamp file makes a second run free.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { createFileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'
import { descriptorLines } from './descriptor-lines.mjs'
import { addNewer, newer, relax, relaxed } from './protos-newer.mjs'

const root = path.resolve(import.meta.dirname, '..')
const gen = path.join(root, 'gen')
const require = createRequire(import.meta.url)
const xds = path.dirname(require.resolve('@grpc/grpc-js-xds/package.json'))
const ours = path.join(root, 'scripts', 'protos')
const hash = createHash('sha256')
hash.update(fs.readFileSync(path.join(xds, 'package.json')))
for (const script of ['protos.mjs', 'protos-newer.mjs', 'descriptor-lines.mjs'])
  hash.update(fs.readFileSync(path.join(import.meta.dirname, script)))
for (const file of fs.readdirSync(ours, { recursive: true }).sort())
  if (file.endsWith('.proto')) hash.update(file).update(fs.readFileSync(path.join(ours, file)))
const stamp = hash.digest('hex')
const stampFile = path.join(gen, 'stamp')
if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === stamp) process.exit(0)

/** What newer Envoys have and the shipped files lack: file, a text in it, and what takes its place. */
const patches = [
  ['envoy/config/accesslog/v3/accesslog.proto', 'in: "DR"', 'in: "DR"\n        in: "UDO"'],
  [
    'envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto',
    'repeated RateLimitConfig rate_limits = 3;',
    'repeated config.route.v3.RateLimit rate_limits = 3;',
  ],
  // Envoy's files use ignore_empty, which the shipped validate.proto does not have yet.
  ...Object.entries({ String: 26, Bytes: 14, Repeated: 5, Map: 6 }).map(([rules, no]) => ignoreEmpty(rules, no)),
  ...['Float', 'Double', 'Int32', 'Int64', 'UInt32', 'UInt64', 'SInt32', 'SInt64'].map((rules) =>
    ignoreEmpty(rules, 8),
  ),
  ...['Fixed32', 'Fixed64', 'SFixed32', 'SFixed64'].map((rules) => ignoreEmpty(rules, 8)),
]

function ignoreEmpty(rules, no) {
  const head = `message ${rules}Rules {`
  return ['validate/validate.proto', head, `${head}\n    optional bool ignore_empty = ${no};`]
}

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-protos-'))
try {
  const include = path.join(tmp, 'include')
  for (const dep of ['envoy-api', 'xds', 'protoc-gen-validate', 'googleapis'])
    fs.cpSync(path.join(xds, 'deps', dep), include, { recursive: true })
  fs.rmSync(path.join(include, 'java'), { recursive: true, force: true })
  fs.rmSync(path.join(include, 'tests'), { recursive: true, force: true })
  fs.cpSync(ours, include, { recursive: true })
  for (const [file, from, to] of patches) {
    const target = path.join(include, file)
    const text = fs.readFileSync(target, 'utf8')
    if (!text.includes(from)) throw new Error(`${file}: nothing to patch, ${from} is not in it`)
    fs.writeFileSync(target, text.replace(from, to))
  }
  for (const [change, files] of [
    [relax, Object.keys(relaxed)],
    [addNewer, Object.keys(newer)],
  ])
    for (const file of files) {
      const target = path.join(include, file)
      fs.writeFileSync(target, change(file, fs.readFileSync(target, 'utf8')))
    }
  const protos = new Map()
  for (const file of fs.readdirSync(include, { recursive: true }))
    if (file.endsWith('.proto')) protos.set(file, fs.readFileSync(path.join(include, file), 'utf8'))
  dropUnusable(protos, include)
  dropUnreachable(protos, include)
  const fresh = path.join(root, 'gen.new')
  fs.rmSync(fresh, { recursive: true, force: true })
  fs.mkdirSync(fresh, { recursive: true })
  fs.writeFileSync(path.join(include, 'buf.yaml'), 'version: v2\n')
  const bin = (name) => path.join(root, 'node_modules', '.bin', name)
  const buf = (...args) => execFileSync(bin('buf'), args, { cwd: include, stdio: 'inherit' })
  const set = path.join(fresh, 'descriptors.binpb')
  buf('build', '--exclude-source-info', '-o', set)
  const template = {
    version: 'v2',
    plugins: [{ local: bin('protoc-gen-es'), out: fresh, opt: ['target=dts', 'import_extension=js'], strategy: 'all' }],
  }
  buf('generate', set, '--template', JSON.stringify(template))
  fs.writeFileSync(set, strip(fs.readFileSync(set)))
  fs.writeFileSync(path.join(fresh, 'descriptors.jsonl'), descriptorLines(fs.readFileSync(set)))
  writeTypeMap(fs.readFileSync(set), path.join(fresh, 'types.d.ts'))
  fs.writeFileSync(path.join(fresh, 'stamp'), stamp)
  // Only a build that came to its end takes the place of the last one.
  fs.rmSync(gen, { recursive: true, force: true })
  fs.renameSync(fresh, gen)
} finally {
  fs.rmSync(tmp, { recursive: true, force: true })
}

/** Drops the v2 API and every file whose imports are not there (transitively). */
function dropUnusable(protos, include) {
  const wellKnown = (f) => f.startsWith('google/protobuf/')
  const unusable = (file, text) => {
    if (wellKnown(file)) return true
    if (/^package envoy\..*v[12](alpha\d?)?;/m.test(text) || /package_version_status = (FROZEN|NEXT)/.test(text))
      return true
    if (/^package envoy\.(api|type|service|config|data)\b(?!.*v3)/m.test(text)) return true
    return [...text.matchAll(/^import (?:public )?"([^"]+)"/gm)].some(([, i]) => !wellKnown(i) && !protos.has(i))
  }
  for (let again = true; again; ) {
    again = false
    for (const [file, text] of protos)
      if (unusable(file, text)) {
        protos.delete(file)
        fs.rmSync(path.join(include, file))
        again = true
      }
  }
}

/** Drops what no Envoy, xDS or Istio file imports (most of google/api): each file costs start-up time. */
function dropUnreachable(protos, include) {
  const reached = new Set()
  const visit = (file) => {
    if (reached.has(file) || !protos.has(file)) return
    reached.add(file)
    for (const [, dependency] of protos.get(file).matchAll(/^import (?:public )?"([^"]+)"/gm)) visit(dependency)
  }
  for (const file of protos.keys()) if (/^(envoy|xds|udpa|istio|grpc)\//.test(file)) visit(file)
  for (const file of [...protos.keys()])
    if (!reached.has(file)) {
      protos.delete(file)
      fs.rmSync(path.join(include, file))
    }
}

/**
 * Takes out of the descriptors what nothing reads at run time: package options, reserved numbers, and every
 * custom option but validate (1071), udpa.annotations.sensitive (76569463) and the three that forbid a field.
 */
function strip(bytes) {
  const kept = new Set([1071, 76569463, 189503207])
  const set = fromBinary(FileDescriptorSetSchema, bytes)
  const options = (holder) => {
    if (!holder.options?.$unknown) return
    holder.options.$unknown = holder.options.$unknown.filter((field) => kept.has(field.no))
  }
  const enumeration = (e) => {
    options(e)
    e.value.forEach(options)
    e.reservedName = []
    e.reservedRange = []
  }
  const message = (m) => {
    options(m)
    m.field.forEach(options)
    m.oneofDecl.forEach(options)
    m.reservedName = []
    m.reservedRange = []
    m.enumType.forEach(enumeration)
    m.nestedType.forEach(message)
  }
  for (const file of set.file) {
    if (file.options) file.options = undefined
    file.messageType.forEach(message)
    file.enumType.forEach(enumeration)
  }
  return toBinary(FileDescriptorSetSchema, set)
}

/** gen/types.d.ts: interface Messages { 'envoy.config.cluster.v3.Cluster': Cluster, … }. */
function writeTypeMap(bytes, target) {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes))
  const imports = []
  const entries = []
  let n = 0
  for (const file of registry.files) {
    if (file.proto.name.startsWith('google/protobuf/')) continue
    const alias = `f${n++}`
    const found = []
    const visit = (message) => {
      if (message.proto.options?.mapEntry) return
      const local = message.typeName.slice(file.proto.package.length ? file.proto.package.length + 1 : 0)
      found.push(`  '${message.typeName}': ${alias}.${local.replaceAll('.', '_')}`)
      message.nestedMessages.forEach(visit)
    }
    file.messages.forEach(visit)
    if (!found.length) continue
    imports.push(`import type * as ${alias} from './${file.name}_pb.js'`)
    entries.push(...found)
  }
  fs.writeFileSync(
    target,
    `${imports.join('\n')}\n\n/** Every message type of the descriptor set, by full name. */\nexport interface Messages {\n${entries.join('\n')}\n}\n`,
  )
}

// Compiles the Envoy and xDS .proto files that @grpc/grpc-js-xds ships into gen/: one descriptor set for
// the run time, .d.ts files for the compiler, and a map from message names to their TypeScript types.
// Nothing of it is committed. A stamp file makes a second run free.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { createFileRegistry, fromBinary, protoInt64 } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt'

void protoInt64
const root = path.resolve(import.meta.dirname, '..')
const gen = path.join(root, 'gen')
const require = createRequire(import.meta.url)
const xds = path.dirname(require.resolve('@grpc/grpc-js-xds/package.json'))
const stamp = createHash('sha256')
  .update(fs.readFileSync(path.join(xds, 'package.json')))
  .update(fs.readFileSync(new URL(import.meta.url)))
  .digest('hex')
const stampFile = path.join(gen, 'stamp')
if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === stamp) process.exit(0)

const tmp = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-protos-'))
try {
  const include = path.join(tmp, 'include')
  for (const dep of ['envoy-api', 'xds', 'protoc-gen-validate', 'googleapis'])
    fs.cpSync(path.join(xds, 'deps', dep), include, { recursive: true })
  fs.rmSync(path.join(include, 'java'), { recursive: true, force: true })
  fs.rmSync(path.join(include, 'tests'), { recursive: true, force: true })
  fs.cpSync(path.join(root, 'scripts', 'protos'), include, { recursive: true })
  // The shipped validate.proto is older than the Envoy files that use StringRules.ignore_empty.
  const validate = path.join(include, 'validate', 'validate.proto')
  fs.writeFileSync(
    validate,
    fs
      .readFileSync(validate, 'utf8')
      .replace(/(message StringRules \{)/, '$1\n    optional bool ignore_empty = 26;'),
  )
  const protos = new Map()
  for (const file of fs.readdirSync(include, { recursive: true }))
    if (file.endsWith('.proto')) protos.set(file, fs.readFileSync(path.join(include, file), 'utf8'))
  dropUnusable(protos, include)
  fs.rmSync(gen, { recursive: true, force: true })
  fs.mkdirSync(gen, { recursive: true })
  fs.writeFileSync(path.join(include, 'buf.yaml'), 'version: v2\n')
  const bin = (name) => path.join(root, 'node_modules', '.bin', name)
  const buf = (...args) => execFileSync(bin('buf'), args, { cwd: include, stdio: 'inherit' })
  const set = path.join(gen, 'descriptors.binpb')
  buf('build', '--exclude-source-info', '-o', set)
  const template = {
    version: 'v2',
    plugins: [{ local: bin('protoc-gen-es'), out: gen, opt: ['target=dts', 'import_extension=js'], strategy: 'all' }],
  }
  buf('generate', set, '--template', JSON.stringify(template))
  writeTypeMap(fs.readFileSync(set))
  fs.writeFileSync(stampFile, stamp)
} finally {
  fs.rmSync(tmp, { recursive: true, force: true })
}

/** Drops the v2 API and every file whose imports are not there (transitively). */
function dropUnusable(protos, include) {
  const wellKnown = (f) => f.startsWith('google/protobuf/')
  const unusable = (file, text) => {
    if (wellKnown(file)) return true
    if (/^package envoy\..*v[12](alpha\d?)?;/m.test(text) || /package_version_status = (FROZEN|NEXT)/.test(text)) return true
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

/** gen/types.d.ts: interface Messages { 'envoy.config.cluster.v3.Cluster': Cluster, … }. */
function writeTypeMap(bytes) {
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
    path.join(gen, 'types.d.ts'),
    `${imports.join('\n')}\n\n/** Every message type of the descriptor set, by full name. */\nexport interface Messages {\n${entries.join('\n')}\n}\n`,
  )
}

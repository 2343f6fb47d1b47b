import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/**
 * Writes the declarations of one file of src (without its ending), and of what they refer to, into a folder. Errors in
 * types are not told here: they are `npm run typecheck`'s business.
 */
export function writeTypes(root, folder, entry) {
  const all = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-types-'))
  try {
    const config = path.join(all, 'tsconfig.json')
    const compilerOptions = {
      noEmit: false,
      declaration: true,
      emitDeclarationOnly: true,
      noCheck: true,
      outDir: path.join(all, 'out'),
      rootDir: root,
      typeRoots: [path.join(root, 'node_modules', '@types')],
      paths: { '#gen/*': [path.join(root, 'gen', '*')] },
    }
    const files = [path.join(root, 'src', `${entry}.ts`)]
    fs.writeFileSync(
      config,
      JSON.stringify({ extends: path.join(root, 'tsconfig.json'), compilerOptions, files, include: [] }),
    )
    const tsc = path.join(root, 'node_modules', '.bin', 'tsc')
    const { status, stdout, stderr } = spawnSync(tsc, ['-p', config], { encoding: 'utf8' })
    const from = path.join(all, 'out', 'src')
    const first = path.join(from, `${entry}.d.ts`)
    if (!fs.existsSync(first)) throw new Error(`no declarations (tsc: status ${status}):\n${stdout}${stderr}`)
    for (const file of reachable(first)) {
      const to = path.join(folder, path.relative(from, file))
      fs.mkdirSync(path.dirname(to), { recursive: true })
      fs.copyFileSync(file, to)
    }
  } finally {
    fs.rmSync(all, { recursive: true, force: true })
  }
}

/** The declaration files that one refers to, itself included. */
function reachable(first) {
  const found = new Set([first])
  for (const file of found) {
    for (const [, specifier] of fs.readFileSync(file, 'utf8').matchAll(/(?:from|import)\s*\(?\s*['"](\.[^'"]+)['"]/g)) {
      const target = path.resolve(path.dirname(file), specifier.replace(/\.(?:ts|js)$/, '.d.ts'))
      if (fs.existsSync(target)) found.add(target)
    }
  }
  return found
}

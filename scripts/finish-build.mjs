// After tsc: what the compiled code reads at run time, and the executable bit of the command.
import fs from 'node:fs'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
fs.mkdirSync(path.join(root, 'dist', 'xds'), { recursive: true })
fs.copyFileSync(path.join(root, 'gen', 'descriptors.jsonl'), path.join(root, 'dist', 'xds', 'descriptors.jsonl'))
if (fs.existsSync(path.join(root, 'dist', 'cli.js'))) fs.chmodSync(path.join(root, 'dist', 'cli.js'), 0o755)

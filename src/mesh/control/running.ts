import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A mesh that runs on this machine, as it announces itself to other commands. */
export interface RunningMesh {
  readonly pid: number
  /** Base URL of its control interface, such as `http://127.1.0.1:15014`. */
  readonly control: string
  /** What it was started on, for people to tell meshes apart. */
  readonly sources: readonly string[]
  readonly cwd: string
  readonly startedAt: string
}

/** Why no one mesh could be chosen; the message says what to do. */
export class NoMeshError extends Error {}

/** The folder of announcements: private to the user. */
function folder(): string {
  const base = process.env.XDG_RUNTIME_DIR || os.tmpdir()
  const dir = path.join(base, `dinghy-${os.userInfo().uid}`)
  fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
  const { uid, mode } = fs.statSync(dir)
  if (process.platform !== 'win32' && (uid !== os.userInfo().uid || (mode & 0o077) !== 0))
    throw new NoMeshError(`${dir} belongs to someone else or is open to others; remove it`)
  return dir
}

/** Announces a mesh; the returned function takes it back. */
export function announce(mesh: RunningMesh): () => void {
  const file = path.join(folder(), `${mesh.pid}-${new URL(mesh.control).hostname}.json`)
  fs.writeFileSync(file, JSON.stringify(mesh), { mode: 0o600 })
  return () => fs.rmSync(file, { force: true })
}

/** The meshes that run now, newest first. What dead processes left behind is removed. */
export function runningMeshes(): RunningMesh[] {
  const found: RunningMesh[] = []
  const dir = folder()
  for (const name of fs.readdirSync(dir)) {
    const file = path.join(dir, name)
    try {
      const mesh = JSON.parse(fs.readFileSync(file, 'utf8')) as RunningMesh
      if (alive(mesh.pid)) found.push(mesh)
      else fs.rmSync(file, { force: true })
    } catch {
      // being written or removed at this moment
    }
  }
  return found.sort((a, b) => b.startedAt.localeCompare(a.startedAt))
}

/** The mesh with that pid, or the only one that runs. Throws NoMeshError. */
export function findMesh(pid: number | undefined): RunningMesh {
  const meshes = runningMeshes()
  if (pid !== undefined) {
    const found = meshes.find((mesh) => mesh.pid === pid)
    if (found) return found
    throw new NoMeshError(`no mesh runs with pid ${pid}`)
  }
  if (meshes.length === 1) return meshes[0]!
  if (meshes.length === 0) throw new NoMeshError('no mesh is running; start one with: dinghy up FILES…')
  const list = meshes.map((m) => `  --mesh ${m.pid}   ${m.sources.join(' ')}  (in ${m.cwd})`)
  throw new NoMeshError(`several meshes are running; say which:\n${list.join('\n')}`)
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM'
  }
}

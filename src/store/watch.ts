import { stat } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'

/** A running watch. */
export interface Watch {
  close(): Promise<void>
}

interface Stats {
  isFile(): boolean
}

/**
 * Calls `hint` whenever something may have changed in the given files and folders (to the bottom, for the files that
 * `wanted` accepts). It may call too often, but never too seldom: chokidar drops a second change of a file within
 * 50 ms, so its raw events count as well. Folders are watched rather than files, since editors save by renaming.
 */
export async function watchPaths(
  paths: readonly string[],
  wanted: (file: string) => boolean,
  hint: () => void,
): Promise<Watch> {
  const { watch } = await import('chokidar')
  const folders: string[] = []
  const files = new Set<string>()
  for (const path of paths) {
    const isFolder = await stat(path).then(
      (stats) => stats.isDirectory(),
      () => false,
    )
    if (isFolder) folders.push(path)
    else files.add(resolve(path))
  }
  const watchers = [
    watch(folders, {
      ignoreInitial: true,
      ignored: (path, stats?: Stats) => stats?.isFile() === true && !wanted(path),
    }),
    watch([...new Set([...files].map((file) => dirname(file)))], {
      ignoreInitial: true,
      depth: 0,
      ignored: (path, stats?: Stats) => stats?.isFile() === true && !files.has(resolve(path)),
    }),
  ]
  const names = new Set([...files].map((file) => basename(file)))
  const [inFolders, beside] = watchers
  inFolders?.on('all', hint).on('raw', (_, path) => {
    if (path === null || path === undefined || wanted(path)) hint()
  })
  beside
    ?.on('all', (_, path) => {
      if (files.has(resolve(path))) hint()
    })
    .on('raw', (_, path) => {
      if (path === null || path === undefined || names.has(basename(path))) hint()
    })
  const used = watchers.filter((_, i) => (i === 0 ? folders.length > 0 : files.size > 0))
  // A folder that cannot be watched any more is found out at the next reading.
  for (const watcher of watchers) watcher.on('error', hint)
  await Promise.all(
    used.map(
      (watcher) =>
        new Promise<void>((done) => {
          watcher.once('ready', done)
        }),
    ),
  )
  return {
    close: async () => {
      await Promise.all(watchers.map((watcher) => watcher.close()))
    },
  }
}

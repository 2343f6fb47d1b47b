import fs from 'node:fs'
import path from 'node:path'
import type { LogFile, LogFiles } from '../proxy/context.ts'
import { BufferedLogFiles } from '../proxy/observe/log-files.ts'
import { StatsStore } from '../proxy/observe/stats.ts'
import type { Workload } from '../registry/model.ts'
import type { Runtime } from '../runtime.ts'

/** The log files of one instance's sidecar. */
export interface InstanceLogs extends LogFiles {
  close(): Promise<void>
}

/**
 * With a log folder, what the sidecar writes to its standard streams goes to `<folder>/<namespace>/<pod>.log`;
 * without, each line goes to `onLine`. Other paths are files of this machine.
 */
export function instanceLogs(
  workload: Workload,
  logDir: string | undefined,
  runtime: Runtime,
  onLine: (line: string) => void,
): InstanceLogs {
  const lines = (bytes: Uint8Array) => {
    for (const line of Buffer.from(bytes).toString().split('\n')) if (line) onLine(line)
  }
  const files = new BufferedLogFiles(runtime, new StatsStore(), { stdout: lines, stderr: lines })
  const own = logDir === undefined ? undefined : path.join(logDir, workload.namespace, `${workload.name}.log`)
  return {
    open(name: string): LogFile {
      if (own === undefined || (name !== '/dev/stdout' && name !== '/dev/stderr')) return files.open(name)
      fs.mkdirSync(path.dirname(own), { recursive: true })
      return files.open(own)
    },
    close: () => files.close(),
  }
}

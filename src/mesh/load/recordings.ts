import type { ProxyServer } from '../../proxy/server.ts'
import { BadCallError, type Caller } from '../control/call.ts'
import type { StreamObserver } from '../observed.ts'
import { policyOf } from './policy.ts'
import { Recorder } from './recorder.ts'
import type { LoadTarget } from './run.ts'
import type { Recording, RecordingStarted } from './types.ts'

/** What recording needs of the mesh. */
export interface RecordingHost extends Pick<Caller, 'route' | 'instanceAt'> {
  readonly observer: StreamObserver
  sidecarOf(workload: string): ProxyServer | undefined
}

/** The loads that are being recorded. */
export class Recordings implements LoadTarget {
  readonly #host: RecordingHost
  readonly #running = new Map<string, { recorder: Recorder; stop: () => void }>()

  constructor(host: RecordingHost) {
    this.#host = host
  }

  async start(from: string, url: string): Promise<RecordingStarted> {
    const { hostname, port } = new URL(url)
    const host = hostname.replace(/^\[|\]$/g, '')
    const { podIp, to, localAddress } = await this.#host.route(from, host, Number(port || 80))
    const recorder = new Recorder(podIp, {
      nameOf: (address) => this.#host.instanceAt(address)?.name ?? address,
      policyOf: (info) => {
        const sidecar = this.#host.sidecarOf(from)
        return sidecar && policyOf(sidecar, info)
      },
    })
    const { userAgent } = recorder
    this.#running.set(userAgent, { recorder, stop: this.#host.observer.record(recorder) })
    return { id: userAgent, to, localAddress, userAgent }
  }

  async finish(id: string): Promise<Recording> {
    const running = this.#running.get(id)
    if (!running) throw new BadCallError(`no load is recorded as ${id}`)
    this.#running.delete(id)
    running.stop()
    return running.recorder.result()
  }
}

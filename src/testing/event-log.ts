import type { EventOf, TestMeshEvent } from './types.ts'

type Type = TestMeshEvent['type']

/** Everything that happens in a mesh: kept, told and waited for. */
export class EventLog {
  readonly events: TestMeshEvent[] = []
  readonly #listeners = new Set<(event: TestMeshEvent) => void>()
  readonly #closers = new Set<() => void>()

  add(event: TestMeshEvent): void {
    this.events.push(event)
    for (const listener of [...this.#listeners]) listener(event)
  }

  on<T extends Type>(type: T, listener: (event: EventOf<T>) => void): () => void {
    const told = (event: TestMeshEvent) => {
      if (event.type === type) listener(event as EventOf<T>)
    }
    this.#listeners.add(told)
    return () => this.#listeners.delete(told)
  }

  follow<T extends Type>(type: T): AsyncIterableIterator<EventOf<T>> {
    const ready: EventOf<T>[] = []
    const waiting: ((result: IteratorResult<EventOf<T>>) => void)[] = []
    let over = false
    const off = this.on(type, (event) => {
      const next = waiting.shift()
      if (next) next({ value: event, done: false })
      else ready.push(event)
    })
    const end = () => {
      over = true
      off()
      this.#closers.delete(end)
      for (const next of waiting.splice(0)) next({ value: undefined, done: true })
    }
    this.#closers.add(end)
    return {
      next: () => {
        const event = ready.shift()
        if (event) return Promise.resolve({ value: event, done: false })
        if (over) return Promise.resolve({ value: undefined, done: true })
        return new Promise((resolve) => waiting.push(resolve))
      },
      return: () => {
        end()
        return Promise.resolve({ value: undefined, done: true })
      },
      [Symbol.asyncIterator]() {
        return this
      },
    }
  }

  waitFor<T extends Type>(type: T, matches: (event: EventOf<T>) => boolean, timeout: number): Promise<EventOf<T>> {
    const of = () => this.events.filter((event): event is EventOf<T> => event.type === type)
    const found = of().find(matches)
    if (found) return Promise.resolve(found)
    return new Promise((resolve, reject) => {
      const finish = () => {
        off()
        clearTimeout(timer)
        this.#closers.delete(closed)
      }
      const fail = (why: string) => {
        finish()
        const seen = of()
        const which =
          seen.length === 0 ? 'there was none' : `there were: ${seen.map((e) => JSON.stringify(e)).join(', ')}`
        reject(new Error(`no such ${type} event ${why}; ${which}`))
      }
      const closed = () => fail('before the mesh was closed')
      const timer = setTimeout(() => fail(`within ${timeout} ms`), timeout)
      const off = this.on(type, (event) => {
        if (!matches(event)) return
        finish()
        resolve(event)
      })
      this.#closers.add(closed)
    })
  }

  close(): void {
    for (const close of [...this.#closers]) close()
    this.#listeners.clear()
  }
}

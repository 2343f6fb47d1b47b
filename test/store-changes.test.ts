import { describe, expect, it } from 'vitest'
import { loadText } from '../src/api/load.ts'
import type { ApiObject } from '../src/api/objects.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import type { Change, WatchEvent } from '../src/store/store.ts'
import { createStore } from '../src/store/store.ts'

const configMap = (name: string, value: string, meta = '') =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ${name}${meta}}\ndata: {v: "${value}"}\n`

const load = (file: string, ...documents: string[]): ApiObject[] => loadText(file, documents.join('---\n')).objects

const fresh = () => {
  const runtime = new TestRuntime()
  const store = createStore(runtime)
  const changes: Change[] = []
  store.subscribe((change) => changes.push(change))
  return { runtime, store, changes }
}

const names = (objects: readonly ApiObject[]) => objects.map(({ metadata }) => metadata.name)

describe('a change of a source', () => {
  it('is one event, with what is added, updated and deleted', () => {
    const { store, changes } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1'), configMap('b', '1'), configMap('c', '1')))
    store.replaceSource('f', load('f', configMap('b', '2'), configMap('c', '1'), configMap('d', '1')))
    expect(changes).toHaveLength(2)
    expect(names(changes[0]!.added)).toEqual(['a', 'b', 'c'])
    const { added, updated, deleted, moved, snapshot } = changes[1]!
    expect(names(added)).toEqual(['d'])
    expect(
      updated.map(({ before, after }) =>
        [before, after].map((object) => object.kind === 'ConfigMap' && object.data?.v),
      ),
    ).toEqual([['1', '2']])
    expect(names(deleted)).toEqual(['a'])
    expect(names(moved)).toEqual(['c'])
    expect(snapshot).toBe(store.snapshot)
    expect(snapshot.resourceVersion).toBe(2)
  })

  it('that changes nothing is no event', () => {
    const { store, changes } = fresh()
    const objects = load('f', configMap('a', '1'))
    store.replaceSource('f', objects)
    store.replaceSource('f', objects)
    expect(changes).toHaveLength(1)
  })

  it('may take in several sources, and take some away', () => {
    const { store, changes } = fresh()
    store.apply(
      new Map([
        ['f', load('f', configMap('a', '1'))],
        ['g', load('g', configMap('b', '1'))],
      ]),
    )
    store.apply(
      new Map<string, ApiObject[] | undefined>([
        ['f', undefined],
        ['h', load('h', configMap('c', '1'))],
      ]),
    )
    expect(changes.map(({ added, deleted }) => [names(added), names(deleted)])).toEqual([
      [['a', 'b'], []],
      [['c'], ['a']],
    ])
    expect(names(store.list('ConfigMap'))).toEqual(['b', 'c'])
  })

  it('leaves earlier snapshots as they were, and the lists of other kinds the same', () => {
    const { store } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n'))
    const before = store.snapshot
    const [maps, namespaces] = [before.list('ConfigMap'), before.list('Namespace')]
    store.replaceSource('g', load('g', configMap('b', '1')))
    expect(names(before.list('ConfigMap'))).toEqual(['a'])
    expect(before.list('ConfigMap')).toBe(maps)
    expect(store.snapshot.list('Namespace')).toBe(namespaces)
    expect(names(store.snapshot.list('ConfigMap'))).toEqual(['a', 'b'])
  })

  it('stops being told to who has unsubscribed', () => {
    const { store } = fresh()
    let told = 0
    const stop = store.subscribe(() => told++)
    store.replaceSource('f', load('f', configMap('a', '1')))
    stop()
    store.replaceSource('f', [])
    expect(told).toBe(1)
  })
})

describe('an object in the store', () => {
  it('is found by kind, namespace and name', () => {
    const { store } = fresh()
    store.replaceSource(
      'f',
      load('f', configMap('a', '1', ', namespace: ns'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n'),
    )
    expect(store.get('ConfigMap', 'ns', 'a')?.data).toEqual({ v: '1' })
    expect(store.get('ConfigMap', 'default', 'a')).toBeUndefined()
    expect(store.get('Namespace', '', 'ns')?.metadata.name).toBe('ns')
    expect(store.list('Service')).toEqual([])
  })

  it('keeps its creation time and uid over updates, while version and generation count up', () => {
    const { store, runtime } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1')))
    const first = store.get('ConfigMap', 'default', 'a')!.metadata
    runtime.advance(5000)
    store.replaceSource('f', load('f', configMap('b', '1'), configMap('a', '2')))
    const second = store.get('ConfigMap', 'default', 'a')!.metadata
    expect(first).toMatchObject({ creationTimestamp: '2024-01-01T00:00:00Z', resourceVersion: '1', generation: 1 })
    expect(second).toMatchObject({
      creationTimestamp: first.creationTimestamp,
      uid: first.uid,
      resourceVersion: '2',
      generation: 2,
    })
    expect(store.get('ConfigMap', 'default', 'b')!.metadata.creationTimestamp).toBe('2024-01-01T00:00:05Z')
  })

  it('that was deleted comes back as a new one', () => {
    const { store, runtime } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1')))
    const before = store.get('ConfigMap', 'default', 'a')!.metadata.uid
    store.replaceSource('f', [])
    runtime.advance(1000)
    store.replaceSource('f', load('f', configMap('a', '1')))
    const { uid, creationTimestamp, generation } = store.get('ConfigMap', 'default', 'a')!.metadata
    expect(uid).not.toBe(before)
    expect([creationTimestamp, generation]).toEqual(['2024-01-01T00:00:01Z', 1])
  })

  it('has its new place after the file has moved it', () => {
    const { store } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1')))
    store.replaceSource('f', load('f', configMap('b', '1'), configMap('a', '1')))
    expect(store.get('ConfigMap', 'default', 'a')).toMatchObject({ origin: { line: 6 }, metadata: { generation: 1 } })
  })

  it('is listed oldest first: as stated, else by when it came, to the second; then by name', () => {
    const { store, runtime } = fresh()
    const at = (time: string) => `, creationTimestamp: ${time}`
    const objects = [
      configMap('z', '1'),
      configMap('y', '1'),
      configMap('new', '1', at('2030-01-01T00:00:00Z')),
      configMap('old', '1', at('2020-01-01T00:00:00Z')),
      configMap('elder', '1', at('2020-01-01T00:00:00Z')),
    ]
    store.replaceSource('f', load('f', ...objects))
    runtime.advance(999)
    store.replaceSource('g', load('g', configMap('x', '1')))
    runtime.advance(1)
    store.replaceSource('h', load('h', configMap('a', '1')))
    expect(names(store.list('ConfigMap'))).toEqual(['elder', 'old', 'x', 'y', 'z', 'a', 'new'])
  })
})

describe('an object that is defined twice', () => {
  it('is the last one, and both places are named', () => {
    const { store } = fresh()
    const problems = store.replaceSource('f', load('f.yaml', configMap('a', '1'), configMap('a', '2')))
    expect(store.get('ConfigMap', 'default', 'a')?.data).toEqual({ v: '2' })
    expect(problems).toEqual([
      {
        severity: 'warning',
        message: 'ConfigMap default/a is defined twice: this one takes the place of the one at f.yaml:1',
        file: 'f.yaml',
        line: 6,
        col: 1,
      },
    ])
  })

  it('comes back from the other file when one is gone', () => {
    const { store, changes } = fresh()
    store.replaceSource('f', load('f.yaml', configMap('a', '1')))
    expect(store.replaceSource('g', load('g.yaml', configMap('a', '2')))).toHaveLength(1)
    expect(store.replaceSource('h', load('h.yaml', configMap('b', '1')))).toEqual([])
    store.apply(new Map([['g', undefined]]))
    expect(store.get('ConfigMap', 'default', 'a')?.data).toEqual({ v: '1' })
    expect(changes.at(-1)!.updated).toHaveLength(1)
  })
})

describe('a watch', () => {
  it('tells what there is, then what changes, of one kind', () => {
    const { store } = fresh()
    store.replaceSource('f', load('f', configMap('a', '1'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n'))
    const seen: string[] = []
    const stop = store.watch('ConfigMap', (events: readonly WatchEvent<'ConfigMap'>[]) => {
      for (const { type, object } of events) seen.push(`${type} ${object.metadata.name} ${object.data?.v}`)
    })
    store.replaceSource('f', load('f', configMap('a', '2'), configMap('b', '1')))
    store.replaceSource('f', load('f', configMap('b', '1'), 'apiVersion: v1\nkind: Namespace\nmetadata: {name: m}\n'))
    stop()
    store.replaceSource('f', [])
    expect(seen).toEqual(
      ['ADDED a 1', 'DELETED a 2', 'ADDED b 1', 'MODIFIED a 2'].sort((x, y) => seen.indexOf(x) - seen.indexOf(y)),
    )
    expect(seen[0]).toBe('ADDED a 1')
    expect(seen.at(-1)).toBe('DELETED a 2')
  })
})

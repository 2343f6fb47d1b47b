import { expect, test } from 'vitest'
import { forwardedEntry } from '../src/proxy/http/addresses.ts'
import { RequestHead } from '../src/proxy/http/headers.ts'
import { normalizeHost } from '../src/proxy/http/host-normalization.ts'
import { normalizePath, type PathSettings } from '../src/proxy/http/path-normalization.ts'

const off: PathSettings = { normalize: false, mergeSlashes: false, escapedSlashes: 'keep', stripFragment: false }
const on: PathSettings = { ...off, normalize: true }

const cases: [string, PathSettings, string, ReturnType<typeof normalizePath>][] = [
  ['nothing to do', on, '/a/b?c=/../d', { path: '/a/b?c=/../d' }],
  ['dot segments', on, '/a/./b', { path: '/a/b' }],
  ['dot dot segments', on, '/a/../b', { path: '/b' }],
  ['above the root', on, '/../../b', { path: '/b' }],
  ['ends in dot dot', on, '/a/b/..', { path: '/a/' }],
  ['escaped dots', on, '/a/%2e%2E/b', { path: '/b' }],
  ['escaped unreserved characters', on, '/%41%7e%2Dx%20%2f', { path: '/A~-x%20%2f' }],
  ['backslashes', on, '/a\\..\\b', { path: '/b' }],
  ['escaped slashes stay', on, '/%2e%2e%2fa', { path: '/..%2fa' }],
  ['double slashes stay', on, '/a//b', { path: '/a//b' }],
  ['dot dot with a parameter', on, '/a/..;x/b', { path: '/b' }],
  ['escaped dot dot with a parameter', on, '/a/%2e%2e;/b', { path: '/a/..;/b' }],
  ['an escaped NUL', on, '/a%00b', 'reject'],
  ['off', off, '/a/../b', { path: '/a/../b' }],
  ['a fragment', off, '/a#b', 'reject'],
  ['a fragment that may be cut', { ...off, stripFragment: true }, '/a?x#b', { path: '/a?x' }],
  ['slashes merged, query not', { ...off, mergeSlashes: true }, '//a///b?c=//', { path: '/a/b?c=//' }],
  ['nothing but slashes', { ...off, mergeSlashes: true }, '///', { path: '//' }],
  ['escaped slashes refused', { ...off, escapedSlashes: 'reject' }, '/a%2Fb', 'reject'],
  ['escaped slashes in the query are none', { ...off, escapedSlashes: 'reject' }, '/a?b=%2F', { path: '/a?b=%2F' }],
  ['escaped slashes forwarded', { ...on, escapedSlashes: 'forward' }, '/a%2f..%5cb', { path: '/b' }],
  ['escaped slashes redirected', { ...off, escapedSlashes: 'redirect' }, '/a%2fb?q', { redirect: '/a/b?q' }],
]
test.each(cases)('path: %s', (_name, settings, path, expected) => {
  expect(normalizePath(path, settings) ?? { path }).toEqual(expected)
})

const hosts: [string, boolean, 'no' | 'matching' | 'any', string][] = [
  ['a.test.', true, 'no', 'a.test'],
  ['a.test.:80', true, 'no', 'a.test:80'],
  ['a.test:123', false, 'any', 'a.test'],
  ['a.test:123', false, 'matching', 'a.test:123'],
  ['a.test:8080', false, 'matching', 'a.test'],
  ['[::1]:8080', false, 'any', '[::1]'],
  ['[::1]', false, 'any', '[::1]'],
  ['a.test:', false, 'any', 'a.test:'],
  ['a.test:b', false, 'any', 'a.test:b'],
  ['a.test:80:81', false, 'any', 'a.test:80'],
]
test.each(hosts)('host %s, dot %s, port %s', (authority, dot, port, expected) => {
  const head = RequestHead.create('GET', '/', authority)
  normalizeHost(head, dot, port, 8080)
  expect(head.authority).toBe(expected)
})

test('x-forwarded-for is read from its right end', () => {
  expect(forwardedEntry('1.1.1.1, 2.2.2.2,3.3.3.3', 0)).toBe('3.3.3.3')
  expect(forwardedEntry('1.1.1.1, 2.2.2.2,3.3.3.3', 1)).toBe('2.2.2.2')
  expect(forwardedEntry('1.1.1.1, 2.2.2.2,3.3.3.3', 2)).toBe('1.1.1.1')
  expect(forwardedEntry('1.1.1.1', 1)).toBeUndefined()
  expect(forwardedEntry('1.1.1.1,', 0)).toBe('')
})

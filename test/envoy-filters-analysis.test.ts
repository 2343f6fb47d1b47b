import { describe, expect, it } from 'vitest'
import { analyzed, lines } from './support/analysis.ts'

const envoyFilter = (name: string, patches: string, more = '') => `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: ${name}, namespace: default}
spec:
  ${more}
  configPatches:
${patches.trim().replace(/^/gm, '  ')}
---`
const patch = (applyTo: string, operation: string, name = 'a', match = '{}') => `
- applyTo: ${applyTo}
  match: ${match}
  patch: {operation: ${operation}, value: {name: ${name}}}
`
const MANAGER = 'envoy.filters.network.http_connection_manager'
const named = (name: string, more = '') =>
  `{${more}listener: {filterChain: {filter: {name: ${MANAGER}, subFilter: {name: ${name}}}}}}`
const codes = (yaml: string) =>
  lines(analyzed(yaml, ['envoyfilter.EnvoyPatchAnalyzer'])).map((line) => {
    const [, level, code, subject, text] =
      /^(\w+) \[(\w+)\] \(EnvoyFilter default\/(\w+) [^)]*\) (.*)$/.exec(line) ?? []
    return [level, code, subject, text]
  })

// Istio's own cases (pkg/config/analysis/analyzers/testdata/*envoy-filter*.yaml), condensed.
describe('what istioctl says of EnvoyFilters', () => {
  it('relative operations without a priority', () => {
    const relative = (name: string, more?: string) =>
      envoyFilter(
        name,
        patch('HTTP_FILTER', 'INSERT_BEFORE', 'a', named('b')) +
          patch('HTTP_FILTER', 'INSERT_AFTER', 'a', named('b')) +
          patch('HTTP_FILTER', 'REMOVE', 'a', named('b')) +
          patch('HTTP_FILTER', 'REPLACE', 'a', named('b')) +
          patch('HTTP_FILTER', 'INSERT_FIRST') +
          patch('HTTP_FILTER', 'MERGE', 'a', named('b')),
        more,
      )
    const text =
      'This EnvoyFilter does not have a priority and has a relative patch operation set which can cause the EnvoyFilter not to be applied. Using the INSERT_FIRST of ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.'
    expect(codes(relative('without'))).toEqual(Array(4).fill(['Warning', 'IST0151', 'without', text]))
    expect(codes(relative('with', 'priority: 10'))).toEqual([])
  })

  it('and of a filter for one version of the proxy, where another one is about the same', () => {
    const yaml =
      envoyFilter(
        'first',
        patch('HTTP_FILTER', 'INSERT_BEFORE', 'a', named('b', "proxy: {proxyVersion: '^1\\.9.*'}, ")),
      ) + envoyFilter('second', patch('HTTP_FILTER', 'INSERT_BEFORE', 'a', named('b')))
    const said = codes(yaml)
    expect(said.map(([level, code, name]) => `${level} ${code} ${name}`)).toEqual([
      'Warning IST0151 first',
      'Warning IST0155 second',
    ])
    expect(said[1]![3]).toBe(
      'This EnvoyFilter does not have a priority and has a relative patch operation (NSTERT_BEFORE/AFTER, REPLACE, MERGE, DELETE) and proxyVersion set which can cause the EnvoyFilter not to be applied during an upgrade. Using the INSERT_FIRST or ADD option or setting the priority may help in ensuring the EnvoyFilter is applied correctly.',
    )
  })

  it('operations that are not for what they are applied to', () => {
    const all = ['ROUTE_CONFIGURATION', 'HTTP_ROUTE', 'CLUSTER']
    const yaml = envoyFilter(
      'wrong',
      ['ADD', 'REMOVE', 'REPLACE'].flatMap((operation) => all.map((kind) => patch(kind, operation))).join(''),
      'priority: 1',
    )
    const text = (code: string) => codes(yaml).filter((said) => said[1] === code)
    expect(text('IST0152')).toEqual(
      Array(3).fill([
        'Error',
        'IST0152',
        'wrong',
        'The REPLACE operation is only valid for HTTP_FILTER and NETWORK_FILTER.',
      ]),
    )
    expect(text('IST0153').map((said) => said[3])).toEqual(
      Array(2).fill('The ADD operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.'),
    )
    expect(text('IST0154').map((said) => said[3])).toEqual(
      Array(2).fill('The REMOVE operation will be ignored when applyTo is set to ROUTE_CONFIGURATION, or HTTP_ROUTE.'),
    )
  })
})

describe('values that are none of the messages of Envoy', () => {
  it('are told at their place', () => {
    const yaml = envoyFilter(
      'bad',
      `
- applyTo: CLUSTER
  patch: {operation: MERGE, value: {connect_timeout: soon}}
- applyTo: CLUSTER
  patch: {operation: MERGE, value: {conect_timeout: 1s}}`,
    )
    expect(lines(analyzed(yaml, ['dinghy.EnvoyFilterValueAnalyzer']))).toEqual([
      expect.stringMatching(
        /^Error \[DGY0128\] \(EnvoyFilter default\/bad mesh\.yaml:9:\d+\) istiod cannot read this, and leaves the patch out: patch\.value\.connect_timeout: /,
      ),
      expect.stringMatching(
        /^Warning \[DGY0129\] \(EnvoyFilter default\/bad mesh\.yaml:11:\d+\) istiod leaves this field out: patch\.value\.conect_timeout: unknown field "conect_timeout": did you mean "connect_timeout"\?$/,
      ),
    ])
  })
})

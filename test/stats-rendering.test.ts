import { describe, expect, it } from 'vitest'
import { renderPrometheus } from '../src/proxy/observe/prometheus.ts'
import { StatsStore } from '../src/proxy/observe/stats.ts'
import { renderStatsJson, renderStatsText } from '../src/proxy/observe/stats-text.ts'
import { tagProducer } from '../src/proxy/observe/tags.ts'
import { make } from '../src/xds/messages.ts'

/** Metric names, and the name and labels under which Envoy 1.40 exposes them. */
const EXPOSED: [name: string, line: string][] = [
  ['cluster.a.upstream_rq_200', 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="a"}'],
  ['cluster.a.upstream_rq_2xx', 'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"}'],
  [
    'cluster.a.external.upstream_rq_2xx',
    'envoy_cluster_external_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="a"}',
  ],
  ['cluster.a.upstream_rq_total', 'envoy_cluster_upstream_rq_total{envoy_cluster_name="a"}'],
  ['http.h.downstream_rq_total', 'envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix="h"}'],
  [
    'listener.127.0.0.1_35771.http.h.downstream_rq_5xx',
    'envoy_listener_http_downstream_rq_xx{envoy_response_code_class="5",envoy_http_conn_manager_prefix="h",envoy_listener_address="127.0.0.1_35771"}',
  ],
  [
    'listener.127.0.0.1_35771.downstream_cx_total',
    'envoy_listener_downstream_cx_total{envoy_listener_address="127.0.0.1_35771"}',
  ],
  ['listener.admin.downstream_cx_total', 'envoy_listener_admin_downstream_cx_total{}'],
  ['server.live', 'envoy_server_live{}'],
  ['tcp.p.downstream_cx_total', 'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="p"}'],
  ['p.http_local_rate_limit.ok', 'envoy_http_local_rate_limit_ok{envoy_local_http_ratelimit_prefix="p"}'],
]

describe('the Prometheus page', () => {
  it.each(EXPOSED)('shows %s as %s', (name, line) => {
    const store = new StatsStore()
    store.counter(name).add(3)
    expect(renderPrometheus(store, tagProducer(undefined)).split('\n')[1]).toBe(`${line} 3`)
  })

  it('groups by name with a type line, counters before gauges before histograms', () => {
    const store = new StatsStore()
    store.gauge('cluster.b.upstream_cx_active').set(2)
    store.counter('cluster.b.upstream_cx_total').add(1)
    store.counter('cluster.a.upstream_cx_total').add(4)
    expect(renderPrometheus(store, tagProducer(undefined))).toBe(
      '# TYPE envoy_cluster_upstream_cx_total counter\n' +
        'envoy_cluster_upstream_cx_total{envoy_cluster_name="a"} 4\n' +
        'envoy_cluster_upstream_cx_total{envoy_cluster_name="b"} 1\n' +
        '# TYPE envoy_cluster_upstream_cx_active gauge\n' +
        'envoy_cluster_upstream_cx_active{envoy_cluster_name="b"} 2\n',
    )
  })

  it('shows a histogram as cumulative buckets, sum and count, le last', () => {
    const store = new StatsStore()
    const histogram = store.histogram('cluster.a.upstream_rq_time')
    for (const ms of [0, 3, 7, 4_000_000]) histogram.record(ms)
    const lines = renderPrometheus(store, tagProducer(undefined)).split('\n')
    expect(lines[0]).toBe('# TYPE envoy_cluster_upstream_rq_time histogram')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="0.5"} 1')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="5"} 2')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="3600000"} 3')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="+Inf"} 4')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="a"} 4000010')
    expect(lines).toContain('envoy_cluster_upstream_rq_time_count{envoy_cluster_name="a"} 4')
  })

  it("takes the tags that a bootstrap names, such as Istio's", () => {
    const config = make('envoy.config.metrics.v3.StatsConfig', {
      useAllDefaultTags: false,
      statsTags: [
        {
          tagName: 'cluster_name',
          tagValue: { case: 'regex', value: '^cluster\\.((.+?(\\..+?\\.svc\\.cluster\\.local)?)\\.)' },
        },
        { tagName: 'response_code_class', tagValue: { case: 'regex', value: '_rq(_(\\dxx))$' } },
        { tagName: 'mesh', tagValue: { case: 'fixedValue', value: 'm' } },
      ],
    })
    const store = new StatsStore()
    store.counter('cluster.outbound|80||a.default.svc.cluster.local.upstream_rq_2xx').add(1)
    expect(renderPrometheus(store, tagProducer(config)).split('\n')[1]).toBe(
      'envoy_cluster_upstream_rq{mesh="m",response_code_class="2xx",cluster_name="outbound|80||a.default.svc.cluster.local"} 1',
    )
  })

  it('shows labelled metrics of a custom namespace without the prefix, values escaped', () => {
    const store = new StatsStore()
    const tags = [{ name: 'reporter', value: 'so"ur\\ce' }]
    store.counter('istiocustom.istio_requests_total.x', { name: 'istiocustom.istio_requests_total', tags }).add(2)
    expect(renderPrometheus(store, tagProducer(undefined))).toBe(
      '# TYPE istio_requests_total counter\nistio_requests_total{reporter="so\\"ur\\\\ce"} 2\n',
    )
  })
})

describe('the stats page', () => {
  const store = new StatsStore()
  store.counter('b.total').add(2)
  store.gauge('a.active').set(1)
  store.counter('c.unused')
  for (const ms of [3, 7]) store.histogram('h.time').record(ms)
  store.histogram('h.none')

  it('sorts counters and gauges together, histograms after them', () => {
    expect(renderStatsText(store)).toBe(
      'a.active: 1\nb.total: 2\nc.unused: 0\nh.none: No recorded values\n' +
        'h.time: P0(nan,1) P25(nan,3) P50(nan,5) P75(nan,7.5) P90(nan,9) P95(nan,9.5) P99(nan,9.9) ' +
        'P99.5(nan,9.95) P99.9(nan,9.99) P100(nan,10)\n',
    )
  })

  it('leaves out what was never used, what a filter does not match, and other types', () => {
    expect(renderStatsText(store, { usedOnly: true, type: 'Counters' })).toBe('b.total: 2\n')
    expect(renderStatsText(store, { filter: /^a/ })).toBe('a.active: 1\n')
    expect(renderStatsText(store, { filter: /^h\.time/, buckets: 'disjoint' })).toContain('B5(0,1) B10(0,1) B25(0,0)')
  })

  it('shows the last interval once one is over', () => {
    const own = new StatsStore()
    own.histogram('h').record(3)
    own.flush()
    own.histogram('h').record(700)
    own.flush()
    expect(renderStatsText(own)).toContain('P100(1000,1000)')
    expect(renderStatsText(own)).toContain('P0(500,1)')
  })

  it('comes as JSON', () => {
    expect(JSON.parse(renderStatsJson(store, { filter: /^[ab]/ }))).toEqual({
      stats: [
        { name: 'a.active', value: 1 },
        { name: 'b.total', value: 2 },
      ],
    })
    const [, , , histograms] = JSON.parse(renderStatsJson(store)).stats
    expect(histograms.histograms.computed_quantiles[1].values[0]).toEqual({ cumulative: 1, interval: null })
  })
})

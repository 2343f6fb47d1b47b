import { expect, it } from 'vitest'
import { Problems } from '../src/proxy/http/config.ts'
import { StatsStore } from '../src/proxy/observe/stats.ts'
import { ClusterStats } from '../src/proxy/upstream/cluster-stats.ts'
import { compileOutlier } from '../src/proxy/upstream/outlier-config.ts'
import { OutlierDetector, type OutlierEvent } from '../src/proxy/upstream/outlier-detection.ts'
import type { UpstreamHost } from '../src/proxy/upstream/upstream-host.ts'
import { TestRuntime } from '../src/runtime-test.ts'
import { type Init, make } from '../src/xds/messages.ts'
import { host } from './support/upstream-hosts.ts'

function detector(config: Init<'envoy.config.cluster.v3.OutlierDetection'>, count = 10) {
  const problems = new Problems()
  const settings = compileOutlier(make('envoy.config.cluster.v3.OutlierDetection', config), problems)
  expect(problems.errors).toEqual([])
  const runtime = new TestRuntime()
  const store = new StatsStore()
  const events: OutlierEvent[] = []
  const hosts = Array.from({ length: count }, (_, i) => host(i + 1))
  const changed: UpstreamHost[] = []
  const stats = new ClusterStats('a', store)
  const d = new OutlierDetector(
    settings,
    runtime,
    stats,
    (h) => changed.push(h),
    (e) => events.push(e),
  )
  d.setHosts(hosts)
  const value = (name: string) => store.counters.get(`cluster.a.outlier_detection.${name}`)?.value
  const active = () => store.gauges.get('cluster.a.outlier_detection.ejections_active')!.value
  const report = (h: UpstreamHost, result: Parameters<OutlierDetector['report']>[1], times = 1) => {
    for (let i = 0; i < times; i++) d.report(h, result)
  }
  return { d, runtime, hosts, events, changed, value, active, report }
}

const seconds = (n: number) => ({ seconds: BigInt(n), nanos: 0 })

it('five 5xx in a row eject a host; a success between starts the count again', () => {
  const t = detector({})
  const [h] = t.hosts
  t.report(h!, 500, 4)
  t.report(h!, 200)
  t.report(h!, 500, 4)
  expect(t.active()).toBe(0)
  t.report(h!, 500)
  expect(t.active()).toBe(1)
  expect(h!.healthy).toBe(false)
  expect(t.changed).toEqual([h])
  expect(t.events).toMatchObject([{ action: 'EJECT', type: 'consecutive_5xx', ejections: 1, enforced: true }])
  expect(t.value('ejections_enforced_consecutive_5xx')).toBe(1)
  expect(t.value('ejections_consecutive_5xx')).toBe(1)
})

it('by default no more than a tenth of the hosts is ejected, which is none of nine', () => {
  const t = detector({}, 9)
  t.report(t.hosts[0]!, 500, 5)
  expect(t.active()).toBe(0)
  expect(t.value('ejections_overflow')).toBe(1)
  const always = detector({ alwaysEjectOneHost: true }, 9)
  always.report(always.hosts[0]!, 500, 5)
  always.report(always.hosts[1]!, 500, 5)
  expect(always.active()).toBe(1)
})

it('the counter starts again after each detection, enforced or not', () => {
  const t = detector({ maxEjectionPercent: 10 }, 2)
  t.report(t.hosts[0]!, 500, 20)
  expect(t.value('ejections_overflow')).toBe(4)
})

it('ejections last longer each time, and are forgiven interval by interval', () => {
  const t = detector({ interval: seconds(10), baseEjectionTime: seconds(30) })
  const h = t.hosts[0]!
  const ejectedFor = () => {
    t.report(h, 500, 5)
    let time = 0
    while (t.active() === 1) {
      t.runtime.advance(10_000)
      time += 10
    }
    return time
  }
  expect(ejectedFor()).toBe(30)
  expect(ejectedFor()).toBe(60)
  expect(ejectedFor()).toBe(90)
  // Two healthy intervals take two steps back.
  t.runtime.advance(20_000)
  expect(ejectedFor()).toBe(60)
})

it('no ejection outlasts max_ejection_time', () => {
  const t = detector({ interval: seconds(1), baseEjectionTime: seconds(2), maxEjectionTime: seconds(3) })
  const h = t.hosts[0]!
  for (let i = 0; i < 5; i++) {
    t.report(h, 500, 5)
    t.runtime.advance(3000)
    expect(t.active()).toBe(0)
  }
})

it('gateway failures eject only when that is enforced', () => {
  const off = detector({ consecutiveGatewayFailure: 2, consecutive5xx: 100 })
  off.report(off.hosts[0]!, 503, 2)
  expect([off.active(), off.value('ejections_detected_consecutive_gateway_failure')]).toEqual([0, 1])
  const on = detector({ consecutiveGatewayFailure: 2, enforcingConsecutiveGatewayFailure: 100, consecutive5xx: 100 })
  on.report(on.hosts[0]!, 503)
  on.report(on.hosts[0]!, 500)
  on.report(on.hosts[0]!, 503)
  expect(on.active()).toBe(0)
  on.report(on.hosts[0]!, 502)
  expect(on.active()).toBe(1)
})

it('without split, timeouts and failed connections count as 504 and 503', () => {
  const t = detector({ consecutive5xx: 3 })
  t.report(t.hosts[0]!, 'timeout')
  t.report(t.hosts[0]!, 'connect-failed')
  t.report(t.hosts[0]!, 'connect-success')
  t.report(t.hosts[0]!, 'local-reset')
  expect(t.active()).toBe(1)
})

it('with split, they count apart from answers', () => {
  const t = detector({ splitExternalLocalOriginErrors: true, consecutive5xx: 1, consecutiveLocalOriginFailure: 2 })
  t.report(t.hosts[0]!, 'connect-failed')
  t.report(t.hosts[0]!, 'connect-success')
  t.report(t.hosts[0]!, 'connect-failed')
  expect(t.active()).toBe(0)
  t.report(t.hosts[0]!, 'timeout')
  expect(t.value('ejections_enforced_consecutive_local_origin_failure')).toBe(1)
  expect(t.value('ejections_enforced_consecutive_5xx')).toBe(0)
})

it('a host whose success rate is far below the others is ejected at the end of the interval', () => {
  const t = detector({ interval: seconds(10), consecutive5xx: 1_000_000 })
  for (const h of t.hosts) t.report(h, 200, 100)
  t.report(t.hosts[3]!, 500, 60)
  t.runtime.advance(10_000)
  expect(t.value('ejections_enforced_success_rate')).toBe(1)
  expect(t.hosts[3]!.healthy).toBe(false)
  expect(t.hosts[3]!.successRate).toBeCloseTo(62.5)
  expect(t.d.averages.external).toBeCloseTo(96.25)
})

it('failure percentage ejects above its threshold when enforced', () => {
  const t = detector({
    interval: seconds(10),
    consecutive5xx: 1_000_000,
    enforcingSuccessRate: 0,
    enforcingFailurePercentage: 100,
  })
  for (const h of t.hosts) t.report(h, 200, 8)
  for (const h of t.hosts) t.report(h, 500, h === t.hosts[0] ? 60 : 42)
  t.runtime.advance(10_000)
  expect(t.value('ejections_enforced_failure_percentage')).toBe(1)
  expect(t.hosts[0]!.healthy).toBe(false)
})

it('hosts that leave while ejected no longer count', () => {
  const t = detector({})
  t.report(t.hosts[0]!, 500, 5)
  t.d.setHosts(t.hosts.slice(1))
  expect(t.active()).toBe(0)
})

#!/usr/bin/env node
// What a request costs: Dinghy beside nginx, HAProxy, Envoy and http-proxy. See README.md.
//   npm run bench -- [--quick] [--scenario NAME,…] [--peers NAME,…] [--rounds N] [--seconds N]
//                    [--envoy PATH] [--dinghy COMMAND] [--json FILE]
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { writeCertificates } from './lib/certificates.mjs'
import { generator, generatorFor } from './lib/load.mjs'
import { findPeers, nginxCommand, nginxConfig } from './lib/peers.mjs'
import {
  cpuMicros,
  freePort,
  listening,
  OTHER_CORE,
  PROXY_CORE,
  pinned,
  residentMb,
  start,
  stop,
  stopAll,
  which,
} from './lib/processes.mjs'
import { printTable } from './lib/table.mjs'

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    scenario: { type: 'string' },
    peers: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    envoy: { type: 'string' },
    dinghy: { type: 'string' },
    json: { type: 'string' },
  },
})
const here = path.dirname(fileURLToPath(import.meta.url))
const rounds = Number(options.rounds ?? (options.quick ? 2 : 4))
const seconds = Number(options.seconds ?? (options.quick ? 1 : 2))
const CONNECTIONS = 64
const BODY_BYTES = 1024

const SCENARIOS = [
  { name: 'get', title: '1 KB GET' },
  { name: 'mtls', title: '1 KB GET, mTLS on both hops', tls: true },
  { name: 'sidecar', title: "1 KB GET, access log and a sidecar's filters (nginx: access log only)", sidecar: true },
]

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-bench-'))
const progress = (text) => process.stderr.write(`${text}\n`)

async function finish(code) {
  await stopAll()
  fs.rmSync(dir, { recursive: true, force: true })
  process.exit(code)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => finish(130))

async function startBackend(tls) {
  const listen = await freePort()
  const nginx = which('nginx')
  const location = `default_type text/plain; return 200 "${'x'.repeat(BODY_BYTES)}";`
  const [command, args] = nginx
    ? nginxCommand(nginx, path.join(dir, `backend-${listen}`), nginxConfig({ listen, tls, location }))
    : [process.execPath, [path.join(here, 'backend.mjs'), JSON.stringify({ listen, tls, bytes: BODY_BYTES })]]
  const handle = start(command, args, { core: OTHER_CORE })
  await listening(listen, handle)
  return { handle, port: listen }
}

async function startPeer(peer, scenario, backend, tls) {
  const listen = await freePort()
  const own = path.join(dir, `${peer.name}-${listen}`)
  fs.mkdirSync(own, { recursive: true })
  const setup = {
    dir: own,
    listen,
    admin: await freePort(),
    backend,
    tls,
    sidecar: scenario.sidecar,
    logFile: path.join(own, 'access.log'),
  }
  const [command, args] = peer.command(setup)
  const handle = start(command, args, { core: PROXY_CORE })
  try {
    await listening(listen, handle)
  } catch (error) {
    await stop(handle)
    throw error
  }
  const load = generator({ port: listen, connections: CONNECTIONS, tls })
  return { ...peer, handle, load, samples: [] }
}

async function measure(peer) {
  const before = cpuMicros(peer.handle.pid)
  const result = await peer.load.burst(seconds)
  const cpu = cpuMicros(peer.handle.pid) - before
  if (result.requests === 0) throw new Error(`no answer (${result.errors} errors)`)
  return {
    micros: cpu / result.requests,
    rate: result.requests / result.seconds,
    p50: result.p50,
    p99: result.p99,
    errors: result.errors,
    rss: residentMb(peer.handle.pid),
  }
}

async function run(scenario, candidates, certificates) {
  const tls = scenario.tls ? certificates : undefined
  const backend = await startBackend(tls)
  const peers = []
  const notes = []
  for (const candidate of candidates) {
    if (scenario.sidecar && !candidate.sidecar) continue
    try {
      const peer = await startPeer(candidate, scenario, backend.port, tls)
      await peer.load.burst(1) // warm: connections, and the compilers of those that have one
      peers.push(peer)
    } catch (error) {
      notes.push(`${candidate.name}: ${error.message}`)
    }
  }
  for (let round = 1; round <= rounds; round++) {
    for (const peer of [...peers]) {
      try {
        peer.samples.push(await measure(peer))
      } catch (error) {
        notes.push(`${peer.name}: ${error.message}`)
        peers.splice(peers.indexOf(peer), 1)
      }
    }
    progress(`${scenario.name}: round ${round} of ${rounds}`)
  }
  await Promise.all(peers.flatMap((peer) => [stop(peer.handle), peer.load.close()]))
  await stop(backend.handle)
  return { peers: peers.map(({ name, samples }) => ({ name, samples })), notes }
}

try {
  const certificates = await writeCertificates(dir)
  const wanted = (list, name) => list === undefined || list.split(',').includes(name)
  const all = findPeers({ envoy: options.envoy, dinghy: options.dinghy }).filter((p) => wanted(options.peers, p.name))
  const missing = all.filter((p) => !p.command)
  const results = []
  console.log(
    `${os.cpus()[0]?.model.trim()}, Node ${process.versions.node}; ${CONNECTIONS} keep-alive connections; ` +
      (pinned
        ? 'the proxy on one core, load and backend on another'
        : 'not pinned to cores: read the numbers with care'),
  )
  for (const scenario of SCENARIOS.filter((s) => wanted(options.scenario, s.name))) {
    const result = await run(
      scenario,
      all.filter((p) => p.command),
      certificates,
    )
    results.push({ scenario: scenario.name, ...result })
    printTable(`${scenario.title} (load: ${generatorFor(scenario)})`, result.peers)
    for (const note of result.notes) console.log(`  ${note}`)
  }
  for (const peer of missing) console.log(`not measured: ${peer.name}, ${peer.missing}`)
  if (options.json) fs.writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`)
  await finish(0)
} catch (error) {
  console.error(error)
  await finish(1)
}

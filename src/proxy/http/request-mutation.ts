import { type ConnectionInfo, isPipe } from '../listener/connection.ts'
import { bareIp, forwardedEntry, isLoopback } from './addresses.ts'
import type { ExchangeInfo } from './exchange-info.ts'
import type { HcmConfig } from './hcm-config.ts'
import type { HeaderName, RequestHead } from './headers.ts'
import { type LocalReply, REPLY } from './local-replies.ts'
import { EDGE_STRIP, EXTERNAL_STRIP, H } from './names.ts'
import type { Detected } from './original-ip.ts'
import { mutateXfcc } from './xfcc.ts'

/** Whether the request asks for another protocol: `upgrade` present and named by `connection`. */
export function isUpgrade(head: RequestHead): boolean {
  return head.has(H.upgrade) && head.hasToken(H.connection, 'upgrade')
}

/**
 * What a connection manager does to request headers before it looks for a route, in Envoy's order (HCU
 * mutateRequestHeaders). Fills `info.trustedClientIp`. Returns whether the request came from inside, or the answer that
 * refuses it.
 */
export function mutateRequest(
  head: RequestHead,
  config: HcmConfig,
  connection: ConnectionInfo,
  info: ExchangeInfo,
  internalOnly: readonly HeaderName[],
): boolean | LocalReply {
  for (let i = 0; i < config.earlyMutations.length; i++) config.earlyMutations[i]!.apply(head, info)
  if (head.bits !== 0) removeHopByHop(head)
  const secure = connection.tls !== undefined
  const { remote } = connection
  const forwardedBefore = head.get(H.xff)
  let trusted = remote.ip
  let single: boolean
  if (config.useRemoteAddress) {
    if (config.xffTrustedHops > 0 && forwardedBefore !== undefined) {
      trusted = bareIp(forwardedEntry(forwardedBefore, config.xffTrustedHops - 1) ?? '') ?? remote.ip
    }
    if (!config.skipXffAppend && !isPipe(remote)) appendPeer(head, config, remote.ip)
    single = forwardedBefore === undefined
    if (config.xffTrustedHops === 0 || !head.has(H.xForwardedProto)) {
      head.set(H.xForwardedProto, secure ? 'https' : 'http')
    }
  } else {
    single = forwardedBefore !== undefined && !forwardedBefore.includes(',')
    if (config.ipDetectors.length > 0) {
      const detected = detect(head, config, remote.ip)
      if (detected.reject !== undefined) return { ...REPLY.ipDetectionFailed, status: detected.reject }
      trusted = detected.ip ?? remote.ip
      single = detected.ip !== undefined && detected.trusted
    } else if (forwardedBefore !== undefined) {
      trusted = bareIp(forwardedEntry(forwardedBefore, config.xffTrustedHops) ?? '') ?? remote.ip
    }
    if (!head.has(H.xForwardedProto)) head.add(H.xForwardedProto, secure ? 'https' : 'http')
  }
  if (config.appendXForwardedPort && !keepsForwardedPort(head, config)) {
    head.set(H.xForwardedPort, String(connection.local.port))
  }
  info.trustedClientIp = trusted
  setScheme(head, config, secure)

  const internal = single && config.internalAddresses.has(trusted)
  const edge = config.useRemoteAddress && !internal
  if (internal) head.set(H.internal, 'true')
  else {
    for (let i = 0; i < EXTERNAL_STRIP.length; i++) head.remove(EXTERNAL_STRIP[i]!)
    for (let i = 0; i < internalOnly.length; i++) head.remove(internalOnly[i]!)
    if (edge) for (let i = 0; i < EDGE_STRIP.length; i++) head.remove(EDGE_STRIP[i]!)
  }
  if (config.addUserAgent) {
    head.set(H.downstreamCluster, config.nodeCluster)
    const agent = head.get(H.userAgent)
    if (agent === undefined || agent === '') head.set(H.userAgent, config.nodeCluster)
    if (config.nodeId !== '') head.set(H.downstreamNode, config.nodeId)
  }
  if (config.via !== '') {
    const via = head.get(H.via)
    head.set(H.via, via === undefined || via === '' ? config.via : `${via}, ${config.via}`)
  }
  if (edge && !isPipe(remote)) head.set(H.externalAddress, trusted)
  if (config.generateRequestId) {
    const id = head.get(H.requestId)
    if (id === undefined || id === '' || (edge && !config.preserveExternalRequestId)) {
      head.set(H.requestId, config.runtime.uuid())
    }
  }
  mutateXfcc(head, connection, config.xfccMode, config.xfccDetails)
  return internal
}

/** Appends the peer's address to x-forwarded-for; a peer on loopback is called by this machine's own. */
function appendPeer(head: RequestHead, config: HcmConfig, peer: string): void {
  const before = head.get(H.xff)
  const own = isLoopback(peer) && config.localAddress !== '' ? config.localAddress : peer
  head.set(H.xff, before === undefined || before === '' ? own : `${before},${own}`)
}

/** Asks the detectors until one knows the client's address, or refuses the request. */
function detect(head: RequestHead, config: HcmConfig, peer: string): Detected {
  for (const detector of config.ipDetectors) {
    const detected = detector(head, peer)
    if (detected.reject !== undefined) return detected
    if (detected.append) appendPeer(head, config, peer)
    if (detected.ip !== undefined) return detected
  }
  return { ip: undefined, trusted: false, reject: undefined, append: false }
}

/** Whether the client's own `x-forwarded-port` stands: at an edge only when a trusted proxy is before it. */
function keepsForwardedPort(head: RequestHead, config: HcmConfig): boolean {
  return head.has(H.xForwardedPort) && (!config.useRemoteAddress || config.xffTrustedHops > 0)
}

function removeHopByHop(head: RequestHead): void {
  if (!isUpgrade(head)) {
    head.remove(H.connection)
    head.remove(H.upgrade)
    const te = head.get(H.te)
    if (te !== undefined && te !== '') {
      if (te.split(',').some((t) => t.trim() === 'trailers')) head.set(H.te, 'trailers')
      else head.remove(H.te)
    }
  }
  head.remove(H.internal)
  head.remove(H.keepAlive)
  head.remove(H.proxyConnection)
  head.remove(H.transferEncoding)
  if (head.has(H.referer) && !validReferer(head)) head.remove(H.referer)
}

/** A referer may be given once; absolute ones without userinfo and fragment, relative ones without fragment. */
function validReferer(head: RequestHead): boolean {
  const all = head.values(H.referer)
  if (all.length !== 1) return false
  const referer = all[0]!
  if (referer.includes('#')) return false
  const absolute = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(referer)
  if (absolute) return /^[a-z]+:/i.test(referer) && absolute[1] !== '' && !absolute[1]!.includes('@')
  // A relative one: a colon before the first slash would be a scheme.
  const slash = referer.indexOf('/')
  const colon = referer.indexOf(':')
  return (colon < 0 || (slash >= 0 && slash < colon)) && !/[^!-~]|["<>\\^`{|}]/.test(referer)
}

function setScheme(head: RequestHead, config: HcmConfig, secure: boolean): void {
  if (config.schemeToOverwrite !== '') {
    head.scheme = config.schemeToOverwrite
    head.set(H.xForwardedProto, config.schemeToOverwrite)
    return
  }
  if (head.scheme === '') {
    const proto = head.get(H.xForwardedProto)
    head.scheme = proto === 'http' || proto === 'https' ? proto : secure ? 'https' : 'http'
  } else head.scheme = head.scheme.toLowerCase()
}

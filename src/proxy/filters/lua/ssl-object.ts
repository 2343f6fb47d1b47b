import { X509Certificate } from 'node:crypto'
import type { FilterSlot } from '../../http/filter-slot.ts'
import { type CertificateInfo, formatAddress, type TlsInfo } from '../../listener/connection.ts'
import { type LuaApi, type LuaState, sharedClass } from './engine.ts'

type Push<T> = (self: T, api: LuaApi, L: LuaState) => number

const say =
  <T>(value: (self: T) => string): Push<T> =>
  (self, api, L) => {
    api.string(L, Buffer.from(value(self)).toString('latin1'))
    return 1
  }
const list =
  <T>(value: (self: T) => readonly string[]): Push<T> =>
  (self, api, L) => {
    api.value(L, value(self))
    return 1
  }
const number =
  <T>(value: (self: T) => number): Push<T> =>
  (self, api, L) => {
    api.lua.lua_pushnumber(L, value(self))
    return 1
  }
const truth =
  <T>(value: (self: T) => boolean): Push<T> =>
  (self, api, L) => {
    api.lua.lua_pushboolean(L, value(self))
    return 1
  }

const seconds = (at: Date | undefined): number => (at === undefined ? 0 : Math.floor(at.getTime() / 1000))

/** Ids of the cipher suites that can be negotiated, as IANA has them. */
const SUITES: Readonly<Record<string, string>> = {
  TLS_AES_128_GCM_SHA256: '0x1301',
  TLS_AES_256_GCM_SHA384: '0x1302',
  TLS_CHACHA20_POLY1305_SHA256: '0x1303',
  'ECDHE-ECDSA-AES128-GCM-SHA256': '0xc02b',
  'ECDHE-RSA-AES128-GCM-SHA256': '0xc02f',
  'ECDHE-ECDSA-AES256-GCM-SHA384': '0xc02c',
  'ECDHE-RSA-AES256-GCM-SHA384': '0xc030',
  'ECDHE-ECDSA-CHACHA20-POLY1305': '0xcca9',
  'ECDHE-RSA-CHACHA20-POLY1305': '0xcca8',
  'ECDHE-ECDSA-AES128-SHA': '0xc009',
  'ECDHE-RSA-AES128-SHA': '0xc013',
  'ECDHE-ECDSA-AES256-SHA': '0xc00a',
  'ECDHE-RSA-AES256-SHA': '0xc014',
  'AES128-GCM-SHA256': '0x009c',
  'AES256-GCM-SHA384': '0x009d',
  'AES128-SHA': '0x002f',
  'AES256-SHA': '0x0035',
}

const OID = 0x06

/** Object identifiers among a certificate's extensions, as text. */
function oidsOf(certificate: CertificateInfo | undefined): string[] {
  if (certificate === undefined) return []
  const out: string[] = []
  // TBSCertificate is the first part; its extensions are what is tagged [3].
  const whole = read(new X509Certificate(certificate.pem).raw, 0)
  const tbs = read(whole.body, 0)
  for (let at = 0; at < tbs.body.length; ) {
    const part = read(tbs.body, at)
    at = part.end
    if (part.tag !== 0xa3) continue
    const extensions = read(part.body, 0).body
    for (let i = 0; i < extensions.length; ) {
      const extension = read(extensions, i)
      i = extension.end
      const id = read(extension.body, 0)
      if (id.tag === OID) out.push(oidText(id.body))
    }
  }
  return out
}

function read(der: Buffer, at: number): { tag: number; body: Buffer; end: number } {
  let length = der[at + 1]!
  let from = at + 2
  if (length > 0x80) {
    const bytes = length & 0x7f
    length = der.readUIntBE(from, bytes)
    from += bytes
  }
  return { tag: der[at]!, body: der.subarray(from, from + length), end: from + length }
}

function oidText(body: Buffer): string {
  const arcs: number[] = []
  let value = 0
  for (const byte of body) {
    value = value * 128 + (byte & 0x7f)
    if (byte & 0x80) continue
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(value / 40))
      arcs.push(first, value - 40 * first)
    } else arcs.push(value)
    value = 0
  }
  return arcs.join('.')
}

/** Parts of an RFC 2253 name that have one attribute. */
function attributes(name: string, attribute: string): string[] {
  const out: string[] = []
  for (const part of name.match(/(?:\\.|[^,+\\])+/g) ?? []) {
    const [key = '', value = ''] = part.split(/=(.*)/s)
    if (key.trim() === attribute) out.push(value.replace(/\\(.)/g, '$1'))
  }
  return out
}

const PARSED_NAME = sharedClass<string>('ParsedX509NameWrapper', {
  commonName: say((name) => attributes(name, 'CN')[0] ?? ''),
  organizationName: list((name) => attributes(name, 'O')),
})

/** What TLS says of a connection (source/extensions/filters/common/lua/wrappers.cc SslConnectionWrapper). */
const SSL = sharedClass<TlsInfo>('SslConnectionWrapper', {
  peerCertificatePresented: truth((tls) => tls.peer !== undefined),
  peerCertificateValidated: truth((tls) => tls.peerValidated === true),
  uriSanPeerCertificate: list((tls) => tls.peer?.uriSans ?? []),
  uriSanLocalCertificate: list((tls) => tls.local?.uriSans ?? []),
  dnsSansPeerCertificate: list((tls) => tls.peer?.dnsSans ?? []),
  dnsSansLocalCertificate: list((tls) => tls.local?.dnsSans ?? []),
  oidsPeerCertificate: list((tls) => oidsOf(tls.peer)),
  oidsLocalCertificate: list((tls) => oidsOf(tls.local)),
  subjectPeerCertificate: say((tls) => tls.peer?.subject ?? ''),
  parsedSubjectPeerCertificate(tls, api, L) {
    if (tls.peer === undefined) api.lua.lua_pushnil(L)
    else api.object(L, PARSED_NAME, tls.peer.subject)
    return 1
  },
  subjectLocalCertificate: say((tls) => tls.local?.subject ?? ''),
  issuerPeerCertificate: say((tls) => tls.peer?.issuer ?? ''),
  serialNumberPeerCertificate: say((tls) => tls.peer?.serial ?? ''),
  sha256PeerCertificateDigest: say((tls) => tls.peer?.sha256 ?? ''),
  urlEncodedPemEncodedPeerCertificate: say((tls) => encodeURIComponent(tls.peer?.pem ?? '')),
  urlEncodedPemEncodedPeerCertificateChain: say((tls) => encodeURIComponent(tls.peer?.chainPem ?? '')),
  validFromPeerCertificate: number((tls) => seconds(tls.peer?.validFrom)),
  expirationPeerCertificate: number((tls) => seconds(tls.peer?.validTo)),
  ciphersuiteId: say((tls) => SUITES[tls.cipher] ?? '0xffff'),
  ciphersuiteString: say((tls) => tls.cipher),
  tlsVersion: say((tls) => tls.version),
  sessionId: say((tls) => tls.sessionId),
})

function pushSsl(api: LuaApi, L: LuaState, tls: TlsInfo | undefined): number {
  if (tls === undefined) api.lua.lua_pushnil(L)
  else api.object(L, SSL, tls)
  return 1
}

/** The connection of an exchange. */
export const CONNECTION = sharedClass<FilterSlot>('ConnectionWrapper', {
  ssl: (slot, api, L) => pushSsl(api, L, slot.connection.tls),
})

/** Facts of an exchange that are one value. */
export const STREAM_FACTS = {
  protocol: say<FilterSlot>((slot) => slot.info.protocol ?? ''),
  routeName: say<FilterSlot>((slot) => slot.route()?.name ?? ''),
  virtualClusterName: say<FilterSlot>((slot) => slot.info.virtualClusterName ?? ''),
  requestedServerName: say<FilterSlot>((slot) => slot.connection.sni),
  downstreamLocalAddress: say<FilterSlot>((slot) => formatAddress(slot.connection.local)),
  downstreamDirectLocalAddress: say<FilterSlot>((slot) =>
    formatAddress(slot.connection.directLocal ?? slot.connection.local),
  ),
  downstreamDirectRemoteAddress: say<FilterSlot>((slot) => formatAddress(slot.connection.directRemote)),
  downstreamRemoteAddress: say<FilterSlot>((slot) => {
    const { remote } = slot.connection
    const ip = slot.info.trustedClientIp || remote.ip
    return ip === remote.ip ? formatAddress(remote) : formatAddress({ ip, port: 0 })
  }),
  downstreamSslConnection: (slot: FilterSlot, api: LuaApi, L: LuaState) => pushSsl(api, L, slot.connection.tls),
  drainConnectionUponCompletion(slot: FilterSlot): number {
    slot.exchange.drainConnection()
    return 0
  },
}

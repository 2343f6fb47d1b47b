import crypto from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import https from 'node:https'
import type net from 'node:net'

/** A key pair that signs tokens. */
export interface Signer {
  /** The public half. */
  readonly jwk: Readonly<Record<string, unknown>>
  /** A token with these claims, for an hour; `exp: undefined` leaves the end out. */
  sign(claims: Record<string, unknown>): string
}

/** Makes a key pair for ES256. */
export function makeSigner(kid: string): Signer {
  const { publicKey, privateKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return {
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' },
    sign(claims) {
      const exp = Math.floor(Date.now() / 1000) + 3600
      const text = `${part({ alg: 'ES256', kid, typ: 'JWT' })}.${part({ exp, ...claims })}`
      const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const
      return `${text}.${crypto.sign('sha256', Buffer.from(text), key).toString('base64url')}`
    },
  }
}

/** A set of the public keys of signers. */
export const jwksOf = (...signers: readonly Signer[]): string => JSON.stringify({ keys: signers.map(({ jwk }) => jwk) })

/** A server of keys, as identity providers have one. */
export interface KeyServer {
  /** `http://127.0.0.1:…`, which is the issuer too. */
  readonly url: string
  readonly port: number
  /** Paths that were asked for, in order. */
  readonly requests: string[]
  /** What `/jwks` answers. */
  jwks: string
  /** What everything answers instead of 200. */
  status: number
  /** Whether requests are left without an answer. */
  silent: boolean
  /** Stops listening, and listens again at the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

/** Starts one that answers `/jwks`, `/.well-known/openid-configuration` and `/redirect`; `tls` makes it speak TLS. */
export async function startKeyServer(jwks: string, tls?: { key: string; cert: string }): Promise<KeyServer> {
  let server: http.Server
  const answer: http.RequestListener = (request, response) => {
    known.requests.push(request.url ?? '')
    if (known.silent) return
    if (known.status !== 200) {
      response.writeHead(known.status).end('no keys today')
      return
    }
    if (request.url === '/redirect') response.writeHead(302, { location: '/jwks' }).end()
    else if (request.url === '/.well-known/openid-configuration')
      response.end(JSON.stringify({ issuer: known.url, jwks_uri: `${known.url}/jwks` }))
    else if (request.url === '/jwks') response.end(known.jwks)
    else response.writeHead(404).end()
  }
  const listen = async (port: number): Promise<number> => {
    server = tls ? https.createServer(tls, answer) : http.createServer(answer)
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as net.AddressInfo).port
  }
  const port = await listen(0)
  const known: KeyServer = {
    url: `${tls ? 'https' : 'http'}://${tls ? 'localhost' : '127.0.0.1'}:${port}`,
    port,
    requests: [],
    jwks,
    status: 200,
    silent: false,
    async stop() {
      if (!server.listening) return
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
    async start() {
      await listen(port)
    },
  }
  return known
}

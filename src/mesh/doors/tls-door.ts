import { generateKeyPairSync } from 'node:crypto'
import net from 'node:net'
import type { Ca } from '../../ca/ca.ts'
import { authenticator } from '../../pilot/ca-service/authenticate.ts'
import { caHandlers } from '../../pilot/ca-service/service.ts'
import type { Runtime, Timer } from '../../runtime.ts'
import { listenGrpcTls, type ServerTls } from '../../xds/grpc-listen.ts'
import { adsHandlers, type GrpcListener } from '../../xds/grpc-server.ts'
import type { ControlPlane } from '../control-plane.ts'

/** What the control plane is called by those who connect to it. */
const DNS_NAMES = [
  'istiod.istio-system.svc',
  'istiod.istio-system',
  'istiod.istio-system.svc.cluster.local',
  'localhost',
]
/** A server certificate that could not be made anew is tried again after this time, ms. */
const RETRY_MS = 60_000

/** What the TLS door needs besides the control plane. */
export interface TlsDoorOptions {
  readonly runtime: Runtime
  /** istiod's switches: TOKEN_AUDIENCES. */
  readonly env: Readonly<Record<string, string | undefined>>
  readonly log?: ((line: string) => void) | undefined
}

/**
 * istiod's port 15012: ADS and IstioCertificateService over TLS, for those who prove who they are by a certificate of the
 * mesh or the token of a service account. The server's certificate is renewed at half of its life, and when the CA changes.
 * Rejects when the address cannot be bound.
 */
export async function openTlsDoor(
  { ads, ca, pilot, accounts }: ControlPlane,
  at: { host: string; port: number },
  { runtime, env, log }: TlsDoorOptions,
): Promise<GrpcListener> {
  const authenticate = authenticator({
    accounts,
    runtime,
    trustDomain: () => pilot.context.mesh.trustDomain,
    audiences: (env.TOKEN_AUDIENCES || 'istio-ca').split(','),
    log,
  })
  const own = net.isIPv4(at.host) && at.host !== '0.0.0.0' ? [at.host] : []
  const certificate = new ServerCertificate(ca, runtime, ['127.0.0.1', ...own.filter((ip) => ip !== '127.0.0.1')])
  const services = [adsHandlers(ads, authenticate), caHandlers({ ca, authenticate, log })]
  const listener = await listenGrpcTls(at, services, certificate.make())
  certificate.keep((material) => listener.update(material), log)
  return {
    ...listener,
    close() {
      certificate.close()
      return listener.close()
    },
  }
}

/** The certificate of the control plane itself. */
class ServerCertificate {
  readonly #ca: Ca
  readonly #runtime: Runtime
  readonly #ips: readonly string[]
  #stops: (() => void)[] = []
  #renewal: Timer | undefined
  #renewAt = 0

  constructor(ca: Ca, runtime: Runtime, ips: readonly string[]) {
    this.#ca = ca
    this.#runtime = runtime
    this.#ips = ips
  }

  /** A new key with its certificate, and the roots that clients are judged by. */
  make(): ServerTls {
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const now = this.#runtime.wallNow()
    const { certChainPem, notAfter } = this.#ca.signServer(publicKey, { dnsNames: DNS_NAMES, ips: this.#ips })
    this.#renewAt = now + (notAfter - now) / 2
    return {
      cert: certChainPem,
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      ca: this.#ca.rootPem,
    }
  }

  /** Hands over each new one. */
  keep(use: (material: ServerTls) => void, log: ((line: string) => void) | undefined): void {
    const renew = () => {
      try {
        use(this.make())
      } catch (error) {
        log?.(`the control plane's own certificate cannot be renewed: ${(error as Error).message}`)
        this.#renewAt = this.#runtime.wallNow() + RETRY_MS
      }
      schedule()
    }
    const schedule = () => {
      this.#renewal?.cancel()
      this.#renewal = this.#runtime.after(Math.max(1000, this.#renewAt - this.#runtime.wallNow()), renew)
    }
    this.#stops = [this.#ca.onRootChange(renew), this.#ca.onIdentityChange(renew)]
    schedule()
  }

  close(): void {
    this.#renewal?.cancel()
    for (const stop of this.#stops) stop()
  }
}

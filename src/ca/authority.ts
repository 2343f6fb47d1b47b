import { createHash } from 'node:crypto'
import type { ApiObject } from '../api/objects.ts'
import type { Runtime, Timer } from '../runtime.ts'
import type { Snapshot, Store } from '../store/store.ts'
import { watchPaths } from '../store/watch.ts'
import { type CaMaterial, verifiedBundle } from './bundle.ts'
import { Ca, CaConfigError } from './ca.ts'
import { rotateRoots } from './root-rotator.ts'
import { type CaSettings, caSettings } from './settings.ts'
import { type CaFiles, filesIn, materialOfFiles, materialOfSecret } from './sources.ts'

/** A CA that an operator names: by its files, or the folder that holds them in Istio's layout of `cacerts`. */
export type GivenCa = CaFiles | { readonly dir: string }

/** Where a CA may come from, and who is told of it. */
export interface AuthorityOptions {
  readonly store: Store
  readonly runtime: Runtime
  readonly given?: GivenCa | undefined
  /** Keeps a root that is made. */
  readonly dataDir?: string | undefined
  readonly trustDomain: string
  /** Where Istio's Secrets are looked for. */
  readonly rootNamespace: string
  /** istiod's and the agent's switches. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Follow changes of the given files. Default true. */
  readonly watch?: boolean
  readonly warn: (line: string) => void
  readonly log: (line: string) => void
}

/** A certificate authority that follows what it was made from. */
export interface Authority {
  readonly ca: Ca
  close(): void
}

/** Files are written one after the other: they are read when nothing was written for this time (istiod's, too). */
const SETTLE_MS = 100

/**
 * Opens the CA of a mesh. In this order: the one that options name, or ROOT_CA_DIR; the Secrets `cacerts` and
 * `istio-ca-secret` of the root namespace; the root that is kept; a root that is made (istiod's
 * pilot/pkg/bootstrap/istio_ca.go, with files for mounts). Throws CaConfigError when it is there but cannot be used.
 */
export function openAuthority(options: AuthorityOptions): Authority {
  const { store, runtime, env, dataDir, trustDomain, warn, log } = options
  const settings = caSettings(env)
  const given = options.given ?? (env.ROOT_CA_DIR ? { dir: env.ROOT_CA_DIR } : undefined)
  const secret = given ? undefined : secretOf(store.snapshot, options.rootNamespace, settings)
  const material = given ? materialOfFiles(filesOf(given), warn) : secret && materialOfSecret(secret.object)
  const bundle = material && verifiedBundle(material, runtime.wallNow(), warn)
  const generated = secret?.generated === true
  const ca = new Ca({ runtime, bundle, generated, dataDir, trustDomain, settings, warn, log })
  const stops: (() => void)[] = [() => ca.close()]
  if (ca.selfMade) stops.push(rotateRoots({ ca, runtime, dataDir: bundle ? undefined : dataDir, log }))
  const follower = new Follower(ca, material, options)
  if (given && options.watch !== false) stops.push(follower.files(given))
  if (!given) stops.push(follower.secrets(settings, secret?.object))
  return {
    ca,
    close() {
      for (const stop of stops) stop()
    },
  }
}

/** Takes over what changes; what cannot be used is told, and the CA stays as it is. */
class Follower {
  readonly #ca: Ca
  readonly #options: AuthorityOptions
  /** Of what was read last: files are looked at oftener than they change. */
  #digest: string

  constructor(ca: Ca, first: CaMaterial | undefined, options: AuthorityOptions) {
    this.#ca = ca
    this.#options = options
    this.#digest = first ? digestOf(first) : ''
  }

  files(given: GivenCa): () => void {
    const { runtime } = this.#options
    let timer: Timer | undefined
    const look = () => {
      timer?.cancel()
      timer = runtime.after(SETTLE_MS, () => this.#take((warn) => materialOfFiles(filesOf(given), warn)))
    }
    const paths =
      'dir' in given
        ? [given.dir]
        : [given.cert, given.key, given.root, ...(given.chain ?? []), given.crl].flatMap((file) => file ?? [])
    const watching = watchPaths(paths, () => true, look)
    // What was written until now, nobody has told of.
    watching.then(look, (error: Error) => this.#options.warn(`changes of the CA are not followed: ${error.message}`))
    return () => {
      timer?.cancel()
      watching.then((watch) => watch.close()).catch(() => {})
    }
  }

  secrets(settings: CaSettings, first: ApiObject | undefined): () => void {
    let known = first
    return this.#options.store.subscribe(() => {
      const now = secretOf(this.#options.store.snapshot, this.#options.rootNamespace, settings)?.object
      if (!now || now === known) return
      known = now
      this.#take(() => materialOfSecret(now))
    })
  }

  #take(read: (warn: (line: string) => void) => CaMaterial): void {
    const { runtime, warn } = this.#options
    const warnings: string[] = []
    try {
      const material = read((line) => warnings.push(line))
      const digest = digestOf(material)
      if (digest === this.#digest) return
      this.#digest = digest
      const bundle = verifiedBundle(material, runtime.wallNow(), (line) => warnings.push(line))
      for (const line of warnings) warn(line)
      this.#ca.adopt(bundle).catch((error: Error) => warn(`CA: ${error.message}`))
    } catch (error) {
      if (!(error instanceof CaConfigError)) throw error
      const line = `${error.message}; the CA stays as it was`
      if (line !== this.#digest) warn(line)
      this.#digest = line
    }
  }
}

/** Tells one material from another, without keeping its key. */
function digestOf({ cert, key, chain, root, crl }: CaMaterial): string {
  const hash = createHash('sha256')
  for (const part of [cert, key, chain, root, crl]) hash.update(`${part?.name}\0${part?.pem}\0`)
  return hash.digest('hex')
}

function filesOf(given: GivenCa): CaFiles {
  return 'dir' in given ? filesIn(given.dir) : given
}

type SecretObject = ApiObject & { kind: 'Secret' }

/**
 * The Secret that holds the CA: one that was plugged in goes before one that istiod made; and of those
 * `istio-ca-secret` before `cacerts`, which istiod uses for it with USE_CACERTS_FOR_SELF_SIGNED_CA.
 */
function secretOf(
  snapshot: Snapshot,
  namespace: string,
  settings: CaSettings,
): { object: SecretObject; generated: boolean } | undefined {
  const find = (name: string) => snapshot.get('Secret', namespace, name)
  const cacerts = find('cacerts')
  const made = cacerts && ('istio-generated' in (cacerts.data ?? {}) || 'istio-generated' in (cacerts.stringData ?? {}))
  if (cacerts && !(made && settings.useCacertsForSelfSigned)) return { object: cacerts, generated: false }
  const object = find('istio-ca-secret') ?? cacerts
  return object && { object, generated: true }
}

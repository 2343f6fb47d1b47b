import { createPublicKey } from 'node:crypto'
import type { Runtime, Timer } from '../runtime.ts'
import type { Ca } from './ca.ts'
import { keep, makeRoot } from './self-signed.ts'

/** What a rotator is made of. */
export interface RootRotatorOptions {
  readonly ca: Ca
  readonly runtime: Runtime
  /** Where the root is kept. */
  readonly dataDir?: string | undefined
  readonly log: (line: string) => void
}

/**
 * Renews a root that signs itself when the last part of its life begins: looks every
 * CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL, the first time after a random part of one more. The new root has the key
 * and the organisation of the old one. After security/pkg/pki/ca/selfsignedcarootcertrotator.go, which drops the old
 * root at once; here both are trusted for a while, as with any change of CA. Returns the way to stop.
 */
export function rotateRoots(options: RootRotatorOptions): () => void {
  const { ca, runtime } = options
  const { rootCheckInterval: interval, rootJitter } = ca.settings
  if (interval <= 0) return () => {}
  // A CA that took its place is for those to renew who gave it.
  const { key } = ca.bundle.signer
  let rotating = false
  let timer: Timer
  const look = () => {
    timer = runtime.after(interval, look)
    if (rotating || !ca.bundle.signer.key.equals(key) || !isDue(ca, runtime.wallNow())) return
    rotating = true
    renew(options).finally(() => {
      rotating = false
    })
  }
  // Whole seconds, as there.
  const backOff = rootJitter ? Math.floor((runtime.fork('root-rotator').random() * interval) / 1000) * 1000 : 0
  timer = runtime.after(backOff + interval, look)
  return () => timer.cancel()
}

function isDue(ca: Ca, now: number): boolean {
  const { notBefore, notAfter } = ca.bundle
  return notAfter - now < (notAfter - notBefore) * (ca.settings.rootGracePercentile / 100)
}

async function renew({ ca, runtime, dataDir, log }: RootRotatorOptions): Promise<void> {
  const { signer, subject } = ca.bundle
  const organization = /(?:^|, )O=([^,]*)/.exec(subject)?.[1] || ca.trustDomain
  const pair = { privateKey: signer.key, publicKey: createPublicKey(signer.key) }
  const made = makeRoot(runtime, ca.settings, organization, pair)
  try {
    if (dataDir) keep(dataDir, made)
  } catch (error) {
    log(`CA: the root is due for renewal, but ${(error as Error).message}`)
    return
  }
  log('CA: the root is about to expire, and was renewed')
  await ca.adopt(made.bundle)
}

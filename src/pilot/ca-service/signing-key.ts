import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

/** The file of the key in a data folder; Kubernetes calls it sa.key. */
const KEY_FILE = 'sa-key.pem'
/** By curve: the JWS algorithm and its hash. */
const CURVES: Record<string, readonly [alg: string, hash: string]> = {
  prime256v1: ['ES256', 'sha256'],
  secp384r1: ['ES384', 'sha384'],
}

/** The key that tokens of service accounts are signed with. The private half never leaves it. */
export class SigningKey {
  /** JWS algorithm: ES256 for the keys made here, ES384 and RS256 for such as are given. */
  readonly alg: string
  /** As Kubernetes forms it: the SHA-256 of the public key. */
  readonly kid: string
  readonly #private: KeyObject
  readonly #public: KeyObject
  readonly #hash: string

  private constructor(key: KeyObject) {
    this.#private = key
    this.#public = createPublicKey(key)
    const [alg, hash] = key.asymmetricKeyType === 'rsa' ? ['RS256', 'sha256'] : (CURVES[curveOf(key)] ?? [])
    if (!alg || !hash) throw new Error(`keys of the kind ${curveOf(key) || key.asymmetricKeyType} cannot sign tokens`)
    this.alg = alg
    this.#hash = hash
    const spki = this.#public.export({ type: 'spki', format: 'der' })
    this.kid = createHash('sha256').update(spki).digest('base64url')
  }

  /** A key of this process alone. */
  static make(): SigningKey {
    return new SigningKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
  }

  /**
   * The key that is kept in a folder, in `sa-key.pem`; made there (mode 0600) when there is none and `make` says so. Throws
   * when it cannot be read, is open to others, or is of no use.
   */
  static kept(dir: string, make: boolean): SigningKey {
    const file = path.join(dir, KEY_FILE)
    if (!fs.existsSync(file)) {
      if (!make) throw new Error(`there is no ${file}: a control plane with --data-dir ${dir} makes it at its start`)
      fs.mkdirSync(dir, { recursive: true, mode: 0o700 })
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      try {
        // 'wx': of two that start at once, one makes it, and both use it.
        fs.writeFileSync(file, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600, flag: 'wx' })
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
    if (process.platform !== 'win32' && (fs.statSync(file).mode & 0o077) !== 0)
      throw new Error(`${file} is open to others: chmod 600 ${file}`)
    let key: KeyObject
    try {
      key = createPrivateKey(fs.readFileSync(file))
    } catch {
      // Without the cause, whose words might have a part of the key in them.
      throw new Error(`${file} holds no private key in PEM`)
    }
    return new SigningKey(key)
  }

  /** A JWS signature. */
  sign(data: string): Buffer {
    return sign(this.#hash, Buffer.from(data), { key: this.#private, dsaEncoding: 'ieee-p1363' })
  }

  verify(data: string, signature: Buffer): boolean {
    return verify(this.#hash, Buffer.from(data), { key: this.#public, dsaEncoding: 'ieee-p1363' }, signature)
  }
}

function curveOf(key: KeyObject): string {
  return key.asymmetricKeyDetails?.namedCurve ?? ''
}

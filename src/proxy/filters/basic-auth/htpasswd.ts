import { createHash } from 'node:crypto'
import { ConfigError } from '../../context.ts'

/** base64 of a SHA-1. */
const HASH_LENGTH = 28

/** Users and the hashes of their passwords, as `htpasswd -s` writes them (source/extensions/filters/http/basic_auth/config.cc). */
export class Htpasswd {
  private readonly hashes = new Map<string, string>()

  /** `text`: bytes as latin1. Throws ConfigError, with Envoy's words. */
  constructor(text: string) {
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue
      const colon = line.indexOf(':')
      if (colon < 0) throw new ConfigError(['basic auth: invalid htpasswd format, username:password is expected'])
      const name = line.slice(0, colon)
      const password = line.slice(colon + 1)
      if (name === '' || password === '') throw new ConfigError(['basic auth: empty user name or password'])
      if (this.hashes.has(name)) throw new ConfigError(['basic auth: duplicate users'])
      if (!password.startsWith('{SHA}'))
        throw new ConfigError(['basic auth: unsupported htpasswd format: please use {SHA}'])
      const hash = password.slice('{SHA}'.length)
      if (hash.length !== HASH_LENGTH)
        throw new ConfigError(['basic auth: invalid htpasswd format, invalid SHA hash length'])
      this.hashes.set(name, hash)
    }
  }

  /** Whether the user has that password; both latin1. */
  accepts(name: string, password: string): boolean {
    const hash = this.hashes.get(name)
    return hash !== undefined && createHash('sha1').update(password, 'latin1').digest('base64') === hash
  }
}

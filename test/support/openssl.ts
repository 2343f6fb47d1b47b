import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** A CA in files, made by the openssl program. */
export interface OpensslCa {
  readonly cert: string
  readonly key: string
  readonly pem: string
  readonly subject: string
}

/** What is unusual about a certificate. */
export interface CaWish {
  readonly issuer?: OpensslCa
  readonly rsa?: boolean
  /** A curve of openssl; default prime256v1. */
  readonly curve?: string
  readonly algorithm?: string
  /** Extensions, replacing those of a CA. */
  readonly extensions?: readonly string[]
  /** `YYYYMMDDHHMMSSZ`. */
  readonly notBefore?: string
  readonly notAfter?: string
}

const CA_EXTENSIONS = ['basicConstraints=critical,CA:true', 'keyUsage=critical,keyCertSign,cRLSign']

/** Runs the openssl program; throws with what it said when it fails. */
export function openssl(args: readonly string[]): string {
  try {
    return execFileSync('openssl', [...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`openssl ${args.join(' ')}: ${stdout}${stderr}`)
  }
}

/** A folder in which openssl makes certificates. */
export class OpensslFolder {
  readonly dir = fs.mkdtempSync(path.join(os.tmpdir(), 'dinghy-openssl-'))
  private count = 0

  at(name: string): string {
    return path.join(this.dir, name)
  }

  write(name: string, text: string, mode = 0o600): string {
    fs.mkdirSync(path.dirname(this.at(name)), { recursive: true })
    fs.writeFileSync(this.at(name), text, { mode })
    fs.chmodSync(this.at(name), mode)
    return this.at(name)
  }

  /** A CA that signs itself, or is signed by `issuer`. `subject` as `/O=…/CN=…`. */
  ca(subject: string, wish: CaWish = {}): OpensslCa {
    const n = ++this.count
    const [key, cert, csr] = [this.at(`${n}.key`), this.at(`${n}.crt`), this.at(`${n}.csr`)]
    const kind = wish.rsa
      ? ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']
      : wish.algorithm
        ? ['-algorithm', wish.algorithm]
        : ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${wish.curve ?? 'prime256v1'}`]
    openssl(['genpkey', ...kind, '-out', key])
    fs.chmodSync(key, 0o600)
    openssl(['req', '-new', '-key', key, '-subj', subject, '-out', csr])
    const extensions = [...(wish.extensions ?? CA_EXTENSIONS), 'subjectKeyIdentifier=hash']
    const config = this.write(
      `${n}.cnf`,
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${this.write(`${n}.db`, '')}\nnew_certs_dir=${this.dir}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\norganizationName=optional\norganizationalUnitName=optional\nlocalityName=optional\ncommonName=optional\n[e]\n${extensions.join('\n')}\n`,
    )
    const signer = wish.issuer
      ? ['-cert', wish.issuer.cert, '-keyfile', wish.issuer.key]
      : ['-selfsign', '-keyfile', key]
    const validity = [
      '-startdate',
      wish.notBefore ?? stamp(-3_600_000),
      '-enddate',
      wish.notAfter ?? stamp(86_400_000 * 400),
    ]
    openssl([
      'ca',
      '-batch',
      '-notext',
      '-config',
      config,
      '-extensions',
      'e',
      '-in',
      csr,
      '-out',
      cert,
      ...signer,
      ...validity,
    ])
    const pem = fs.readFileSync(cert, 'utf8')
    return { cert, key, pem, subject: new X509Certificate(pem).subject.replaceAll('\n', ', ') }
  }

  /** The list of certificates that a CA has revoked. */
  crl(of: OpensslCa, revoked: readonly OpensslCa[] = []): string {
    const n = ++this.count
    const config = this.write(
      `${n}.cnf`,
      `[ca]\ndefault_ca=d\n[d]\ndatabase=${this.write(`${n}.db`, '')}\ncrlnumber=${this.write(`${n}.no`, '01\n')}\ndefault_md=sha256\ndefault_crl_days=30\nunique_subject=no\n`,
    )
    const as = ['-config', config, '-cert', of.cert, '-keyfile', of.key]
    for (const { cert } of revoked) openssl(['ca', ...as, '-revoke', cert])
    openssl(['ca', ...as, '-gencrl', '-out', this.at(`${n}.crl`)])
    return fs.readFileSync(this.at(`${n}.crl`), 'utf8')
  }

  /** Lays a CA out as Istio's Secret `cacerts` is mounted. */
  cacerts(name: string, signer: OpensslCa, chain: readonly OpensslCa[], roots: readonly OpensslCa[]): string {
    this.write(`${name}/ca-key.pem`, fs.readFileSync(signer.key, 'utf8'))
    this.write(`${name}/cert-chain.pem`, chain.map(({ pem }) => pem).join(''))
    this.write(`${name}/root-cert.pem`, roots.map(({ pem }) => pem).join(''))
    this.write(`${name}/ca-cert.pem`, signer.pem)
    return this.at(name)
  }

  /** Has the program verify a chain as a server's and as a client's certificate. Throws with its words. */
  verify(chainPem: string, rootPem: string): void {
    const n = ++this.count
    const leaf = this.write(`${n}.leaf`, new X509Certificate(chainPem).toString())
    const files = ['-CAfile', this.write(`${n}.roots`, rootPem), '-untrusted', this.write(`${n}.chain`, chainPem)]
    for (const purpose of ['sslserver', 'sslclient'])
      openssl(['verify', '-x509_strict', '-purpose', purpose, ...files, leaf])
  }

  remove(): void {
    fs.rmSync(this.dir, { recursive: true, force: true })
  }
}

function stamp(offset: number): string {
  return `${new Date(Date.now() + offset).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`
}

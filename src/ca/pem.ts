/** Wraps DER in a PEM block. */
export function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\r?\n([\s\S]*?)-----END \1-----/g

/** The DER of the blocks with this label, in their order; whatever is around them is left out. */
export function blocksOf(text: string, label: string): Buffer[] {
  const out: Buffer[] = []
  for (const [, found, body = ''] of text.matchAll(BLOCK)) if (found === label) out.push(Buffer.from(body, 'base64'))
  return out
}

/** The certificates of a text, in its order, each as a PEM block of its own. */
export function certificatesOf(text: string): string[] {
  return blocksOf(text, 'CERTIFICATE').map((der) => pem('CERTIFICATE', der))
}

/** The label of the first private key of a text (`EC PRIVATE KEY`), and whether it is encrypted; undefined for none. */
export function privateKeyBlock(text: string): { label: string; encrypted: boolean } | undefined {
  for (const [, label = '', body = ''] of text.matchAll(BLOCK)) {
    if (label.endsWith('PRIVATE KEY'))
      return { label, encrypted: label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(body) }
  }
  return undefined
}

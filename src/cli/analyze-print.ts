import pc from 'picocolors'
import { friendlyName, type Level, type Message, messageText, placeOf } from '../pilot/analysis/message.ts'

const PAINT: Record<Level, (text: string) => string> = {
  Error: (text) => pc.bold(pc.red(text)),
  Warning: pc.yellow,
  Info: (text) => text,
}

/** Where Istio explains its codes. */
const DOCUMENTATION = 'https://istio.io/latest/docs/reference/config/analysis'

/** Prints messages to the standard output as istioctl does: `log` (one line each), `json` or `yaml`. */
export async function printMessages(messages: readonly Message[], format: string): Promise<void> {
  if (format === 'log') {
    for (const message of messages) process.stdout.write(`${messageText(message, (l) => PAINT[l](l))}\n`)
  } else if (format === 'json') process.stdout.write(`${JSON.stringify(messages.map(dataOf), null, '\t')}\n`)
  else {
    const { stringify } = await import('yaml')
    process.stdout.write(stringify(messages.map(dataOf), { lineWidth: 0, indentSeq: false }))
  }
}

/** The fields of istioctl, in the order of their names. */
function dataOf(message: Message): Record<string, string> {
  const { code, level, text, subject } = message
  const place = placeOf(message)
  return {
    code,
    ...(code.startsWith('IST') ? { documentationUrl: `${DOCUMENTATION}/${code.toLowerCase()}/` } : {}),
    level,
    message: text,
    ...(subject ? { origin: friendlyName(subject) } : {}),
    ...(place ? { reference: place } : {}),
  }
}

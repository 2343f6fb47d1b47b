import type { ObjectBase, Position } from '../../api/objects.ts'

/** How bad a message is (pkg/config/analysis/diag/level.go). */
export type Level = 'Error' | 'Warning' | 'Info'

/** Levels from bad to harmless. */
export const LEVELS: readonly Level[] = ['Error', 'Warning', 'Info']

/** A kind of message: `IST…` codes are Istio's (analysis/msg/messages.yaml), `DGY…` codes are this project's own. */
export interface MessageType<A extends readonly unknown[] = readonly never[]> {
  readonly code: string
  readonly level: Level
  readonly name: string
  /** Told by a running mesh too: what is surely not what was meant. */
  readonly certain: boolean
  readonly text: (...args: A) => string
}

/** What analysis found. */
export interface Message {
  readonly code: string
  readonly level: Level
  readonly name: string
  readonly certain: boolean
  readonly text: string
  /** Undefined: of a file that holds no object that could be read. */
  readonly subject: Subject | undefined
  /** Undefined for what has no place in a file. */
  readonly at: Position | undefined
}

/** The object that a message is about. */
export interface Subject {
  /** As it is written: `Gateway` for both kinds of that name. */
  readonly kind: string
  /** '' for kinds without one. */
  readonly namespace: string
  readonly name: string
}

/** An object to report on. */
export type Reported = Pick<ObjectBase<string>, 'kind' | 'metadata' | 'origin'>

/** `AuthorizationPolicy default/x`. */
export function friendlyName({ kind, namespace, name }: Subject): string {
  return namespace === '' ? `${kind} ${name}` : `${kind} ${namespace}/${name}`
}

/** `file:line:col`; undefined where there is no place. */
export function placeOf({ at }: Message): string | undefined {
  if (!at) return undefined
  return at.line > 0 ? `${at.file}:${at.line}:${at.col}` : at.file
}

/** A message in one line, as `istioctl analyze` writes it. */
export function messageText(message: Message, paint: (level: Level) => string = (level) => level): string {
  const origin = [message.subject && friendlyName(message.subject), placeOf(message)].filter(Boolean).join(' ')
  return `${paint(message.level)} [${message.code}]${origin ? ` (${origin})` : ''} ${message.text}`
}

/** Sorted as istioctl does, by level, code and origin; of equal ones the first (analysis/diag/messages.go). */
export function sortedMessages(messages: readonly Message[]): Message[] {
  const keyed = messages.map((message) => ({ message, key: sortKey(message) }))
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
  return keyed.filter(({ key }, index) => index === 0 || key !== keyed[index - 1]?.key).map(({ message }) => message)
}

function sortKey({ level, code, subject, at, text }: Message): string {
  const place = at ? `${at.file}\0${String(at.line).padStart(8, '0')}\0${String(at.col).padStart(5, '0')}` : ''
  return [LEVELS.indexOf(level), code, subject ? friendlyName(subject) : '', place, text].join('\0')
}

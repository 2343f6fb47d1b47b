import type { AdminView } from './view.ts'

/** What a handler answers. */
export interface AdminResponse {
  readonly status: number
  readonly body: string
  /** `text/plain; charset=UTF-8` unless given. */
  readonly contentType?: string
}

/** A query parameter, as the help text lists it. */
export interface AdminParam {
  readonly name: string
  readonly help: string
  /** The values it may take. */
  readonly oneOf?: readonly string[]
}

/** One path of the admin interface. */
export interface AdminHandler {
  readonly path: string
  readonly help: string
  /** Only POST may call it. */
  readonly mutates?: boolean
  readonly params?: readonly AdminParam[]
  run(view: AdminView, query: URLSearchParams): AdminResponse | Promise<AdminResponse>
}

/** The content type of JSON answers. */
export const JSON_TYPE = 'application/json'

/** 200 with text. */
export function text(body: string): AdminResponse {
  return { status: 200, body }
}

/** 200 with JSON, printed as Envoy prints it. */
export function json(value: unknown): AdminResponse {
  return { status: 200, body: `${JSON.stringify(value, undefined, 1)}\n`, contentType: JSON_TYPE }
}

/** What every command answers that has nothing to say. */
export const OK: AdminResponse = { status: 200, body: 'OK\n' }

import type { ErrorAnswer } from './protocol.gen.js'

/**
 * Everything this SDK rejects with. `code` is the server's stable code (the table of errors in
 * docs/protocol.md), or one of ours:
 *
 * - `network`: the server could not be reached, or did not answer in time;
 * - `closed`: the room, document or media was closed on this side meanwhile;
 * - `unsupported`: this browser cannot do it (no camera API, no WebRTC);
 * - `invalid-answer`: what came back is not Passerelle's protocol (a proxy's own page, say).
 */
export class PasserelleError extends Error {
  readonly code: string
  /** The field of the request that was wrong, where one was (`$.name`). */
  readonly field?: string
  /** With `outdated`: the number of what was set since. */
  readonly seq?: number

  constructor(code: string, message: string, options: { field?: string | undefined; seq?: number | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'PasserelleError'
    this.code = code
    if (options.field !== undefined) this.field = options.field
    if (options.seq !== undefined) this.seq = options.seq
  }
}

/** Whether `value` is the body of a refusal, over HTTP or as an acknowledgement. */
export function isErrorAnswer(value: unknown): value is ErrorAnswer {
  if (typeof value !== 'object' || value === null || !('error' in value)) return false
  const { error } = value
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
}

/** The refusal as an error. */
export function fromErrorAnswer({ error }: ErrorAnswer): PasserelleError {
  return new PasserelleError(error.code, error.message, { field: error.field ?? undefined, seq: error.seq ?? undefined })
}

/** What was thrown, as ours. */
export function asPasserelleError(thrown: unknown, code: string): PasserelleError {
  if (thrown instanceof PasserelleError) return thrown
  return new PasserelleError(code, thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}

import { PasserelleError } from './errors.js'
import type { Log } from './log.js'

/** Messages that may wait for an acknowledgement or a connection: past it something is wrong, and
 * the media session begins anew. */
const MAX_WAITING = 256
/** A message without an answer is sent this often over a connection that seems to live. */
const MAX_TRIES = 3

interface Entry {
  event: string
  payload: object
  tries: number
}

export interface OutboxOptions {
  request: (event: string, payload: object) => Promise<unknown>
  /** The server refused a message. */
  refused: (event: string, payload: object, error: PasserelleError) => void
  overflowed: () => void
  log: Log
}

/**
 * Signaling messages in their order, each until it is acknowledged: what was under way when the
 * connection was lost is sent again over the next one. (Twice is harmless: descriptions are numbered.)
 */
export class SignalOutbox {
  readonly #options: OutboxOptions
  #waiting: Entry[] = []
  #isOpen = true
  #isClosed = false

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  send(event: string, payload: object): void {
    if (this.#isClosed) return
    if (this.#waiting.length >= MAX_WAITING) {
      this.close()
      this.#options.overflowed()
      return
    }
    const entry = { event, payload, tries: 0 }
    this.#waiting.push(entry)
    if (this.#isOpen) void this.#transmit(entry)
  }

  /** There is no connection. */
  suspend(): void {
    this.#isOpen = false
  }

  /** The session goes on over a new connection. */
  resume(): void {
    if (this.#isClosed) return
    this.#isOpen = true
    for (const entry of [...this.#waiting]) {
      entry.tries = 0
      void this.#transmit(entry)
    }
  }

  /** For good: what waits is dropped. */
  close(): void {
    this.#isClosed = true
    this.#isOpen = false
    this.#waiting = []
  }

  async #transmit(entry: Entry): Promise<void> {
    entry.tries += 1
    try {
      await this.#options.request(entry.event, entry.payload)
      this.#forget(entry)
    } catch (error) {
      if (!(error instanceof PasserelleError) || error.code !== 'network') {
        if (this.#forget(entry)) this.#refuse(entry, error)
      } else if (this.#isOpen && entry.tries < MAX_TRIES && this.#waiting.includes(entry)) {
        await this.#transmit(entry)
      }
    }
  }

  #refuse({ event, payload }: Entry, error: unknown): void {
    const refusal = error instanceof PasserelleError ? error : new PasserelleError('internal', String(error), { cause: error })
    this.#options.log.warn('refused', event, refusal.code)
    this.#options.refused(event, payload, refusal)
  }

  #forget(entry: Entry): boolean {
    const at = this.#waiting.indexOf(entry)
    if (at >= 0) this.#waiting.splice(at, 1)
    return at >= 0
  }
}

/** Of a signaling message, for the log: which connection, which negotiation, which half of it. */
export function gistOf(payload: unknown): string[] {
  const { pc, negotiation, description } = payload as { pc?: string; negotiation?: number; description?: { type: string } }
  return [pc, negotiation?.toString(), description?.type].filter((each) => each !== undefined && each !== null)
}

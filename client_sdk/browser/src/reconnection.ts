/** When to try again. Pure: time and chance are arguments. */

const FIRST_DELAY_MS = 300
/** A class whose Wi-Fi is back is back within 5 s; a server that returns bears 30 devices at this pace. */
const LONGEST_DELAY_MS = 4_000

/**
 * How long to wait before attempt number `attempt` (from 0). Exponential, bounded, and spread over
 * its upper half by `spread` in [0, 1), so that a class does not come back in one instant.
 */
export function reconnectionDelayMs(attempt: number, spread: number): number {
  const longest = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 30))
  return longest * (0.5 + spread / 2)
}

/** A server that stops said when to come back: then, and spread over as long again. */
export function drainingDelayMs(reconnectAfterMs: number, spread: number): number {
  const bounded = Math.min(Math.max(reconnectAfterMs, 0), 60_000)
  return bounded * (1 + spread)
}

/** As long as the spread of a server that stops: a school's devices hear in one instant that their Wi-Fi is back. */
const RETURN_SPREAD_MS = 1_500

/** How long to wait after the network said that it is back. */
export function returnDelayMs(spread: number): number {
  return RETURN_SPREAD_MS * spread
}

/** Codes after which the same token will be refused again. */
const FINAL_REFUSALS = new Set(['token-invalid', 'token-expired', 'token-missing', 'not-found', 'removed', 'denied'])

export function isFinalRefusal(code: string): boolean {
  return FINAL_REFUSALS.has(code)
}

/** Nothing heard for this long: ask. The server itself says something every 8 s. */
const QUIET_MS = 5_000
/** No sign of life this long after asking: the connection is dead. Together with QUIET_MS more than
 * the server's own interval, so that a ping queued behind a long upload kills nothing. */
const ANSWER_MS = 5_000
/** The same after a hint that the network changed. */
export const HURRIED_ANSWER_MS = 2_500
/** The same while media, which go the same way, stay away too: two silent witnesses. Who is cut for nothing has lost
 * half a second, and nothing else. */
export const DOUBTED_ANSWER_MS = 700
/** Heard nothing for this long, found out at once: the machine slept. The server has closed by then. */
const SLEPT_MS = 30_000

/**
 * Whether a connection still lives. A socket whose network went away says nothing for minutes (in
 * Chromium even the "offline" event leaves it "connected"), so silence is asked about.
 *
 * Feed `receive` with every packet; call `handleTimer` at `nextTimer`; obey what it says.
 */
export class Liveness {
  #heardAt: number
  #answerUntil: number | null = null

  constructor(now: number) {
    this.#heardAt = now
  }

  receive(now: number): void {
    this.#heardAt = now
    this.#answerUntil = null
  }

  /** Something may have happened to the network: returns whether to probe now. */
  suspect(now: number, answerMs = HURRIED_ANSWER_MS): boolean {
    const until = now + answerMs
    if (this.#answerUntil !== null && this.#answerUntil <= until) return false
    this.#answerUntil = until
    return true
  }

  get nextTimer(): number {
    return this.#answerUntil ?? this.#heardAt + QUIET_MS
  }

  handleTimer(now: number): 'wait' | 'probe' | 'dead' {
    if (now - this.#heardAt >= SLEPT_MS) return 'dead'
    if (now < this.nextTimer) return 'wait'
    if (this.#answerUntil !== null) return 'dead'
    this.#answerUntil = now + ANSWER_MS
    return 'probe'
  }
}

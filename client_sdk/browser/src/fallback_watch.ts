import type { Connectivity } from './peer_connection.js'

/** How long a peer connection may be on its way before voice takes another: a relay by TLS stands in 2 s, and the
 * whole is to be heard within 8. */
const PATIENCE_MS = 4_000
/** Where it led nowhere a moment ago. */
const REMEMBERED_PATIENCE_MS = 500
/** Both ways at once after the better one stands again: what it brings must fill its own buffer first. */
const OVERLAP_MS = 500

/**
 * Whether one direction of a session goes by the signaling connection. Pure: `now` in milliseconds.
 *
 * Tell it of each change with `update`; call `handleTimer` at `nextTimer`.
 */
export class FallbackWatch {
  /** It led nowhere when it was tried last. */
  #ledNowhere: boolean
  #isOn = false
  #connectivity: Connectivity = 'new'
  #dueAt: number | null = null

  constructor(remembered: boolean) {
    this.#ledNowhere = remembered
  }

  get isOn(): boolean {
    return this.#isOn
  }

  /** Whether the better way led nowhere when it was tried last. */
  get ledNowhere(): boolean {
    return this.#ledNowhere
  }

  /** null: nothing is to change by itself. */
  get nextTimer(): number | null {
    return this.#dueAt
  }

  update(connectivity: Connectivity, now: number): void {
    const wasBroken = isBroken(this.#connectivity)
    this.#connectivity = connectivity
    if (connectivity === 'connected') this.#ledNowhere = false
    if (isBroken(connectivity) === this.#isOn) this.#dueAt = null
    else if (this.#dueAt === null || wasBroken !== isBroken(connectivity)) this.#dueAt = now + this.#patienceMs()
  }

  /** Whether `isOn` has changed. */
  handleTimer(now: number): boolean {
    if (this.#dueAt === null || now < this.#dueAt) return false
    this.#dueAt = null
    this.#isOn = isBroken(this.#connectivity)
    if (this.#isOn) this.#ledNowhere = true
    return true
  }

  #patienceMs(): number {
    if (this.#isOn) return OVERLAP_MS
    return this.#ledNowhere ? REMEMBERED_PATIENCE_MS : PATIENCE_MS
  }
}

/** `new`: there is nothing to carry. */
function isBroken(connectivity: Connectivity): boolean {
  return connectivity === 'connecting' || connectivity === 'interrupted'
}

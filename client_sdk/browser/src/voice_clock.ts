/** When what was heard is played: a bounded jitter buffer in arithmetic. Pure; all times are seconds, `now` is an
 * argument and of the clock that plays. */

const TICKS_PER_S = 48_000
/** What lies between arrival and sound: at least this, for packets hold 40 to 60 ms. */
const SHORTEST_DELAY_S = 0.06
const FIRST_DELAY_S = 0.12
/** More is heard as a delay in a dialogue: what comes later is left out. */
export const LONGEST_DELAY_S = 0.4
/** Nothing can be played sooner than in this time. */
const LEAD_S = 0.005
/** Without a late packet for this long the delay shrinks by a step, in the next silence. */
const CALM_S = 5
const STEP_S = 0.02

export class VoiceClock {
  #delayS = FIRST_DELAY_S
  /** Where the next frame of the same stretch of speech continues: its timestamp, and when it is played. */
  #next: { ticks: number; at: number } | null = null
  #lateAt = Number.NEGATIVE_INFINITY
  #isCatchingUp = false
  late = 0
  leftOut = 0

  get delayS(): number {
    return this.#delayS
  }

  /** When to play a frame of `ticks` of 48 kHz that begins at `timestamp` (modulo 2^32); null: leave it out. */
  schedule(timestamp: number, ticks: number, now: number): number | null {
    const continues = this.#next !== null && timestamp === this.#next.ticks
    let at = continues && this.#next !== null ? this.#next.at : this.#beginning(now)
    if (at < now + LEAD_S) {
      // The line was slower than the delay: from now on wait longer.
      this.late += 1
      this.#delayS = Math.min(LONGEST_DELAY_S, this.#delayS * 1.5)
      this.#lateAt = now
      at = now + this.#delayS
    }
    const next = (timestamp + ticks) % 2 ** 32
    if (at - now > LONGEST_DELAY_S) this.#isCatchingUp = true
    else if (at - now <= this.#delayS + STEP_S) this.#isCatchingUp = false
    if (this.#isCatchingUp) {
      this.leftOut += 1
      this.#next = { ticks: next, at }
      return null
    }
    this.#next = { ticks: next, at: at + ticks / TICKS_PER_S }
    return at
  }

  /** After a silence the delay may change without being heard. */
  #beginning(now: number): number {
    if (now - this.#lateAt > CALM_S && this.#delayS > SHORTEST_DELAY_S) {
      this.#delayS = Math.max(SHORTEST_DELAY_S, this.#delayS - STEP_S)
      this.#lateAt = now - CALM_S / 2
    }
    // Never over what is still being played.
    return Math.max(now + this.#delayS, this.#next?.at ?? 0)
  }
}

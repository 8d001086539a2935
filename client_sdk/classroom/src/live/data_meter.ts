/** What « mode campagne » spares: measured, never guessed. Pure; times in milliseconds are arguments. */

/** How long everything must have flowed before it can be said what it costs. */
const enoughMs = 5_000
/** Of a new measure in the rate of before: a page is not always full. */
const weight = 0.2

export class DataMeter {
  #usedBytes = 0
  #sparedBytes = 0
  /** Bytes a millisecond while everything flows; null: not known yet. */
  #fullRate: number | null = null
  #fullMs = 0
  #last: { bytes: number; at: number } | null = null

  /** `bytes`: transferred so far, over the present connections; `isSparing`: whether the mode was on since the last one. */
  sample(bytes: number, now: number, isSparing: boolean): void {
    const last = this.#last
    this.#last = { bytes, at: now }
    if (last === null || now <= last.at) return
    // Counts of new connections begin anew.
    const passed = bytes >= last.bytes ? bytes - last.bytes : bytes
    const elapsed = now - last.at
    this.#usedBytes += passed
    if (isSparing) this.#sparedBytes += Math.max(0, (this.#fullRate ?? 0) * elapsed - passed)
    else this.#learn(passed / elapsed, elapsed)
  }

  get usedBytes(): number {
    return this.#usedBytes
  }

  /** Against what passed before the mode was put on; null: nothing to compare with. */
  get sparedBytes(): number | null {
    return this.#fullRate === null || this.#fullMs < enoughMs ? null : this.#sparedBytes
  }

  #learn(rate: number, elapsed: number): void {
    this.#fullMs += elapsed
    this.#fullRate = this.#fullRate === null ? rate : this.#fullRate + (rate - this.#fullRate) * weight
  }
}

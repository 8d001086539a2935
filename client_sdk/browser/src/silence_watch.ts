/** Looks without any sign of life, while packets are due, after which a path is taken for dead: packets and reports come
 * every second, answers to the browser's own checks every 2.5 s. The browser takes some seconds more to say so. */
const DEAD_LOOKS = 10
/** Looks after which it is worth asking whether the network is there at all: a device that has another address now is
 * told so by nobody. More than the second in which each connection that lives has brought a report. */
const DOUBTFUL_LOOKS = 3
/** The same where every look of late has found something: what never pauses does not pause by chance. */
const DOUBTFUL_LOOKS_OF_BUSY = 2
const BUSY_LOOKS = 5

/**
 * Whether a path is silent that ought not to be. Pure.
 *
 * Feed `look`, at even times, with a count of all that has come so far; it says when to begin to doubt, and when the path
 * is dead.
 */
export class SilenceWatch {
  #signs = 0
  #silentLooks = 0
  #liveLooks = 0
  #doubtfulAfter = DOUBTFUL_LOOKS

  get isDoubtful(): boolean {
    return this.#silentLooks >= this.#doubtfulAfter
  }

  /** `isDue`: whether something ought to come. */
  look(signs: number, isDue: boolean): 'well' | 'silent' | 'doubtful' | 'dead' {
    // A count may sink: a pair of candidates that is gone takes its answers along. That is no sign of life.
    const isAlive = signs > this.#signs
    this.#signs = signs
    if (isAlive || !isDue) {
      this.#liveLooks = isAlive ? this.#liveLooks + 1 : 0
      this.#silentLooks = 0
      return 'well'
    }
    if (this.#silentLooks === 0) this.#doubtfulAfter = this.#liveLooks >= BUSY_LOOKS ? DOUBTFUL_LOOKS_OF_BUSY : DOUBTFUL_LOOKS
    this.#liveLooks = 0
    this.#silentLooks += 1
    if (this.#silentLooks >= DEAD_LOOKS) return 'dead'
    return this.#silentLooks === this.#doubtfulAfter ? 'doubtful' : 'silent'
  }

  /** The path is new, or another. */
  beginAnew(): void {
    this.#silentLooks = this.#liveLooks = 0
  }
}

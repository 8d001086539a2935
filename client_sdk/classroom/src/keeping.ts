/** What this browser keeps for the page: on the device, or in the tab. Where it keeps nothing (all cookies blocked, a
 * policy, a full disk) the page itself remembers, for as long as it is open. */

/** What the page uses of `Storage`. Neither ever throws. */
export interface Keeping {
  getItem(key: string): string | null
  setItem(key: string, value: string): void
}

const probe = 'passerelle.probe'

export class Kept implements Keeping {
  /** Whether what is kept outlives the page. */
  readonly lasts: boolean
  /** What the browser did not take; it is newer than what the browser has. */
  readonly #here = new Map<string, string>()
  readonly #storage: () => Storage | null

  /** `storage`: to be asked anew each time; where storage is forbidden its very name throws. */
  constructor(storage: () => Storage | null) {
    this.#storage = storage
    this.lasts = this.#put(probe, '')
    if (this.lasts) storage()?.removeItem(probe)
  }

  getItem(key: string): string | null {
    const here = this.#here.get(key)
    if (here !== undefined) return here
    try {
      return this.#storage()?.getItem(key) ?? null
    } catch {
      return null
    }
  }

  setItem(key: string, value: string): void {
    if (this.#put(key, value)) this.#here.delete(key)
    else this.#here.set(key, value)
  }

  #put(key: string, value: string): boolean {
    try {
      const storage = this.#storage()
      storage?.setItem(key, value)
      return storage !== null
    } catch {
      return false
    }
  }
}

/** For this browser, from day to day. */
export const onDevice = new Kept(() => globalThis.localStorage ?? null)
/** For this tab, over its reloads. */
export const inTab = new Kept(() => globalThis.sessionStorage ?? null)

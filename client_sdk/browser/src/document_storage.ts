/** A document kept in this browser (IndexedDB), so that what was written offline survives a reload. */

import { IndexeddbPersistence } from 'y-indexeddb'
import type * as Y from 'yjs'

/** Longest wait for what is kept here: a disk that hangs must not keep the document closed. */
const LOAD_MS = 2_000

let usable: Promise<boolean> | undefined

/** Whether databases can be opened here: private windows and policies forbid it, each in its way. */
function isUsable(): Promise<boolean> {
  usable ??= new Promise((resolve) => {
    try {
      const request = indexedDB.open('passerelle')
      request.onsuccess = () => {
        request.result.close()
        resolve(true)
      }
      request.onerror = () => resolve(false)
      request.onblocked = () => resolve(false)
      setTimeout(() => resolve(false), LOAD_MS)
    } catch {
      resolve(false) // no IndexedDB, or access to it is an error by policy
    }
  })
  return usable
}

export class DocumentStorage {
  readonly #name: string
  readonly #doc: Y.Doc
  #persistence: IndexeddbPersistence | null = null
  #closed = false

  /** `name`: of the database. Nothing happens before `load`. */
  constructor(name: string, doc: Y.Doc) {
    this.#name = name
    this.#doc = doc
  }

  /** Origin of the transaction that brings the kept content into the document. */
  isOrigin(origin: unknown): boolean {
    return origin !== null && origin === this.#persistence
  }

  /** Bring what is kept into the document, and keep what comes. Resolves with whether there is
   * storage; late or never loading is no error, the server has the document too. */
  async load(): Promise<boolean> {
    if (!(await isUsable()) || this.#closed) return false
    const persistence = new IndexeddbPersistence(this.#name, this.#doc)
    this.#persistence = persistence
    return Promise.race([
      persistence.whenSynced.then(() => true),
      new Promise<boolean>((resolve) => setTimeout(() => resolve(false), LOAD_MS)),
    ])
  }

  /** Stop; what is kept stays. */
  close(): void {
    this.#closed = true
    void this.#persistence?.destroy()
  }

  /** Stop, and forget all that is kept. */
  async forget(): Promise<void> {
    this.#closed = true
    await this.#persistence?.clearData()
  }
}

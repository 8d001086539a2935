/** A document kept in this browser (IndexedDB), so that what was written offline survives a reload.
 *
 * The layout is y-indexeddb's (a database for each document, a store `updates` of Yjs updates under
 * rising keys), its way with a page that goes away is not: every update's transaction is committed
 * at once, where a transaction left to commit by itself is undone when the page goes before it
 * learnt that the write went well, and the last letters written with it. */

import * as Y from 'yjs'
import type { Log } from './log.js'

/** Longest wait for what is kept here: a disk that hangs must not keep the document closed. What
 * comes later is taken in all the same. */
const LOAD_MS = 2_000
const UPDATES = 'updates'
/** Of y-indexeddb's layout; nothing of ours is there. */
const CUSTOM = 'custom'
/** Past that many kept updates they become one, after a rest of `COMPACT_MS` without new ones. */
const MANY_UPDATES = 500
const COMPACT_MS = 1_000

/** Whether there are databases to ask; where a policy forbids them their very name may throw. */
export function hasDatabases(): boolean {
  try {
    return typeof indexedDB !== 'undefined'
  } catch {
    return false
  }
}

export class DocumentStorage {
  readonly #name: string
  readonly #doc: Y.Doc
  readonly #log: Log
  #db: IDBDatabase | null = null
  #count = 0
  /** The greatest key whose update is in the document: other tabs of this browser write here too. */
  #lastKey = 0
  #compactTimer: ReturnType<typeof setTimeout> | undefined
  #closed = false

  /** `name`: of the database. Nothing happens before `load`. */
  constructor(name: string, doc: Y.Doc, log: Log) {
    this.#name = name
    this.#doc = doc
    this.#log = log
  }

  /** Origin of the transaction that brings the kept content into the document. */
  isOrigin(origin: unknown): boolean {
    return origin === this
  }

  /** Whether what comes is kept; a browser may forbid it, or stop at any time. */
  get isKeeping(): boolean {
    return this.#db !== null
  }

  /** Bring what is kept into the document, and keep what comes. Resolves with whether there is
   * storage by now; late or never loading is no error, the server has the document too. */
  load(): Promise<boolean> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), LOAD_MS)
    })
    return Promise.race([this.#load(), late]).finally(() => clearTimeout(timer))
  }

  async #load(): Promise<boolean> {
    try {
      const db = await opened(this.#name)
      if (this.#closed) {
        db.close()
        return false
      }
      db.onclose = () => this.#lost('closed by the browser')
      db.onversionchange = () => this.#startAgain() // another tab forgets what is kept, and waits for us
      this.#db = db
      // From here on nothing is missed: what is in the document now is kept below, in one update.
      this.#doc.on('update', this.#keep)
      await this.#takeIn(true)
      return !this.#closed
    } catch (error) {
      this.#lost(error) // private windows and policies forbid it, each in its way
      return false
    }
  }

  /** Stop; what is kept stays. */
  close(): void {
    this.#closed = true
    this.#release()
  }

  /** Stop, and forget all that is kept. */
  async forget(): Promise<void> {
    this.close()
    try {
      await finished(indexedDB.deleteDatabase(this.#name))
    } catch (error) {
      this.#log.warn('what this browser kept of a document is not deleted', String(error))
    }
  }

  readonly #keep = (update: Uint8Array, origin: unknown): void => {
    const db = this.#db
    if (db === null || this.isOrigin(origin)) return
    try {
      this.#write(db, update)
    } catch (error) {
      this.#lost(error) // the database is going away
      return
    }
    this.#count += 1
    if (this.#count < MANY_UPDATES) return
    clearTimeout(this.#compactTimer)
    this.#compactTimer = setTimeout(() => void this.#takeIn(false).catch((error: unknown) => this.#lost(error)), COMPACT_MS)
  }

  #write(db: IDBDatabase, update: Uint8Array): void {
    const transaction = db.transaction(UPDATES, 'readwrite')
    transaction.onabort = () => this.#lost(transaction.error ?? 'aborted')
    transaction.objectStore(UPDATES).add(update)
    transaction.commit()
  }

  /** What is kept and the document does not have goes into the document. `keepNow`: and what the
   * document has is kept, at the first time; later only when many updates are kept, as one. */
  async #takeIn(keepNow: boolean): Promise<void> {
    const db = this.#db
    if (db === null) return
    const transaction = db.transaction(UPDATES, 'readwrite')
    const store = transaction.objectStore(UPDATES)
    const unread = IDBKeyRange.lowerBound(this.#lastKey, true)
    const [keys, updates] = await Promise.all([finished(store.getAllKeys(unread)), finished(store.getAll(unread))])
    if (this.#closed) return
    const isEmpty = this.#doc.store.clients.size === 0
    const whatWasHere = keepNow && !isEmpty ? Y.encodeStateAsUpdate(this.#doc) : null
    this.#doc.transact(() => {
      for (const update of updates as Uint8Array[]) Y.applyUpdate(this.#doc, update, this)
    }, this)
    this.#lastKey = Math.max(this.#lastKey, Number(keys.at(-1) ?? 0))
    this.#count = await finished(store.count())
    const isMany = this.#count >= MANY_UPDATES
    if (isMany) {
      const key = await finished(store.add(Y.encodeStateAsUpdate(this.#doc)))
      store.delete(IDBKeyRange.upperBound(key, true))
      this.#lastKey = Number(key)
      this.#count = 1
    } else if (whatWasHere !== null) store.add(whatWasHere)
    transaction.commit()
  }

  #startAgain(): void {
    this.#release()
    this.#lastKey = 0
    void this.#load()
  }

  #release(): void {
    clearTimeout(this.#compactTimer)
    this.#doc.off('update', this.#keep)
    this.#db?.close() // waits for its transactions
    this.#db = null
  }

  /** Nothing more is kept here: the server has the document too. */
  #lost(error: unknown): void {
    if (this.#closed) return
    this.#log.warn('this browser keeps nothing of the document', String(error))
    this.#release()
  }
}

function opened(name: string): Promise<IDBDatabase> {
  const request = indexedDB.open(name) // throws where access to it is an error by policy
  request.onupgradeneeded = () => {
    request.result.createObjectStore(UPDATES, { autoIncrement: true })
    request.result.createObjectStore(CUSTOM)
  }
  return finished(request)
}

function finished<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

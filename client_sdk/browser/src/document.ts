import { Awareness, applyAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import * as Y from 'yjs'
import { AwarenessSender } from './awareness_sender.js'
import { DocumentSession, EditTooLong, type Received } from './document_session.js'
import { DocumentStorage } from './document_storage.js'
import { Emitter } from './emitter.js'
import { PasserelleError, asPasserelleError } from './errors.js'
import type { Log } from './log.js'
import { mergeUpdates } from './update_split.js'
import type { DocumentClosed, DocumentOpened } from './wire.js'

/**
 * - `loading`: neither the server's content nor what is kept here has arrived yet;
 * - `saved`: everything written here is in the server's store;
 * - `unsaved`: something is not, or not yet;
 * - `offline`: no connection; writing goes on, and is kept in this browser;
 * - `refused`: the server does not take this document from us (any more): see the event `refused`.
 */
export type SaveState = 'saved' | 'unsaved' | 'offline' | 'loading' | 'refused'

export interface DocumentEvents {
  state: (state: SaveState, unsavedCount: number) => void
  /** Whether one may write changed. */
  access: (canWrite: boolean) => void
  /** Everything that the server had has arrived, over a new connection. */
  synced: () => void
  /** The server refused a write, or the document; `code` as in docs/protocol.md. */
  refused: (code: number, reason: string) => void
}

/** What a document needs of its room. */
export interface DocumentLink {
  readonly log: Log
  /** Whether messages travel by long polling: each batch is a request. */
  readonly isPolling: boolean
  /** `paragraph`: with one empty paragraph, should nothing have been written in it. */
  open(document: string, paragraph: boolean): Promise<DocumentOpened>
  close(document: string): void
  send(document: string, message: Uint8Array): void
}

/** Over long polling, local edits of this long go together; over WebSocket, those of one moment. */
const POLLING_BATCH_MS = 20
const FIRST_REOPEN_MS = 500
const LONGEST_REOPEN_MS = 15_000

/** Reasons of `document_closed` after which the document may be opened again. */
const TEMPORARY = new Set(['resync', 'draining', 'limit', 'unavailable'])
/** Codes of a refused `document_open` that say no for good, or until one's rights change. */
const FORBIDDING = new Set(['permission-denied', 'not-admitted', 'not-found', 'invalid', 'removed'])
/** Denials of a single write, as the close code that means the same. */
const DENIAL_CODES: Record<string, number> = { 'read-only': 4403, 'client-id': 4403, malformed: 4400, 'too-large': 4413, waiting: 4529 }
const FORBIDDEN = 4403
const TOO_LARGE = 4413

/** One shared document: edit `doc` with any Yjs editor, show `awareness` as cursors. Comes from
 * `room.document(name)` and stays the same object through every reconnection. */
export class SharedDocument extends Emitter<DocumentEvents> {
  readonly name: string
  readonly doc = new Y.Doc()
  readonly awareness = new Awareness(this.doc)
  readonly #link: DocumentLink
  readonly #paragraph: boolean
  readonly #own: AwarenessSender
  /** Origin of transactions that come from the server. */
  readonly #remote = { remote: true }
  #storage: DocumentStorage | null
  #loaded: Promise<boolean>
  #session: DocumentSession | null = null
  #isConnected = false
  #wasOffline = false
  #everSynced = false
  #unsentEdits = 0
  #pending: Uint8Array[] = []
  #flushTimer: ReturnType<typeof setTimeout> | 'microtask' | undefined
  #reopenTimer: ReturnType<typeof setTimeout> | undefined
  #reopenMs = FIRST_REOPEN_MS
  /** Rises with each opening; what belongs to an older one is ignored. */
  #opening = 0
  #refusal: PasserelleError | null = null
  #canWrite = false
  #closed = false
  #state: SaveState = 'loading'
  #shownCount = 0

  /** @internal */
  constructor(name: string, link: DocumentLink, storageName: string | null, paragraph = false) {
    super()
    this.name = name
    this.#link = link
    this.#paragraph = paragraph
    this.#storage = storageName === null ? null : new DocumentStorage(storageName, this.doc, link.log)
    this.doc.on('update', (update: Uint8Array, origin: unknown) => this.#updated(update, origin))
    this.#own = new AwarenessSender(this.awareness, (message) => this.#session !== null && this.#sendAll([message]))
    this.#loaded = this.#storage?.load() ?? Promise.resolve(false)
    void this.#loaded.then(() => this.#settle())
  }

  get state(): SaveState {
    return this.#state
  }

  /** Edits and messages that are not known to be in the server's store. */
  get unsavedCount(): number {
    return this.#session === null ? this.#unsentEdits : this.#session.unsavedCount + this.#pending.length
  }

  get canWrite(): boolean {
    return this.#canWrite
  }

  /** Whether what is written here is in this browser too, and outlives the page. */
  get isKeptHere(): boolean {
    return this.#storage?.isKeeping ?? false
  }

  /** Whether, over the present connection, everything that the server had has arrived. */
  get synced(): boolean {
    return this.#session?.synced ?? false
  }

  /** Resolves when the server's content has arrived; rejects when the server refuses the document,
   * or it is closed here. */
  whenSynced(): Promise<void> {
    if (this.synced) return Promise.resolve()
    if (this.#refusal !== null) return Promise.reject(this.#refusal)
    if (this.#closed) return Promise.reject(closedError())
    return new Promise((resolve, reject) => {
      const stop = this.on('state', () => {
        if (this.synced) resolve()
        else if (this.#refusal !== null) reject(this.#refusal)
        else if (this.#closed) reject(closedError())
        else return
        stop()
      })
    })
  }

  /** Stop following the document. What is kept in this browser stays. */
  close(): void {
    if (this.#closed) return
    this.#flush()
    this.#stop()
    this.#storage?.close()
  }

  /** Close, and forget what is kept in this browser, unless it is all there is of some writing.
   * `waitMs`: how long what was just written may take to be saved. @internal */
  async forget(waitMs: number): Promise<void> {
    if (this.#closed) return
    this.#flush()
    if (waitMs > 0 && this.#state === 'unsaved') await this.#saved(waitMs)
    const isSafe = this.#state === 'saved'
    const storage = this.#storage
    this.#stop()
    if (isSafe) await storage?.forget()
    else storage?.close()
  }

  #saved(deadlineMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer)
        stop()
        resolve()
      }
      const timer = setTimeout(done, deadlineMs)
      const stop = this.on('state', (state) => state !== 'unsaved' && done())
    })
  }

  #stop(): void {
    this.awareness.setLocalState(null)
    this.#own.sendNow()
    this.#link.close(this.name)
    this.#closed = true
    this.#dropSession()
    this.doc.destroy()
    this.emit('state', this.#state, this.unsavedCount) // for whoever waits in whenSynced
  }

  /** This room keeps nothing anywhere: nor does this browser.
   * @internal */
  async keepNothing(): Promise<void> {
    const storage = this.#storage
    this.#storage = null
    await storage?.forget()
  }

  // --- the connection -------------------------------------------------------------------------

  /** The room can be asked. @internal */
  connectionOpened(): void {
    this.#isConnected = true
    this.#refusal = null
    this.#reopenMs = FIRST_REOPEN_MS
    void this.#open()
  }

  /** @internal */
  connectionLost(): void {
    this.#isConnected = false
    this.#wasOffline = true
    this.#dropSession()
    this.#settle()
  }

  /** One message of the server for this document. @internal */
  receive(message: Uint8Array): void {
    const session = this.#session
    if (session === null) return
    const wasSynced = session.synced
    try {
      this.#take(session.receive(message))
    } catch (error) {
      if (error instanceof EditTooLong) this.#refuseTooLong()
      else this.#link.log.warn('document message not understood', this.name, message.byteLength, String(error))
      return
    }
    if (!wasSynced && session.synced) {
      this.#everSynced = true
      this.#reopenMs = FIRST_REOPEN_MS
      this.#settle()
      this.emit('synced')
    } else this.#settle()
  }

  /** `document_closed`. @internal */
  closedByServer({ code, reason }: DocumentClosed): void {
    this.#dropSession()
    if (TEMPORARY.has(reason)) this.#reopenLater(reason === 'resync' ? 0 : this.#reopenMs)
    else this.#refuse(code, reason)
    this.#settle()
  }

  /** What one may do in the room changed. @internal */
  rightsChanged(canRead: boolean, canWrite: boolean): void {
    this.#setCanWrite(canRead && canWrite)
    if (canRead && this.#refusal?.code === 'permission-denied' && this.#isConnected) {
      this.#refusal = null
      void this.#open()
    }
  }

  async #open(): Promise<void> {
    const opening = ++this.#opening
    clearTimeout(this.#reopenTimer)
    const hasKept = await this.#loaded
    if (!this.#isCurrent(opening)) return
    // Before the question: the server's first messages may be here before its answer is looked at.
    const session = new DocumentSession(this.doc, this.#remote, this.#unsentEdits, hasKept && !this.#everSynced)
    this.#pending = []
    this.#session = session
    this.#settle()
    try {
      const opened = await this.#link.open(this.name, this.#paragraph)
      if (this.#session !== session) return
      this.#setCanWrite(opened.can_write)
      this.#sendAll(session.start())
      this.#own.renew()
    } catch (thrown) {
      if (this.#session === session) this.#openRefused(asPasserelleError(thrown, 'internal'))
    }
  }

  #openRefused(error: PasserelleError): void {
    this.#dropSession()
    this.#link.log.debug('document not opened', this.name, error.code)
    if (FORBIDDING.has(error.code)) this.#refuse(FORBIDDEN, error.code)
    else this.#reopenLater(this.#reopenMs)
    this.#settle()
  }

  #isCurrent(opening: number): boolean {
    return opening === this.#opening && this.#isConnected && !this.#closed
  }

  #reopenLater(delayMs: number): void {
    const opening = this.#opening
    clearTimeout(this.#reopenTimer)
    this.#reopenMs = Math.min(this.#reopenMs * 2, LONGEST_REOPEN_MS)
    this.#reopenTimer = setTimeout(() => this.#isCurrent(opening) && void this.#open(), delayMs * (0.5 + Math.random()))
  }

  /** Back to having no exchange; what was under way counts as unsaved again. */
  #dropSession(): void {
    this.#unsentEdits = this.unsavedCount
    this.#opening += 1
    clearTimeout(this.#reopenTimer)
    if (this.#flushTimer !== 'microtask') clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    this.#pending = []
    this.#session = null
    const others = [...this.awareness.getStates().keys()].filter((client) => client !== this.awareness.clientID)
    removeAwarenessStates(this.awareness, others, this.#remote)
    // Or else who comes back with the clock they had would be ignored.
    for (const client of others) this.awareness.meta.delete(client)
  }

  #refuse(code: number, reason: string): void {
    const error = code === FORBIDDEN ? 'permission-denied' : `document-${reason}`
    this.#refusal = new PasserelleError(error, `The server refuses the document: ${reason}.`)
    this.#setCanWrite(false)
    this.emit('refused', code, reason)
  }

  #refuseTooLong(): void {
    this.#dropSession()
    this.#link.close(this.name)
    this.#refuse(TOO_LARGE, 'too-large')
    this.#settle()
  }

  #setCanWrite(canWrite: boolean): void {
    if (canWrite === this.#canWrite) return
    this.#canWrite = canWrite
    this.emit('access', canWrite)
  }

  // --- messages -------------------------------------------------------------------------------

  #take(received: Received): void {
    this.#sendAll(received.toSend)
    if (received.awareness !== undefined) applyAwarenessUpdate(this.awareness, received.awareness, this.#remote)
    if (received.awarenessWanted) this.#own.sendNow()
    if (received.denied !== undefined) this.emit('refused', DENIAL_CODES[received.denied] ?? FORBIDDEN, received.denied)
  }

  #updated(update: Uint8Array, origin: unknown): void {
    if (origin === this.#remote) return
    if (this.#session === null) {
      if (!this.#storage?.isOrigin(origin)) this.#unsentEdits += 1
      this.#settle()
      return
    }
    this.#pending.push(update)
    if (this.#flushTimer === undefined) {
      if (this.#link.isPolling) this.#flushTimer = setTimeout(() => this.#flush(), POLLING_BATCH_MS)
      else {
        this.#flushTimer = 'microtask'
        queueMicrotask(() => this.#flush())
      }
    }
    this.#settle()
  }

  #flush(): void {
    if (this.#flushTimer !== 'microtask') clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    const updates = this.#pending
    if (updates.length === 0 || this.#session === null) return
    this.#pending = []
    try {
      this.#sendAll(this.#session.write(mergeUpdates(updates), updates.length))
    } catch (error) {
      if (!(error instanceof EditTooLong)) throw error
      this.#unsentEdits += updates.length
      this.#refuseTooLong()
    }
    this.#settle()
  }

  #sendAll(messages: Uint8Array[]): void {
    for (const message of messages) this.#link.send(this.name, message)
  }

  // --- state ----------------------------------------------------------------------------------

  #settle(): void {
    const state = this.#stateNow()
    const count = this.unsavedCount
    if (state === this.#state && count === this.#shownCount) return
    this.#state = state
    this.#shownCount = count
    this.emit('state', state, count)
  }

  #stateNow(): SaveState {
    if (this.#refusal !== null) return 'refused'
    const session = this.#session
    if (session?.synced) return session.unsavedCount + this.#pending.length > 0 ? 'unsaved' : 'saved'
    if (session !== null && this.#everSynced && this.unsavedCount > 0) return 'unsaved'
    return this.#everSynced || this.#wasOffline ? 'offline' : 'loading'
  }
}

function closedError(): PasserelleError {
  return new PasserelleError('closed', 'The document was closed.')
}

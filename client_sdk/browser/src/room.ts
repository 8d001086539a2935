import { trimmed } from './api.js'
import { Connection, type ConnectionState } from './connection.js'
import { Deferred } from './deferred.js'
import { SharedDocument, type DocumentLink } from './document.js'
import { hasDatabases } from './document_storage.js'
import { Emitter } from './emitter.js'
import { PasserelleError, asPasserelleError } from './errors.js'
import { holdTracks } from './freeze_hold.js'
import { makeLog, type Log, type LogLevel } from './log.js'
import { Media } from './media.js'
import { randomId } from './random_id.js'
import { applyEvent, follows, isFrozen, newChatLines } from './room_view.js'
import { roomOfToken } from './token.js'
import { rememberFallback, rememberedFallback, type TransportName } from './transport_memory.js'
import type {
  ChatLine,
  Configure,
  DocumentClosed,
  Draining,
  LobbyState,
  Muting,
  OpenDocument,
  Permission,
  Removal,
  Removed,
  RichText,
  RoomDocument,
  RoomEventMessage,
  RoomView,
  TokenRenewed,
} from './wire.js'

export interface RoomEvents {
  connection: (state: ConnectionState, transport: TransportName | null) => void
  lobby: (state: LobbyState['state']) => void
  /** After every change of the room: the whole new view, which never changes itself. */
  view: (view: RoomView) => void
  chat: (line: ChatLine) => void
  /** The room froze, for no adult in charge is there, or thawed. */
  frozen: (isFrozen: boolean) => void
  /** For good: nothing is tried any more. */
  removed: (reason: string) => void
  /** A newer token: to be kept for the next page. */
  token: (token: string) => void
  error: (error: PasserelleError) => void
}

export interface RoomOptions {
  token: string
  /** Where the server is; the page's own origin unless given. */
  baseUrl?: string
  transports?: TransportName[]
  logLevel?: LogLevel
}

/** How long a command waits for a lost connection to come back before it is given up. */
const RETURN_MS = 8_000

/** How often a setting is asked for again when somebody else was faster, each time knowing of the last. */
const MOST_WORDS = 4

/** How long leaving waits for what was just written to be saved. */
const LAST_SAVE_MS = 2_000

/** One participant's place in a room: its people, documents and media, through every reconnection. */
export class Room extends Emitter<RoomEvents> {
  readonly media: Media
  readonly #connection: Connection
  readonly #log: Log
  readonly #documents = new Map<string, SharedDocument>()
  #token: string
  #view: RoomView | null = null
  #lobbyState: LobbyState['state'] | null = null
  /** The view of the present connection has come: commands are answered, events applied. */
  #isInside = false
  #isAskingForView = false
  #entered: Deferred<'admitted' | 'waiting'> | null = null
  #isOver: PasserelleError | null = null

  constructor(options: RoomOptions) {
    super()
    this.#token = options.token
    this.#log = makeLog(options.logLevel ?? 'warn')
    this.#connection = new Connection({
      baseUrl: trimmed(options.baseUrl),
      token: () => this.#token,
      transports: options.transports ?? ['websocket', 'polling'],
      log: this.#log,
    })
    this.media = new Media({
      log: this.#log,
      request: (event, payload) => this.#connection.request(event, payload),
      tracks: () => this.#view?.tracks ?? [],
      selfId: () => this.#view?.self_id ?? null,
      isReady: () => this.#isInside,
      doubtful: () => this.#connection.doubt(),
      isPolling: () => this.#connection.transport === 'polling',
      sendVoice: (packet) => void this.#connection.send('media_voice', packet),
      rememberedFallback: () => rememberedFallback(this.#connection.origin),
      rememberFallback: (isOn) => rememberFallback(this.#connection.origin, isOn),
    })
    for (const event of ['localTracks', 'remoteTrack', 'state'] as const) this.media.on(event, () => this.frozen && this.#holdTracks())
    this.#connection.on('state', (state, transport) => this.emit('connection', state, transport))
    this.#connection.on('lost', () => this.#lost())
    this.#connection.on('refused', (error) => this.#refused(error))
    this.#connection.on('message', (event, args) => this.#receive(event, args))
  }

  get view(): RoomView | null {
    return this.#view
  }

  get lobbyState(): LobbyState['state'] | null {
    return this.#lobbyState
  }

  get connectionState(): ConnectionState {
    return this.#connection.state
  }

  /** Go in. Resolves with the first view, or when one is told to wait; rejects when the server
   * refuses the token. While the server cannot be reached it is tried again and again. */
  connect(): Promise<'admitted' | 'waiting'> {
    if (this.#isOver !== null) return Promise.reject(this.#isOver)
    this.#entered ??= new Deferred()
    this.#connection.open()
    return this.#entered.promise
  }

  /** No adult in charge is there: until one is back nobody else writes, chats, is heard or seen, or comes in. The event
   * `frozen` says when that changes; `view.freeze` since when, and afterwards until when. */
  get frozen(): boolean {
    return this.#view !== null && isFrozen(this.#view)
  }

  can(permission: Permission): boolean {
    return this.#view?.permissions.includes(permission) ?? false
  }

  // --- commands -------------------------------------------------------------------------------

  async admit(id: string): Promise<void> {
    await this.#command('admit', { participant_id: id })
  }

  async deny(id: string): Promise<void> {
    await this.#command('deny', { participant_id: id })
  }

  /** They are out. Resolves when every connection of theirs is closed; with false when one may still be open
   * somewhere, on a server that does not answer now. */
  async remove(id: string): Promise<boolean> {
    return (await this.#command<Partial<Removal>>('remove', { participant_id: id })).confirmed !== false
  }

  /** One's own hand; with an id a host lowers another's. */
  async setHand(raised: boolean, participantId?: string): Promise<void> {
    await this.#set('set_hand', participantId === undefined ? { raised } : { raised, participant_id: participantId }, { again: false })
  }

  async sendChat(text: string): Promise<void> {
    // The id lets the server know a line that is sent again after a cut.
    await this.#command('send_chat', { text, client_id: randomId() }, { again: true })
  }

  async rename(name: string): Promise<void> {
    await this.#set('rename', { name })
  }

  /** Show somebody large to everyone; null: nobody any more. */
  async spotlight(participantId: string | null): Promise<void> {
    await this.#set('spotlight', { participant_id: participantId })
  }

  async configure(change: Configure): Promise<void> {
    await this.#set('configure', change)
  }

  /** A new text for everyone in the room, which begins with `template`: rich text as ProseMirror and Tiptap write it
   * (`editor.getJSON()`), or plain text, each line a paragraph. It is stored when this resolves: `room.document(…)` of
   * the answer's `document` opens it. With the name of a document that is there without a title, it gets one. */
  async createDocument(title: string, template: RichText | string | null = null, document = randomId()): Promise<RoomDocument> {
    // The name lets the server know a text that is asked for again after a cut.
    return this.#command<RoomDocument>('create_document', { title, template, document }, { again: true })
  }

  /** A text's title, for everyone. */
  async renameDocument(document: string, title: string): Promise<void> {
    await this.#set('rename_document', { document, title })
  }

  /** Only its owner unmutes. False: it was asked, but nobody can say that the track is silent (between browsers only its
   * owner's device can stop it). */
  async muteOther(trackId: string): Promise<boolean> {
    return (await this.#command<Partial<Muting>>('mute_other', { track_id: trackId })).confirmed !== false
  }

  /** Leave for good. */
  async leave(): Promise<void> {
    const documents = [...this.#documents.values()]
    this.#documents.clear()
    await Promise.all(documents.map((document) => document.forget(LAST_SAVE_MS)))
    try {
      if (this.#connection.state === 'connected') await this.#connection.request('leave', {})
    } catch (error) {
      // The server may hang up before it answers; and whoever leaves without a network has left.
      this.#log.debug('leave was not answered', asPasserelleError(error, 'network').code)
    }
    this.close()
  }

  /** Close this connection only: the participant stays in the room for as long as it keeps them. */
  close(): void {
    this.#end(new PasserelleError('closed', 'The room was closed.'))
  }

  /** The document of this name, always the same object. `persist`: keep it in this browser too
   * (IndexedDB), so that what is written offline survives a reload; the default where that exists,
   * except in a consultation, which leaves no trace. `paragraph`: should nothing have been written in it, it begins with
   * one empty paragraph in the fragment `content`, the same for all who ask: two rich text editors (Tiptap, ProseMirror) in
   * which people begin in the same instant make none of their own each. */
  document(name: string, options: { persist?: boolean; paragraph?: boolean } = {}): SharedDocument {
    const known = this.#documents.get(name)
    if (known !== undefined) return known
    if (this.#isOver !== null) throw this.#isOver
    const storageName = this.#storageName(name, options.persist ?? true)
    const document = new SharedDocument(name, this.#documentLink(), storageName, options.paragraph)
    this.#documents.set(name, document)
    if (this.#isInside) document.connectionOpened()
    else if (this.#connection.state === 'reconnecting') document.connectionLost()
    return document
  }

  #storageName(document: string, persist: boolean): string | null {
    const room = this.#view?.room.id ?? roomOfToken(this.#token)
    const isPossible = hasDatabases() && room !== null && this.#view?.room.kind !== 'consultation'
    return persist && isPossible ? `passerelle/${room}/${document}` : null
  }

  #documentLink(): DocumentLink {
    const connection = this.#connection
    return {
      log: this.#log,
      get isPolling() {
        return connection.transport === 'polling'
      },
      open: (document, paragraph) => connection.request('document_open', { document, ...this.#wishes(paragraph) }),
      close: (document) => {
        this.#documents.delete(document)
        // Whether it arrives does not matter: the server closes what a closed connection had open.
        connection.request('document_close', { document }).catch(() => undefined)
      },
      send: (document, message) => connection.send('document_message', document, message),
    }
  }

  /** Of what came later, what the server reads. */
  #wishes(paragraph: boolean): Pick<OpenDocument, 'parts' | 'paragraph'> {
    return {
      ...(this.#understands('parts') ? { parts: true } : {}),
      ...(paragraph && this.#understands('paragraph') ? { paragraph: true } : {}),
    }
  }

  /** A command that sets something, and says what had been seen by then: should it be read only when something else was
   * asked over another connection, it comes too late. Whoever is still here asks again. */
  async #set(event: string, payload: object, { again = true } = {}): Promise<void> {
    await this.#whenInside()
    let seen = this.#view?.seq
    // Looked up each time it is sent: after a cut an older server may be at the other end.
    const words = (): object => (this.#understands('seen') ? { ...payload, seen } : payload)
    for (let tries = 0; ; tries += 1) {
      try {
        await this.#command(event, words, { again })
        return
      } catch (error) {
        if (!(error instanceof PasserelleError) || error.seq === undefined || tries >= MOST_WORDS) throw error
        seen = error.seq
      }
    }
  }

  /** Whether the server at the other end of the present connection reads this, which came later (`understands`). */
  #understands(what: string): boolean {
    return this.#isInside && (this.#view?.understands ?? []).includes(what)
  }

  /** A command waits for a lost connection to return. Once sent, it is sent `again` after a cut
   * only where that does no harm. */
  async #command<Answer = unknown>(event: string, payload: object | (() => object), { again = false } = {}): Promise<Answer> {
    for (let tries = 0; ; tries += 1) {
      await this.#whenInside()
      try {
        return await this.#connection.request<Answer>(event, typeof payload === 'function' ? (payload as () => object)() : payload)
      } catch (error) {
        if (!(error instanceof PasserelleError) || error.code !== 'network' || !again || tries >= 2) throw error
      }
    }
  }

  #whenInside(): Promise<void> {
    if (this.#isOver !== null) return Promise.reject(this.#isOver)
    if (this.#isInside) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const stops: (() => void)[] = []
      const finish = (error?: PasserelleError) => {
        for (const stop of stops) stop()
        clearTimeout(timer)
        if (error === undefined) resolve()
        else reject(error)
      }
      const timer = setTimeout(() => finish(new PasserelleError('network', 'There is no connection now.')), RETURN_MS)
      stops.push(this.on('view', () => finish()))
      stops.push(this.on('connection', (state) => state === 'closed' && finish(this.#isOver ?? undefined)))
    })
  }

  // --- what the server says -------------------------------------------------------------------

  #receive(event: string, args: unknown[]): void {
    if (event === 'document_message') {
      const [name, message] = args
      if (typeof name === 'string') this.#documents.get(name)?.receive(toBytes(message))
      return
    }
    const [payload] = args
    if (event === 'media_voice') return this.media.receiveVoice(toBytes(payload))
    switch (event) {
      case 'room_view':
        return this.#receiveView(payload as RoomView)
      case 'room_event':
        return this.#receiveEvent(payload as RoomEventMessage)
      case 'lobby':
        return this.#receiveLobby(payload as LobbyState)
      case 'removed':
        return this.#receiveRemoved(payload as Removed)
      case 'draining':
        return this.#connection.drain((payload as Draining).reconnect_after_ms)
      case 'token':
        this.#token = (payload as TokenRenewed).token
        this.emit('token', this.#token)
        return
      case 'document_closed':
        return this.#documents.get((payload as DocumentClosed).document)?.closedByServer(payload as DocumentClosed)
      default:
        if (event.startsWith('media_')) this.media.receive(event, payload)
    }
  }

  #receiveView(view: RoomView): void {
    const isEntering = !this.#isInside
    this.#isInside = true
    this.#isAskingForView = false
    this.#lobbyState = this.#lobbyState === null ? null : 'admitted'
    if (view.room.kind === 'consultation') for (const document of this.#documents.values()) void document.keepNothing()
    this.#setView(view)
    this.#entered?.resolve('admitted')
    if (!isEntering) return
    for (const document of this.#documents.values()) document.connectionOpened()
    this.media.connectionOpened()
  }

  #receiveEvent(message: RoomEventMessage): void {
    // While the view is asked for, events before the answer are in it: the server answers in order.
    if (this.#view === null || this.#isAskingForView) return
    if (message.event.type === 'speakers_changed') this.media.receiveSpeakers(message.event.participant_ids)
    if (!follows(this.#view, message)) void this.#askForView()
    else this.#setView(applyEvent(this.#view, message))
  }

  async #askForView(): Promise<void> {
    this.#log.debug('an event is missing')
    this.#isAskingForView = true
    try {
      this.#receiveView(await this.#connection.request<RoomView>('get_room', {}))
    } catch (error) {
      // Lost meanwhile: the next connection begins with a view. Refused: the next event asks again.
      this.#isAskingForView = false
      this.#log.debug('view not answered', asPasserelleError(error, 'network').code)
    }
  }

  #setView(view: RoomView): void {
    const before = this.#view
    if (view === before) return
    this.#view = view
    if (before?.permissions !== view.permissions) this.#rightsChanged()
    if (before?.tracks !== view.tracks) this.media.tracksChanged()
    this.emit('view', view)
    const wasFrozen = before !== null && isFrozen(before)
    if (wasFrozen !== this.frozen) {
      this.#holdTracks()
      this.emit('frozen', this.frozen)
    }
    for (const line of newChatLines(before, view)) this.emit('chat', line)
  }

  #holdTracks(): void {
    if (this.#view !== null) holdTracks(this.media, this.#view, this.frozen)
  }

  #rightsChanged(): void {
    const canRead = this.can('read_document')
    for (const document of this.#documents.values()) document.rightsChanged(canRead, this.can('write_document'))
  }

  #receiveLobby({ state }: LobbyState): void {
    this.#lobbyState = state
    this.emit('lobby', state)
    // "admitted" is followed by the view; "denied" by "removed".
    if (state === 'waiting') this.#entered?.resolve('waiting')
  }

  #receiveRemoved({ reason }: Removed): void {
    const error = new PasserelleError(reason === 'denied' ? 'denied' : 'removed', `Removed from the room: ${reason}.`)
    this.#entered?.reject(error)
    this.#end(error)
    this.emit('removed', reason)
  }

  #refused(error: PasserelleError): void {
    this.#entered?.reject(error)
    this.#end(error)
    if (error.code === 'removed' || error.code === 'denied') this.emit('removed', error.code)
    else this.emit('error', error)
  }

  #lost(): void {
    this.#isInside = false
    this.#isAskingForView = false
    for (const document of this.#documents.values()) document.connectionLost()
    this.media.connectionLost()
  }

  #end(why: PasserelleError): void {
    if (this.#isOver !== null) return
    this.#isOver = why
    this.#entered?.reject(why)
    for (const document of this.#documents.values()) {
      if (why.code === 'closed') document.close()
      else void document.forget(0)
    }
    this.#documents.clear()
    this.media.roomClosed()
    this.#isInside = false
    this.#connection.close()
  }
}

/** Socket.IO brings binary as ArrayBuffer (browser) or Buffer (Node). */
function toBytes(message: unknown): Uint8Array {
  if (message instanceof ArrayBuffer) return new Uint8Array(message)
  return message instanceof Uint8Array ? message : new Uint8Array()
}

import { PasserelleError, asPasserelleError } from './errors.js'
import type { LinkHost, MediaLink } from './media_link.js'
import { Pacing, configurationOf } from './peer_connection.js'
import { PeerLink } from './peer_link.js'
import { ServerLink } from './server_link.js'
import { SignalOutbox, gistOf } from './signal_outbox.js'
import type { EngineName, MediaClosed, MediaStarted, StartMedia, TrackMutedByHost } from './wire.js'

/** What a session needs of `Media`: what its link does, and what follows from the server's word. */
export interface SessionHost extends Omit<LinkHost, 'signal' | 'configuration' | 'beginAnew' | 'isFallenBack'> {
  request: <Answer>(event: string, payload: object) => Promise<Answer>
  /** Whether commands are answered now: connected, and admitted. */
  isReady: () => boolean
  /** The server has taken us in, with a new link; `goesOn`: with the one we had. */
  started: (goesOn: boolean) => void
  /** The server wants no media of ours (any more). */
  refused: (error: PasserelleError) => void
  mutedByHost: (trackId: string) => void
}

/** TURN credentials may have run out after this long: new ones are asked for. */
const CREDENTIALS_MS = 10 * 60_000
/** Early messages of a session whose start is being answered. */
const MAX_EARLY = 64

/** Our media session with the server: it begins, goes on after a cut, begins anew when it is lost, and ends. */
export class MediaSession {
  readonly #host: SessionHost
  readonly #pacing = new Pacing()
  #started: MediaStarted | null = null
  #startedAt = 0
  #link: MediaLink | null = null
  #outbox: SignalOutbox | null = null
  #isWanted = false
  #isStarting = false
  #early: { event: string; payload: unknown }[] = []
  #retryTimer: ReturnType<typeof setTimeout> | undefined

  constructor(host: SessionHost) {
    this.#host = host
  }

  /** null: there is none now. */
  get id(): string | null {
    return this.#started?.session_id ?? null
  }

  get engine(): EngineName | null {
    return this.#started?.engine ?? null
  }

  get link(): MediaLink | null {
    return this.#link
  }

  /** Start, or go on with what we had; tried again until `end`. */
  async begin(): Promise<void> {
    this.#isWanted = true
    if (this.#isStarting || !this.#host.isReady()) return
    this.#isStarting = true
    clearTimeout(this.#retryTimer)
    try {
      const started = await this.#host.request<MediaStarted>('media_start', this.#startMessage())
      this.#isStarting = false
      if (this.#isWanted) this.#take(started)
    } catch (error) {
      this.#isStarting = false
      this.#notStarted(asPasserelleError(error, 'internal'))
    }
    this.#early = []
    this.#host.changed()
  }

  /** There is a connection (again). */
  resume(): void {
    if (this.#isWanted) void this.begin()
  }

  /** There is none. */
  suspend(): void {
    clearTimeout(this.#retryTimer)
    this.#outbox?.suspend()
    this.#link?.suspend()
  }

  end(): void {
    this.#isWanted = false
    clearTimeout(this.#retryTimer)
    this.#forget()
  }

  /** Say something of the session, once, however often the connection is lost; without a session nothing is said. */
  send(event: string, payload: object): void {
    if (this.#started !== null) this.#outbox?.send(event, { session_id: this.#started.session_id, ...payload })
  }

  /** A `media_…` message of the server. */
  receive(event: string, payload: unknown): void {
    const session = (payload as { session_id?: unknown } | null)?.session_id
    if (this.#isStarting && session !== this.#started?.session_id) {
      // Of the session whose start is being answered: its answer is looked at in a moment.
      if (this.#early.length < MAX_EARLY) this.#early.push({ event, payload })
    } else if (session === this.#started?.session_id) this.#receive(event, payload)
  }

  #receive(event: string, payload: unknown): void {
    this.#host.log.debug('hears', event, ...gistOf(payload))
    if (event === 'media_muted') this.#host.mutedByHost((payload as TrackMutedByHost).track_id)
    else if (event === 'media_closed') this.#closedByServer(payload as MediaClosed)
    else this.#link?.receive(event, payload)
  }

  #startMessage(): StartMedia {
    return { session_id: this.id, without_sound: this.#host.isWithoutSound() }
  }

  #take(started: MediaStarted): void {
    const isSame = started.resumed && started.session_id === this.id
    this.#started = started
    this.#startedAt = Date.now()
    if (isSame && this.#link !== null) {
      this.#outbox?.resume()
      this.#link.resume(started)
    } else {
      this.#closeLink()
      this.#makeLink(started)
    }
    this.#host.started(isSame)
    for (const { event, payload } of this.#early) this.receive(event, payload)
  }

  #notStarted(error: PasserelleError): void {
    this.#host.log.debug('media not started', error.code)
    if (error.code === 'network' && !this.#host.isReady()) return // the next connection tries again
    if (error.code === 'permission-denied' || error.code === 'not-admitted') {
      this.#host.refused(error)
      return
    }
    const delayMs = Math.max(1_000, this.#pacing.nextDelayMs(Date.now()))
    this.#retryTimer = setTimeout(() => this.resume(), delayMs * (0.5 + Math.random()))
  }

  #makeLink(started: MediaStarted): void {
    const { session_id } = started
    const outbox = new SignalOutbox({
      log: this.#host.log,
      request: (event, payload) => this.#host.request(event, payload),
      refused: (event, payload, error) => {
        if (this.#outbox !== outbox) return
        if (error.code === 'unknown-session') this.#beginAnew()
        else this.#link?.refused(event, payload, error)
      },
      overflowed: () => this.#outbox === outbox && this.#beginAnew(),
    })
    this.#outbox = outbox
    const host: LinkHost = {
      ...this.#host,
      signal: (event, payload) => {
        this.#host.log.debug('says', event, ...gistOf(payload))
        outbox.send(event, payload)
      },
      configuration: () => this.#configuration(),
      beginAnew: () => this.#outbox === outbox && this.#beginAnew(),
      isFallenBack: () => false,
    }
    this.#link =
      started.engine === 'p2p' ? new PeerLink(host, session_id, configurationOf(started), started.peers) : new ServerLink(host, session_id)
  }

  /** The session is lost: another one, with the same tracks. */
  #beginAnew(): void {
    this.#forget()
    this.#host.changed()
    this.resume()
  }

  #closedByServer(closed: MediaClosed): void {
    this.#host.log.debug('media closed by the server', closed.pc, closed.reason)
    if (closed.pc !== null) {
      if (closed.retry) this.#link?.closedByServer(closed)
      return
    }
    if (closed.retry) {
      this.#forget()
      this.#retryTimer = setTimeout(() => this.resume(), Math.max(300, this.#pacing.nextDelayMs(Date.now())))
    } else this.#host.refused(new PasserelleError('media-closed', `The server ended our media: ${closed.reason}.`))
    this.#host.changed()
  }

  #forget(): void {
    this.#closeLink()
    this.#started = null
  }

  #closeLink(): void {
    this.#outbox?.close()
    this.#outbox = null
    this.#link?.close()
    this.#link = null
  }

  /** With credentials that still hold: of the session's start, or asked for again. */
  async #configuration(): Promise<RTCConfiguration> {
    const before = this.#started
    if (before === null) throw new PasserelleError('closed', 'Media were stopped.')
    if (Date.now() - this.#startedAt > CREDENTIALS_MS && this.#host.isReady()) {
      const again = await this.#host.request<MediaStarted>('media_start', this.#startMessage())
      if (again.session_id === before.session_id) {
        this.#started = again
        this.#startedAt = Date.now()
      } else this.#take(again)
    }
    return configurationOf(this.#started ?? before)
  }
}

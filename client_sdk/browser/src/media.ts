import { Deferred } from './deferred.js'
import { Emitter } from './emitter.js'
import { PasserelleError, asPasserelleError } from './errors.js'
import { PublishedLocalTrack, type LocalTrack } from './local_track.js'
import type { Log } from './log.js'
import type { LinkHost, MediaLink, SignalingWay } from './media_link.js'
import { Pacing, configurationOf, transferredBytes } from './peer_connection.js'
import { PeerLink } from './peer_link.js'
import { QualityJudge, SAMPLE_MS, arrivalsIn, isSame, type Arrival, type Quality } from './quality.js'
import { randomId } from './random_id.js'
import { RemoteTracks, type RemoteTrack } from './remote_tracks.js'
import { shareScreen } from './screen_share.js'
import { ServerLink } from './server_link.js'
import { SignalOutbox, gistOf } from './signal_outbox.js'
import type { FallbackState } from './voice_fallback.js'
import { SpeakerMeter } from './speaker_meter.js'
import type { EngineName, MediaClosed, MediaStarted, ShownTrack, StartMedia, Subscription, Track, TrackMutedByHost, TrackSource } from './wire.js'

export type { LocalTrack } from './local_track.js'
export type { RemoteTrack } from './remote_tracks.js'
export type { Quality } from './quality.js'

/**
 * - `idle`: not started, or stopped;
 * - `connecting`: for the first time;
 * - `connected`: everything that is to flow does;
 * - `voice-only`: no media pass to the server; voice goes by the connection that works, see `Media.fallback`;
 * - `reconnecting`: something was interrupted, and is being set up again;
 * - `failed`: the server carries no media for us.
 */
export type MediaState = 'idle' | 'connecting' | 'connected' | 'voice-only' | 'reconnecting' | 'failed'

export interface MediaEvents {
  state: (state: MediaState) => void
  /** A track arrives; also when a known one (same id, same object) arrives by a new connection. */
  remoteTrack: (remote: RemoteTrack) => void
  remoteTrackEnded: (trackId: string) => void
  /** Our own tracks changed: which, or whether they are muted. */
  localTracks: () => void
  /** Who is loud now, loudest first. */
  speakers: (participantIds: string[]) => void
  mutedByHost: (trackId: string) => void
  /** Whether voice goes by the signaling connection, or ought to and cannot. */
  fallback: (state: FallbackState) => void
  /** How well the network brings tracks of others, by track id; when it changes. */
  quality: (qualities: ReadonlyMap<string, Quality>) => void
}

/** What media need of their room. */
export interface MediaHost extends SignalingWay {
  log: Log
  request: <Answer>(event: string, payload: object) => Promise<Answer>
  tracks: () => readonly Track[]
  selfId: () => string | null
  /** Whether commands are answered now: connected, and admitted. */
  isReady: () => boolean
}

/** TURN credentials may have run out after this long: new ones are asked for. */
const CREDENTIALS_MS = 10 * 60_000
/** Early messages of a session whose start is being answered. */
const MAX_EARLY = 64

/** Sound and pictures of the room: what we publish, and what arrives. Survives lost connections,
 * changed networks and restarts of the server; tracks keep their ids. */
export class Media extends Emitter<MediaEvents> {
  readonly #host: MediaHost
  readonly #remote = new RemoteTracks(
    (remote) => this.emit('remoteTrack', remote),
    (trackId) => this.emit('remoteTrackEnded', trackId),
  )
  readonly #speakers = new SpeakerMeter(
    () => this.#remote.all.values(),
    (participantIds) => this.emit('speakers', participantIds),
  )
  readonly #pacing = new Pacing()
  #judge = new QualityJudge()
  #qualities: ReadonlyMap<string, Quality> = new Map()
  #qualityTimer: ReturnType<typeof setInterval> | undefined
  #local: PublishedLocalTrack[] = []
  #wished: Subscription[] | null = null
  #layout: ShownTrack[] | null = null
  #sendsSmall = false
  #isWithoutSound = false
  #isSoundDetailed = false
  #session: MediaStarted | null = null
  #startedAt = 0
  #link: MediaLink | null = null
  #outbox: SignalOutbox | null = null
  #isWanted = false
  /** Of the call of `start` until `stop`. */
  #starting: Deferred<void> | null = null
  readonly #online = () => this.#link?.suspect()
  #isStarting = false
  #early: { event: string; payload: unknown }[] = []
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #wasConnected = false
  #refusal: PasserelleError | null = null
  #state: MediaState = 'idle'
  #fallback: FallbackState = 'off'

  /** @internal */
  constructor(host: MediaHost) {
    super()
    this.#host = host
  }

  get state(): MediaState {
    return this.#state
  }

  get fallback(): FallbackState {
    return this.#fallback
  }

  get localTracks(): readonly LocalTrack[] {
    return [...this.#local]
  }

  /** By track id. */
  get remoteTracks(): ReadonlyMap<string, RemoteTrack> {
    return this.#remote.all
  }

  get engine(): EngineName | null {
    return this.#session?.engine ?? null
  }

  /** Take part in the room's media. Resolves when the server has taken us in; rejects when it does
   * not. To be called after admission. */
  start(): Promise<void> {
    if (typeof RTCPeerConnection === 'undefined') {
      return Promise.reject(new PasserelleError('unsupported', 'This browser has no WebRTC.'))
    }
    if (this.#starting !== null) return this.#starting.promise
    this.#starting = new Deferred()
    this.#isWanted = true
    this.#refusal = null
    this.#qualityTimer ??= setInterval(() => void this.#judgeQuality(), SAMPLE_MS)
    if (typeof document !== 'undefined') addEventListener('online', this.#online)
    this.#settle()
    void this.#begin()
    return this.#starting.promise
  }

  /** End our part in the room's media. The MediaStreamTracks are their owner's to stop. */
  async stop(): Promise<void> {
    const session = this.#session
    this.#end()
    this.#local = []
    this.emit('localTracks')
    if (session === null || !this.#host.isReady()) return
    try {
      await this.#host.request('media_stop', { session_id: session.session_id })
    } catch (error) {
      // The server ends a session whose connection is gone by itself.
      this.#host.log.debug('stop was not answered', asPasserelleError(error, 'network').code)
    }
  }

  /** Publish a track. Before `start`, it is published then. The track remains its owner's. */
  async publish(track: MediaStreamTrack, source: TrackSource, options: { muted?: boolean } = {}): Promise<LocalTrack> {
    const local = new PublishedLocalTrack(randomId(), source, track, options.muted ?? false)
    this.#setLocal([...this.#local, local])
    return local
  }

  /** Send another MediaStreamTrack in place of the present one (another camera), without negotiation. */
  async replace(id: string, track: MediaStreamTrack): Promise<void> {
    const local = this.#find(id)
    local.replace(track)
    await this.#link?.replaceTrack(local)
    this.emit('localTracks')
  }

  async unpublish(id: string): Promise<void> {
    const local = this.#find(id)
    if (this.#session !== null) this.#outbox?.send('media_unpublish', { session_id: this.#session.session_id, track_id: id })
    this.#setLocal(this.#local.filter((each) => each !== local))
  }

  async setMuted(id: string, muted: boolean): Promise<void> {
    const local = this.#find(id)
    local.muted = muted
    this.#sendMuted(local)
    this.emit('localTracks')
  }

  /** Share a screen, window or tab, with its sound where the browser gives it. Ends by itself when
   * the browser's own "stop sharing" is pressed. Rejects when the person declines. */
  shareScreen(): Promise<LocalTrack[]> {
    return shareScreen(this)
  }

  /** The whole set of tracks wanted now; until it is said, all of them come. */
  async subscribe(tracks: { track_id: string; max_height?: number }[]): Promise<void> {
    this.#wished = tracks
    this.#sendWishes()
  }

  /** Every video track on the page now, with the size of its tile in device pixels. Of others no picture comes; until it
   * is said, all come. Call it as often as the page changes, a little late rather than at every step. */
  setLayout(tracks: ShownTrack[]): void {
    this.#layout = tracks
    this.#sendLayout()
  }

  /** Our cameras go up in their smallest size alone, for a line that is thin or paid by what passes; false: in all sizes.
   * Holds for cameras that are published later, too. Without effect from browser to browser. */
  async setSendsSmall(small: boolean): Promise<void> {
    this.#sendsSmall = small
    await this.#link?.sizesChanged()
  }

  /** A device beside another one that has the sound (a tablet in a class with a board): nothing is heard from it and nothing
   * said into it, so there is no echo; no sound comes to it by any way, and what it publishes of sound waits. */
  setWithoutSound(isOn: boolean): void {
    if (isOn === this.#isWithoutSound) return
    this.#isWithoutSound = isOn
    if (this.#session !== null) this.#outbox?.send('media_sound', { session_id: this.#session.session_id, without_sound: isOn })
    this.#link?.localTracksChanged()
    this.#link?.remoteTracksChanged()
    this.#settle()
  }

  /** Our sounds go up in full (96 kbit/s, without pauses), for a speech therapist's ear or for music. The browser's own
   * filters are its track's: capture it without `noiseSuppression`, `echoCancellation` and `autoGainControl`. Voice by the
   * signaling connection is not concerned. */
  setDetailedSound(isOn: boolean): void {
    if (isOn === this.#isSoundDetailed) return
    this.#isSoundDetailed = isOn
    this.#link?.localTracksChanged()
  }

  /** Bytes that media have brought and taken over the present connections; begins anew with them. */
  async transferredBytes(): Promise<number> {
    const counts = await Promise.all((this.#link?.peerConnections() ?? []).map(({ connection }) => transferredBytes(connection)))
    return counts.reduce((sum, count) => sum + count, this.#link?.voiceBytes ?? 0)
  }

  /** For tests and signs of quality. */
  async peerConnectionStats(): Promise<{ pc: string; report: RTCStatsReport }[]> {
    const connections = this.#link?.peerConnections() ?? []
    return Promise.all(connections.map(async ({ pc, connection }) => ({ pc, report: await connection.getStats() })))
  }

  // --- for the room -----------------------------------------------------------------------------

  /** The room's connection stands (again). @internal */
  connectionOpened(): void {
    if (this.#isWanted) void this.#begin()
  }

  /** @internal */
  connectionLost(): void {
    clearTimeout(this.#retryTimer)
    this.#outbox?.suspend()
    this.#link?.suspend()
    this.#settle()
  }

  /** @internal */
  roomClosed(): void {
    this.#end()
  }

  /** The room's tracks changed. @internal */
  tracksChanged(): void {
    this.#remote.setKnown(this.#host.tracks())
    this.#link?.remoteTracksChanged()
  }

  /** A `media_voice` packet of the server. @internal */
  receiveVoice(packet: Uint8Array): void {
    this.#link?.receiveVoice(packet)
  }

  /** @internal */
  receiveSpeakers(participantIds: string[]): void {
    this.emit('speakers', participantIds)
  }

  /** A `media_…` message of the server. @internal */
  receive(event: string, payload: unknown): void {
    const session = (payload as { session_id?: unknown } | null)?.session_id
    if (this.#isStarting && session !== this.#session?.session_id) {
      // Of the session whose start is being answered: its answer is looked at in a moment.
      if (this.#early.length < MAX_EARLY) this.#early.push({ event, payload })
    } else if (session === this.#session?.session_id) this.#receive(event, payload)
  }

  #receive(event: string, payload: unknown): void {
    this.#host.log.debug('hears', event, ...gistOf(payload))
    if (event === 'media_muted') this.#mutedByHost((payload as TrackMutedByHost).track_id)
    else if (event === 'media_closed') this.#closedByServer(payload as MediaClosed)
    else this.#link?.receive(event, payload)
  }

  // --- the session --------------------------------------------------------------------------------

  /** Start a session, or go on with the one we had. */
  async #begin(): Promise<void> {
    if (!this.#isWanted || this.#isStarting || !this.#host.isReady()) return
    this.#isStarting = true
    clearTimeout(this.#retryTimer)
    try {
      const started = await this.#host.request<MediaStarted>('media_start', this.#startMessage())
      this.#isStarting = false
      if (this.#isWanted) this.#started(started)
    } catch (error) {
      this.#isStarting = false
      this.#notStarted(asPasserelleError(error, 'internal'))
    }
    this.#early = []
    this.#settle()
  }

  #startMessage(): StartMedia {
    return { session_id: this.#session?.session_id ?? null, without_sound: this.#isWithoutSound }
  }

  #started(started: MediaStarted): void {
    const isSame = started.resumed && started.session_id === this.#session?.session_id
    this.#session = started
    this.#startedAt = Date.now()
    if (isSame && this.#link !== null) {
      this.#outbox?.resume()
      this.#link.resume(started)
    } else {
      this.#closeLink()
      this.#makeLink(started)
    }
    for (const local of this.#local) if (isSame) this.#sendMuted(local)
    this.#sendWishes()
    this.#sendLayout()
    for (const { event, payload } of this.#early) this.receive(event, payload)
    this.#starting?.resolve()
  }

  #notStarted(error: PasserelleError): void {
    this.#host.log.debug('media not started', error.code)
    if (error.code === 'network' && !this.#host.isReady()) return // the next connection tries again
    if (error.code === 'permission-denied' || error.code === 'not-admitted') {
      this.#refusal = error
      this.#end()
      return
    }
    const delayMs = Math.max(1_000, this.#pacing.nextDelayMs(Date.now()))
    this.#retryTimer = setTimeout(() => void this.#begin(), delayMs * (0.5 + Math.random()))
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
      localTracks: () => (this.#isWithoutSound ? this.#local.filter(({ kind }) => kind === 'video') : this.#local),
      isWithoutSound: () => this.#isWithoutSound,
      isSoundDetailed: () => this.#isSoundDetailed,
      sendsSmall: () => this.#sendsSmall,
      expectsRemoteMedia: () => this.#expectsRemoteMedia(),
      signal: (event, payload) => {
        this.#host.log.debug('says', event, ...gistOf(payload))
        outbox.send(event, payload)
      },
      configuration: () => this.#configuration(),
      received: (tracks) => this.#remote.setReceived(tracks),
      refusedTracks: (error) => this.#giveUpTracks(error),
      beginAnew: () => this.#outbox === outbox && this.#beginAnew(),
      changed: () => this.#settle(),
      remoteTracks: () => this.#wishedRemote(),
      isFallenBack: () => false,
    }
    this.#link =
      started.engine === 'p2p' ? new PeerLink(host, session_id, configurationOf(started), started.peers) : new ServerLink(host, session_id)
    this.#speakers.isOn = started.engine === 'p2p' // with the others the server says who speaks
  }

  /** The session is lost: another one, with the same tracks. */
  #beginAnew(): void {
    this.#closeLink()
    this.#session = null
    this.#settle()
    void this.#begin()
  }

  #closedByServer(closed: MediaClosed): void {
    this.#host.log.debug('media closed by the server', closed.pc, closed.reason)
    if (closed.pc !== null) {
      if (closed.retry) this.#link?.closedByServer(closed)
      return
    }
    if (closed.retry) {
      this.#closeLink()
      this.#session = null
      this.#retryTimer = setTimeout(() => void this.#begin(), Math.max(300, this.#pacing.nextDelayMs(Date.now())))
    } else {
      this.#refusal = new PasserelleError('media-closed', `The server ended our media: ${closed.reason}.`)
      this.#end()
    }
    this.#settle()
  }

  #closeLink(): void {
    this.#outbox?.close()
    this.#outbox = null
    this.#link?.close()
    this.#link = null
  }

  #end(): void {
    this.#isWanted = false
    clearInterval(this.#qualityTimer)
    this.#qualityTimer = undefined
    this.#judge = new QualityJudge()
    this.#tellQualities(new Map())
    this.#starting?.reject(this.#refusal ?? new PasserelleError('closed', 'Media were stopped.'))
    this.#starting = null
    if (typeof document !== 'undefined') removeEventListener('online', this.#online)
    clearTimeout(this.#retryTimer)
    this.#closeLink()
    this.#session = null
    this.#wasConnected = false
    this.#speakers.isOn = false
    this.#remote.setReceived(new Map())
    this.#settle()
  }

  /** With credentials that still hold: of the session's start, or asked for again. */
  async #configuration(): Promise<RTCConfiguration> {
    const session = this.#session
    if (session === null) throw new PasserelleError('closed', 'Media were stopped.')
    if (Date.now() - this.#startedAt > CREDENTIALS_MS && this.#host.isReady()) {
      const again = await this.#host.request<MediaStarted>('media_start', this.#startMessage())
      if (again.session_id === session.session_id) {
        this.#session = again
        this.#startedAt = Date.now()
      } else this.#started(again)
    }
    return configurationOf(this.#session ?? session)
  }

  // --- tracks ---------------------------------------------------------------------------------------

  #find(id: string): PublishedLocalTrack {
    const local = this.#local.find((each) => each.id === id)
    if (local === undefined) throw new PasserelleError('not-found', 'We publish no such track.')
    return local
  }

  #setLocal(local: PublishedLocalTrack[]): void {
    if (local.length === this.#local.length && local.every((each) => this.#local.includes(each))) return
    this.#local = local
    this.#link?.localTracksChanged()
    this.emit('localTracks')
    this.#settle()
  }

  #giveUpTracks(error: PasserelleError): void {
    if (!['permission-denied', 'too-many-tracks', 'track-id-taken'].includes(error.code)) return
    const known = new Set(this.#host.tracks().map(({ id }) => id))
    this.#setLocal(this.#local.filter(({ id }) => known.has(id)))
  }

  #sendMuted({ id, muted }: LocalTrack): void {
    if (this.#session !== null) this.#outbox?.send('media_mute', { session_id: this.#session.session_id, track_id: id, muted })
  }

  #sendWishes(): void {
    if (this.#session === null || this.#wished === null) return
    this.#outbox?.send('media_subscribe', { session_id: this.#session.session_id, tracks: this.#wished })
  }

  #sendLayout(): void {
    // Without a connection the next start sends the layout of then.
    if (this.#session === null || this.#layout === null || this.#session.engine === 'p2p' || !this.#host.isReady()) return
    this.#outbox?.send('media_layout', { session_id: this.#session.session_id, tracks: this.#layout })
  }

  #mutedByHost(trackId: string): void {
    const local = this.#local.find(({ id }) => id === trackId)
    if (local === undefined) return
    // With p2p nobody else can stop the packets.
    local.muted = true
    this.emit('mutedByHost', trackId)
    this.emit('localTracks')
  }

  /** What others publish, of what is wanted. */
  #wishedRemote(): Track[] {
    const own = this.#session?.session_id
    const wished = this.#wished === null ? null : new Set(this.#wished.map(({ track_id }) => track_id))
    return this.#host
      .tracks()
      .filter(({ id, session_id, kind }) => session_id !== own && (wished?.has(id) ?? true) && !(this.#isWithoutSound && kind === 'audio'))
  }

  #expectsRemoteMedia(): boolean {
    return this.#wishedRemote().some(({ muted }) => !muted)
  }

  async #judgeQuality(): Promise<void> {
    const arrivals = new Map<string, Arrival>()
    for (const { report } of await this.peerConnectionStats()) {
      const found = arrivalsIn(report)
      for (const [id, { track, mediaStreamTrack }] of this.#remote.all) {
        const arrival = found.get(mediaStreamTrack.id)
        if (arrival !== undefined && !track.muted) arrivals.set(id, arrival)
      }
    }
    if (this.#isWanted) this.#tellQualities(this.#judge.judge(arrivals, performance.now()))
  }

  #tellQualities(qualities: ReadonlyMap<string, Quality>): void {
    if (isSame(this.#qualities, qualities)) return
    this.#qualities = qualities
    this.emit('quality', qualities)
  }

  // --- state ----------------------------------------------------------------------------------------

  #settle(): void {
    const fallback = this.#link?.fallback ?? 'off'
    if (fallback !== this.#fallback) {
      this.#fallback = fallback
      this.emit('fallback', fallback)
    }
    const state = this.#stateNow()
    if (state === 'connected') this.#wasConnected = true
    if (state === this.#state) return
    this.#state = state
    this.emit('state', state)
  }

  #stateNow(): MediaState {
    if (!this.#isWanted) return this.#refusal === null ? 'idle' : 'failed'
    const connectivity = this.#link?.connectivity
    if (this.#link?.fallback === 'on') return 'voice-only'
    if (connectivity === 'connected' || connectivity === 'new') return 'connected'
    return this.#wasConnected ? 'reconnecting' : 'connecting'
  }
}

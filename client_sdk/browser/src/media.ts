import { Deferred } from './deferred.js'
import { Emitter } from './emitter.js'
import { PasserelleError, asPasserelleError } from './errors.js'
import { PublishedLocalTrack, type LocalTrack } from './local_track.js'
import type { Log } from './log.js'
import type { SignalingWay } from './media_link.js'
import { MediaSession } from './media_session.js'
import { transferredBytes } from './peer_connection.js'
import { QualityJudge, SAMPLE_MS, arrivalsIn, isSame, type Arrival, type Quality } from './quality.js'
import { randomId } from './random_id.js'
import { RemoteTracks, type RemoteTrack } from './remote_tracks.js'
import { shareScreen } from './screen_share.js'
import type { FallbackState } from './voice_fallback.js'
import { SpeakerMeter } from './speaker_meter.js'
import type { EngineName, ShownTrack, Subscription, Track, TrackSource } from './wire.js'

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
  readonly #session: MediaSession
  #judge = new QualityJudge()
  #qualities: ReadonlyMap<string, Quality> = new Map()
  #qualityTimer: ReturnType<typeof setInterval> | undefined
  #local: PublishedLocalTrack[] = []
  #wished: Subscription[] | null = null
  #layout: ShownTrack[] | null = null
  #sendsSmall = false
  #isWithoutSound = false
  #isSoundDetailed = false
  #isWanted = false
  /** Of the call of `start` until `stop`. */
  #starting: Deferred<void> | null = null
  readonly #online = () => this.#session.link?.suspect()
  #wasConnected = false
  #refusal: PasserelleError | null = null
  #state: MediaState = 'idle'
  #fallback: FallbackState = 'off'

  /** @internal */
  constructor(host: MediaHost) {
    super()
    this.#host = host
    this.#session = this.#makeSession()
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
    return this.#session.engine
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
    void this.#session.begin()
    return this.#starting.promise
  }

  /** End our part in the room's media. The MediaStreamTracks are their owner's to stop. */
  async stop(): Promise<void> {
    const session_id = this.#session.id
    this.#end()
    this.#local = []
    this.emit('localTracks')
    if (session_id === null || !this.#host.isReady()) return
    try {
      await this.#host.request('media_stop', { session_id })
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
    await this.#session.link?.replaceTrack(local)
    this.emit('localTracks')
  }

  async unpublish(id: string): Promise<void> {
    const local = this.#find(id)
    this.#session.send('media_unpublish', { track_id: id })
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
    await this.#session.link?.sizesChanged()
  }

  /** A device beside another one that has the sound (a tablet in a class with a board): nothing is heard from it and nothing
   * said into it, so there is no echo; no sound comes to it by any way, and what it publishes of sound waits. */
  setWithoutSound(isOn: boolean): void {
    if (isOn === this.#isWithoutSound) return
    this.#isWithoutSound = isOn
    this.#session.send('media_sound', { without_sound: isOn })
    this.#session.link?.localTracksChanged()
    this.#session.link?.remoteTracksChanged()
    this.#settle()
  }

  /** Our sounds go up in full (96 kbit/s, without pauses), for a speech therapist's ear or for music. The browser's own
   * filters are its track's: capture it without `noiseSuppression`, `echoCancellation` and `autoGainControl`. Voice by the
   * signaling connection is not concerned. */
  setDetailedSound(isOn: boolean): void {
    if (isOn === this.#isSoundDetailed) return
    this.#isSoundDetailed = isOn
    this.#session.link?.localTracksChanged()
  }

  /** Bytes that media have brought and taken over the present connections; begins anew with them. */
  async transferredBytes(): Promise<number> {
    const counts = await Promise.all((this.#session.link?.peerConnections() ?? []).map(({ connection }) => transferredBytes(connection)))
    return counts.reduce((sum, count) => sum + count, this.#session.link?.voiceBytes ?? 0)
  }

  /** For tests and signs of quality. */
  async peerConnectionStats(): Promise<{ pc: string; report: RTCStatsReport }[]> {
    const connections = this.#session.link?.peerConnections() ?? []
    return Promise.all(connections.map(async ({ pc, connection }) => ({ pc, report: await connection.getStats() })))
  }

  // --- for the room -----------------------------------------------------------------------------

  /** The room's connection stands (again). @internal */
  connectionOpened(): void {
    this.#session.resume()
  }

  /** @internal */
  connectionLost(): void {
    this.#session.suspend()
    this.#settle()
  }

  /** @internal */
  roomClosed(): void {
    this.#end()
  }

  /** The room's tracks changed. @internal */
  tracksChanged(): void {
    this.#remote.setKnown(this.#host.tracks())
    this.#session.link?.remoteTracksChanged()
  }

  /** A `media_voice` packet of the server. @internal */
  receiveVoice(packet: Uint8Array): void {
    this.#session.link?.receiveVoice(packet)
  }

  /** @internal */
  receiveSpeakers(participantIds: string[]): void {
    this.emit('speakers', participantIds)
  }

  /** A `media_…` message of the server. @internal */
  receive(event: string, payload: unknown): void {
    this.#session.receive(event, payload)
  }

  // --- the session --------------------------------------------------------------------------------

  #makeSession(): MediaSession {
    return new MediaSession({
      ...this.#host,
      localTracks: () => (this.#isWithoutSound ? this.#local.filter(({ kind }) => kind === 'video') : this.#local),
      remoteTracks: () => this.#wishedRemote(),
      expectsRemoteMedia: () => this.#wishedRemote().some(({ muted }) => !muted),
      isWithoutSound: () => this.#isWithoutSound,
      isSoundDetailed: () => this.#isSoundDetailed,
      sendsSmall: () => this.#sendsSmall,
      started: (goesOn) => this.#started(goesOn),
      refused: (error) => this.#refused(error),
      refusedTracks: (error) => this.#giveUpTracks(error),
      received: (tracks) => this.#remote.setReceived(tracks),
      mutedByHost: (trackId) => this.#mutedByHost(trackId),
      changed: () => this.#settle(),
    })
  }

  #started(goesOn: boolean): void {
    this.#speakers.isOn = this.#session.engine === 'p2p' // with the others the server says who speaks
    if (goesOn) for (const local of this.#local) this.#sendMuted(local)
    this.#sendWishes()
    this.#sendLayout()
    this.#starting?.resolve()
  }

  #refused(error: PasserelleError): void {
    this.#refusal = error
    this.#end()
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
    this.#session.end()
    this.#wasConnected = false
    this.#speakers.isOn = false
    this.#remote.setReceived(new Map())
    this.#settle()
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
    this.#session.link?.localTracksChanged()
    this.emit('localTracks')
    this.#settle()
  }

  #giveUpTracks(error: PasserelleError): void {
    if (!['permission-denied', 'too-many-tracks', 'track-id-taken'].includes(error.code)) return
    const known = new Set(this.#host.tracks().map(({ id }) => id))
    this.#setLocal(this.#local.filter(({ id }) => known.has(id)))
  }

  #sendMuted({ id, muted }: LocalTrack): void {
    this.#session.send('media_mute', { track_id: id, muted })
  }

  #sendWishes(): void {
    if (this.#wished !== null) this.#session.send('media_subscribe', { tracks: this.#wished })
  }

  #sendLayout(): void {
    // Without a connection the next start sends the layout of then.
    if (this.#layout === null || this.#session.engine === 'p2p' || !this.#host.isReady()) return
    this.#session.send('media_layout', { tracks: this.#layout })
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
    const own = this.#session.id
    const wished = this.#wished === null ? null : new Set(this.#wished.map(({ track_id }) => track_id))
    return this.#host
      .tracks()
      .filter(({ id, session_id, kind }) => session_id !== own && (wished?.has(id) ?? true) && !(this.#isWithoutSound && kind === 'audio'))
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
    const fallback = this.#session.link?.fallback ?? 'off'
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
    const connectivity = this.#session.link?.connectivity
    if (this.#session.link?.fallback === 'on') return 'voice-only'
    if (connectivity === 'connected' || connectivity === 'new') return 'connected'
    return this.#wasConnected ? 'reconnecting' : 'connecting'
  }
}

import type { PasserelleError } from './errors.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { LinkHost, MediaLink } from './media_link.js'
import { ConnectionWatch, Pacing, candidateFromWire, candidateToWire, type Connectivity } from './peer_connection.js'
import { PerfectNegotiation } from './perfect_negotiation.js'
import { DETAILED_SOUND, withSoundFormats, type SoundFormat } from './sound_format.js'
import type { MediaPeer, PeerJoined, PeerLeft, PublishedMedia, ServerCandidate, ServerDescription } from './wire.js'

/** An offer without an answer for this long is made again. */
const ANSWER_MS = 10_000
/** What each of three receivers gets of a camera: a home line carries three of them. */
const MAX_VIDEO_BPS = 800_000

/** Media from browser to browser (engine p2p): one peer connection to each other session. */
export class PeerLink implements MediaLink {
  readonly #host: LinkHost
  readonly #sessionId: string
  readonly #peers = new Map<string, Peer>()
  #configuration: RTCConfiguration

  constructor(host: LinkHost, sessionId: string, configuration: RTCConfiguration, peers: readonly MediaPeer[]) {
    this.#host = host
    this.#sessionId = sessionId
    this.#configuration = configuration
    for (const peer of peers) this.#join(peer, true)
  }

  /** From browser to browser: no server may hear. */
  readonly fallback = 'off'
  readonly voiceBytes = 0

  remoteTracksChanged(): void {
    // Peers say themselves what they send.
  }

  receiveVoice(): void {
    // None is asked for.
  }

  get connectivity(): Connectivity {
    const all = [...this.#peers.values()].map((peer) => peer.connectivity)
    for (const worst of ['interrupted', 'connecting', 'connected'] as const) if (all.includes(worst)) return worst
    return 'new'
  }

  localTracksChanged(): void {
    for (const peer of this.#peers.values()) peer.localTracksChanged()
  }

  async replaceTrack(track: PublishedLocalTrack): Promise<void> {
    await Promise.all([...this.#peers.values()].map((peer) => peer.replaceTrack(track)))
  }

  async sizesChanged(): Promise<void> {
    // One size each: a consultation has few pictures, and the browsers fit them to the line.
  }

  receive(event: string, payload: unknown): void {
    switch (event) {
      case 'media_description':
      case 'media_candidate': {
        const message = payload as ServerDescription | ServerCandidate
        const peer = this.#peers.get(message.from ?? '')
        if (peer === undefined) return // it left while this was under way
        if ('description' in message) void peer.receiveDescription(message)
        else void peer.receiveCandidate(message)
        return
      }
      case 'media_peer_joined':
        return this.#join((payload as PeerJoined).peer, false)
      case 'media_peer_left':
        return this.#leave((payload as PeerLeft).peer_session_id)
    }
  }

  closedByServer(): void {
    // Between browsers the server holds no peer connection that it could give up.
  }

  refused(event: string, _payload: object, error: PasserelleError): void {
    if (event === 'media_description') this.#host.refusedTracks(error)
  }

  suspend(): void {
    // Media need no signaling while they flow; what is to be said waits.
  }

  resume(): void {
    for (const peer of this.#peers.values()) peer.resume()
  }

  suspect(): void {
    for (const peer of this.#peers.values()) peer.suspect()
  }

  peerConnections(): { pc: string; connection: RTCPeerConnection }[] {
    return [...this.#peers].map(([session, peer]) => ({ pc: `peer ${session}`, connection: peer.connection }))
  }

  close(): void {
    for (const peer of this.#peers.values()) peer.close()
    this.#peers.clear()
  }

  /** `offersFirst`: we are the newcomer of the two. */
  #join(peer: MediaPeer, offersFirst: boolean): void {
    this.#peers.get(peer.session_id)?.close()
    const joined = new Peer(peer, this.#configuration, offersFirst, {
      log: this.#host.log,
      localTracks: this.#host.localTracks,
      isWithoutSound: this.#host.isWithoutSound,
      isSoundDetailed: this.#host.isSoundDetailed,
      beginAnew: this.#host.beginAnew,
      signal: (event, payload) =>
        this.#host.signal(event, { session_id: this.#sessionId, pc: 'peer', to: peer.session_id, ...payload }),
      received: () => this.#received(),
      changed: () => this.#host.changed(),
    })
    this.#peers.set(peer.session_id, joined)
    this.#host.changed()
  }

  #leave(sessionId: string): void {
    this.#peers.get(sessionId)?.close()
    this.#peers.delete(sessionId)
    this.#received()
    this.#host.changed()
  }

  #received(): void {
    this.#host.received(new Map([...this.#peers.values()].flatMap((peer) => [...peer.received])))
  }
}

interface PeerHost extends Pick<LinkHost, 'log' | 'localTracks' | 'isWithoutSound' | 'isSoundDetailed' | 'beginAnew' | 'changed'> {
  signal: (event: string, payload: object) => void
  received: () => void
}

/** Restarts of ICE on a connection that never stood, after which the session begins anew. */
const MAX_RESTARTS = 2

/**
 * The connection to one other browser. Broken, it restarts ICE.
 *
 * The newcomer makes the first offer, and the other waits for it: later offers may cross, but a first
 * one that is taken back leaves Chromium (156) without candidates.
 */
class Peer {
  readonly connection: RTCPeerConnection
  /** Track id → what arrives. */
  received: ReadonlyMap<string, MediaStreamTrack> = new Map()
  readonly #host: PeerHost
  readonly #negotiation: PerfectNegotiation
  readonly #senders = new Map<PublishedLocalTrack, RTCRtpSender>()
  readonly #streams = { person: new MediaStream(), screen: new MediaStream() }
  readonly #pacing = new Pacing()
  #watch: ConnectionWatch
  #isOpen: boolean
  #wasConnected = false
  #wasWithoutSound = false
  #wasSoundDetailed: boolean
  #restarts = 0
  readonly #polite: boolean
  #restartTimer: ReturnType<typeof setTimeout> | undefined
  readonly #answerTimer: ReturnType<typeof setInterval>

  constructor(peer: MediaPeer, configuration: RTCConfiguration, offersFirst: boolean, host: PeerHost) {
    this.#host = host
    this.#isOpen = offersFirst
    this.#polite = peer.polite
    this.#wasSoundDetailed = host.isSoundDetailed()
    this.connection = new RTCPeerConnection(configuration)
    this.#negotiation = new PerfectNegotiation(this.connection, {
      polite: peer.polite,
      read: (description) => this.#asWanted(description),
      answering: () => this.#directSound(),
      send: (negotiation, { type, sdp }) =>
        host.signal('media_description', { negotiation, description: { type, sdp }, media: this.#media() }),
    })
    this.connection.addEventListener('negotiationneeded', () => this.#negotiate())
    this.connection.addEventListener('icecandidate', ({ candidate }) =>
      host.signal('media_candidate', { candidate: candidateToWire(candidate) }),
    )
    this.#watch = this.#newWatch()
    this.#answerTimer = setInterval(() => this.#negotiation.isWaiting && this.#negotiate(), ANSWER_MS)
    if (!offersFirst) return
    this.localTracksChanged()
    // Who sends nothing offers to receive.
    if (this.#senders.size === 0) for (const kind of host.isWithoutSound() ? ['video'] : ['audio', 'video']) this.connection.addTransceiver(kind, { direction: 'recvonly' })
  }

  get connectivity(): Connectivity {
    return this.#watch.connectivity
  }

  localTracksChanged(): void {
    if (!this.#isOpen) return // with the first offer
    const tracks = this.#host.localTracks()
    for (const [track, sender] of this.#senders) {
      if (tracks.includes(track)) continue
      this.connection.removeTrack(sender)
      this.#senders.delete(track)
    }
    this.#directSound()
    for (const track of tracks) {
      if (this.#senders.has(track)) continue
      const isScreen = track.source === 'screen' || track.source === 'screen_audio'
      const sender = this.connection.addTrack(track.mediaStreamTrack, isScreen ? this.#streams.screen : this.#streams.person)
      this.#senders.set(track, sender)
      if (track.kind === 'video') void this.#bound(sender)
    }
    if (this.#wasSoundDetailed === this.#host.isSoundDetailed()) return
    this.#wasSoundDetailed = !this.#wasSoundDetailed
    this.#negotiate()
  }

  #asWanted({ type, sdp }: RTCSessionDescriptionInit): RTCSessionDescriptionInit {
    const isDetailed = this.#host.isSoundDetailed()
    const bySender = new Map([...this.#senders].map(([track, sender]) => [sender, track]))
    const formats = new Map<string, SoundFormat>()
    // Into which line of the other's offer our voice will go is not known yet.
    if (isDetailed) for (const [, mid] of (sdp ?? '').matchAll(/^a=mid:(\S+)/gm)) formats.set(mid ?? '', DETAILED_SOUND)
    for (const { mid, sender } of this.connection.getTransceivers()) {
      const format = bySender.get(sender)?.soundFormat(isDetailed) ?? null
      if (mid !== null && format !== null) formats.set(mid, format)
    }
    return { type, sdp: withSoundFormats(sdp ?? '', formats) }
  }

  /** A device without sound takes none, and takes it again when it has sound. */
  #directSound(): void {
    const isWithout = this.#host.isWithoutSound()
    if (!isWithout && !this.#wasWithoutSound) return
    this.#wasWithoutSound = isWithout
    for (const transceiver of this.connection.getTransceivers()) {
      if (transceiver.receiver.track.kind !== 'audio' || transceiver.currentDirection === 'stopped') continue
      if (isWithout) transceiver.direction = 'inactive'
      else if (transceiver.direction === 'inactive') transceiver.direction = 'recvonly'
    }
  }

  async replaceTrack(track: PublishedLocalTrack): Promise<void> {
    await this.#senders.get(track)?.replaceTrack(track.mediaStreamTrack)
  }

  async receiveDescription({ negotiation, description, media }: ServerDescription): Promise<void> {
    if (description.type === 'rollback') return
    if (!this.#isOpen && description.type === 'offer') {
      // Before it is applied, so that our tracks go into its m-lines.
      this.#isOpen = true
      this.localTracksChanged()
    }
    try {
      const outcome = await this.#negotiation.receiveDescription(negotiation, { type: description.type, sdp: description.sdp ?? '' })
      if (outcome === 'ignored') return
    } catch (error) {
      this.#host.log.warn('description not taken', String(error))
      return
    }
    this.#watch.expectConnection()
    const byMid = new Map(this.connection.getTransceivers().map(({ mid, receiver }) => [mid, receiver.track]))
    this.received = new Map(
      (media ?? []).flatMap(({ mid, track_id }) => {
        const track = byMid.get(mid)
        return track === undefined || (this.#wasWithoutSound && track.kind === 'audio') ? [] : [[track_id, track] as const]
      }),
    )
    this.#host.received()
    this.#host.changed()
  }

  async receiveCandidate({ candidate }: ServerCandidate): Promise<void> {
    try {
      await this.#negotiation.receiveCandidate(candidate === null ? null : candidateFromWire(candidate))
    } catch (error) {
      this.#host.log.debug('candidate not taken', String(error))
    }
  }

  /** Signaling came back: what was under way may be lost. */
  resume(): void {
    if (this.#negotiation.isWaiting) this.#negotiate()
    this.suspect()
  }

  suspect(): void {
    this.#watch.suspect()
  }

  close(): void {
    clearTimeout(this.#restartTimer)
    clearInterval(this.#answerTimer)
    this.#watch.close()
    this.connection.close()
  }

  #negotiate(): void {
    this.#negotiation.negotiate().catch((error: unknown) => {
      if (this.connection.signalingState !== 'closed') this.#host.log.warn('no offer', String(error))
    })
  }

  #newWatch(): ConnectionWatch {
    return new ConnectionWatch(this.connection, {
      changed: () => {
        this.#wasConnected ||= this.connection.connectionState === 'connected'
        this.#host.changed()
      },
      broken: (why) => this.#restart(why),
    })
  }

  #restart(why: string): void {
    this.#host.log.debug('ICE restarts', why)
    this.#restarts += 1
    if (!this.#wasConnected && this.#restarts > MAX_RESTARTS && this.#polite) {
      this.#host.beginAnew()
      return
    }
    clearTimeout(this.#restartTimer)
    this.#restartTimer = setTimeout(() => {
      this.#watch.close()
      this.#watch = this.#newWatch()
      this.#watch.expectConnection()
      this.connection.restartIce()
    }, this.#pacing.nextDelayMs(Date.now()))
  }

  async #bound(sender: RTCRtpSender): Promise<void> {
    const parameters = sender.getParameters()
    for (const encoding of parameters.encodings) encoding.maxBitrate = MAX_VIDEO_BPS
    try {
      await sender.setParameters(parameters)
    } catch (error) {
      // Before the first negotiation some browsers refuse; then theirs is the bound.
      this.#host.log.debug('bitrate not bounded', String(error))
    }
  }

  /** What our description sends. */
  #media(): PublishedMedia[] {
    const bySender = new Map([...this.#senders].map(([track, sender]) => [sender, track]))
    return this.connection.getTransceivers().flatMap(({ mid, sender, direction }) => {
      const track = bySender.get(sender)
      if (mid === null || track === undefined || !direction.startsWith('send')) return []
      return [{ mid, track_id: track.id, source: track.source, muted: track.muted }]
    })
  }
}

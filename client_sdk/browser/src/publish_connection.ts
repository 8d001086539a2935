import type { PublishedLocalTrack } from './local_track.js'
import type { LinkHost } from './media_link.js'
import { ConnectionWatch, FALLEN_BACK_PAUSE_MS, Pacing, candidateFromWire, candidateToWire, type Connectivity } from './peer_connection.js'
import { withSoundFormats } from './sound_format.js'
import type { Candidate, PublishedMedia, SessionDescription } from './wire.js'

/** Longest wait for the answer to an offer, while there is a signaling connection. */
const ANSWER_MS = 8_000

/** The wait for an answer ended without one; there is a reason to offer again, or to begin anew. */
class NoAnswer extends Error {
  readonly begin: 'again' | 'anew'

  constructor(begin: 'again' | 'anew') {
    super('no answer')
    this.begin = begin
  }
}

interface Waiting {
  negotiation: number
  resolve: (answer: SessionDescription) => void
  reject: (why: Error) => void
}

interface Line {
  transceiver: RTCRtpTransceiver
  /** null: the line is idle, and the next track of its kind with as many layers takes it. */
  track: PublishedLocalTrack | null
  kind: 'audio' | 'video'
  layers: number
  /** How many of them anybody looks at, as the server said last. */
  wanted: number
}

/** The peer connection over which we offer what we send (engines sfu and janus). One negotiation at a
 * time. Broken, it is replaced by a fresh one with the same tracks: the server has no ICE restart. */
export class PublishConnection {
  readonly #host: LinkHost
  readonly #sessionId: string
  readonly #pacing = new Pacing()
  #pc: RTCPeerConnection | null = null
  #watch: ConnectionWatch | null = null
  #lines: Line[] = []
  #negotiation = 0
  #waiting: Waiting | null = null
  /** Rises when the connection is dropped. */
  #generation = 0
  #isRunning = false
  #isWanted = false
  #isStale = false
  #isSuspended = false
  #isClosed = false
  #rebuildTimer: ReturnType<typeof setTimeout> | undefined
  /** Candidates of ours that came before their offer went out; null: send at once. */
  #early: (Candidate | null)[] | null = []
  /** Sizes are set one after the other: a sender takes parameters only as it gave them last. */
  #sizing: Promise<void> = Promise.resolve()
  /** Candidates of the server that came before its answer. */
  #remoteEarly: RTCIceCandidateInit[] = []

  constructor(host: LinkHost, sessionId: string) {
    this.#host = host
    this.#sessionId = sessionId
  }

  get connection(): RTCPeerConnection | null {
    return this.#pc
  }

  get connectivity(): Connectivity {
    if (this.#host.localTracks().length === 0) return 'new'
    if (this.#isStale) return 'interrupted'
    const connectivity = this.#watch?.connectivity ?? 'connecting'
    return connectivity === 'new' ? 'connecting' : connectivity
  }

  /** The tracks to send changed: negotiate. */
  update(): void {
    this.#isWanted = true
    void this.#run()
  }

  async replaceTrack(track: PublishedLocalTrack): Promise<void> {
    const line = this.#lines.find((each) => each.track === track)
    await line?.transceiver.sender.replaceTrack(track.mediaStreamTrack)
  }

  /** Our cameras go up in all their layers, or in the smallest alone; nothing is negotiated. */
  async sizesChanged(): Promise<void> {
    await Promise.all(this.#lines.filter(({ layers }) => layers > 1).map((line) => this.#setSizes(line)))
  }

  /** Of a picture of ours anybody looks at so many layers, counted from the smallest; nothing is negotiated. */
  async layersWanted(trackId: string, layers: number): Promise<void> {
    const line = this.#lines.find(({ track, kind }) => track?.id === trackId && kind === 'video')
    if (line === undefined || line.wanted === layers) return
    line.wanted = layers
    await this.#setSizes(line)
  }

  #setSizes(line: Line): Promise<void> {
    const set = async () => {
      const { sender } = line.transceiver
      const parameters = sender.getParameters()
      const small = line.layers > 1 && this.#host.sendsSmall()
      for (const [index, encoding] of parameters.encodings.entries()) encoding.active = index < (small ? Math.min(1, line.wanted) : line.wanted)
      await sender.setParameters(parameters)
    }
    const done = this.#sizing.then(set)
    this.#sizing = done.catch(() => undefined)
    return done
  }

  receiveAnswer(negotiation: number, answer: SessionDescription): void {
    if (this.#waiting?.negotiation === negotiation) this.#waiting.resolve(answer)
  }

  async receiveCandidate(candidate: Candidate | null): Promise<void> {
    if (candidate === null) return
    const init = candidateFromWire(candidate)
    if (this.#pc?.remoteDescription) await this.#pc.addIceCandidate(init)
    else this.#remoteEarly.push(init)
  }

  /** A fresh connection with the same tracks. */
  rebuild(why: string): void {
    if (this.#isClosed || this.#isStale) return
    this.#host.log.debug('publish connection to be rebuilt', why)
    this.#isStale = true
    this.#host.changed()
    this.#rebuildTimer = setTimeout(() => this.#beginAnew(), this.#pacing.nextDelayMs(Date.now(), this.#host.isFallenBack() ? FALLEN_BACK_PAUSE_MS : undefined))
  }

  /** The server refused our offer. */
  refused(): void {
    this.#waiting?.reject(new NoAnswer('anew'))
  }

  suspend(): void {
    this.#isSuspended = true
  }

  /** `wanted`: how many layers of our pictures anybody looks at, of those that are not named all. */
  resume(wanted: ReadonlyMap<string, number>): void {
    this.#isSuspended = false
    if (this.#isStale) this.#beginAnew()
    else {
      // The answer may have been lost with the connection.
      this.#waiting?.reject(new NoAnswer('again'))
      this.#wantLayers(wanted).catch((error: unknown) => this.#host.log.warn('layers not set', String(error)))
      this.suspect()
    }
  }

  /** What the server said of layers meanwhile was lost with the connection. */
  async #wantLayers(wanted: ReadonlyMap<string, number>): Promise<void> {
    const changed = this.#lines.filter((line) => {
      const now = wanted.get(line.track?.id ?? '') ?? line.layers
      const isOther = line.kind === 'video' && line.wanted !== now
      if (isOther) line.wanted = now
      return isOther
    })
    await Promise.all(changed.map((line) => this.#setSizes(line)))
  }

  /** The network may have changed. */
  suspect(): void {
    if (this.#isStale) this.#beginAnew() // rather than later
    this.#watch?.suspect()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#rebuildTimer)
    this.#waiting?.reject(new NoAnswer('anew'))
    this.#drop()
  }

  // --- negotiation ----------------------------------------------------------------------------

  async #run(): Promise<void> {
    if (this.#isRunning) return
    this.#isRunning = true
    while (this.#isWanted && !this.#isClosed && !this.#isStale) {
      this.#isWanted = false
      const generation = this.#generation
      try {
        await this.#negotiate()
      } catch (error) {
        if (error instanceof NoAnswer && error.begin === 'again') this.#isWanted = true
        // Of a connection that was replaced meanwhile nothing else is to be expected.
        else if (generation === this.#generation) this.rebuild(String(error))
      }
    }
    this.#isRunning = false
  }

  async #negotiate(): Promise<void> {
    const tracks = this.#host.localTracks()
    if (this.#pc === null && tracks.length === 0) return
    const pc = this.#pc ?? (await this.#create())
    await this.#assign(pc, tracks)
    const offer = await pc.createOffer()
    await pc.setLocalDescription(offer)
    if (this.#pc !== pc) return
    const negotiation = (this.#negotiation += 1)
    this.#signal('media_description', {
      negotiation,
      description: { type: 'offer', sdp: pc.localDescription?.sdp ?? '' },
      media: this.#media(),
    })
    this.#sendEarlyCandidates()
    const answer = await this.#answerTo(negotiation)
    if (this.#pc !== pc) return
    this.#watch?.expectConnection()
    await pc.setRemoteDescription({ type: 'answer', sdp: this.#asWanted(answer.sdp ?? '') })
    for (const candidate of this.#remoteEarly.splice(0)) await pc.addIceCandidate(candidate)
  }

  #asWanted(answer: string): string {
    const formats = this.#lines.flatMap(({ track, transceiver: { mid } }) => {
      const format = track?.soundFormat(this.#host.isSoundDetailed()) ?? null
      return format === null || mid === null ? [] : [[mid, format] as const]
    })
    return withSoundFormats(answer, new Map(formats))
  }

  async #create(): Promise<RTCPeerConnection> {
    const pc = new RTCPeerConnection(await this.#host.configuration())
    if (this.#isClosed) {
      pc.close()
      throw new NoAnswer('anew')
    }
    this.#pc = pc
    this.#early = []
    pc.addEventListener('icecandidate', ({ candidate }) => this.#pc === pc && this.#trickle(candidateToWire(candidate)))
    this.#watch = new ConnectionWatch(pc, {
      changed: () => this.#host.changed(),
      broken: (why) => this.rebuild(why),
      doubtful: () => this.#host.doubtful(),
      isSuspended: () => this.#isSuspended,
      expectsPackets: () => this.#lines.some(({ track }) => track !== null && !track.muted),
    })
    return pc
  }

  /** Every track on a line: kept, on an idle one, or on a new one. */
  async #assign(pc: RTCPeerConnection, tracks: readonly PublishedLocalTrack[]): Promise<void> {
    for (const line of this.#lines) {
      if (line.track === null || tracks.includes(line.track)) continue
      line.track = null
      line.transceiver.direction = 'inactive'
      await line.transceiver.sender.replaceTrack(null)
    }
    for (const track of tracks) {
      if (this.#lines.some((line) => line.track === track)) continue
      const idle = this.#lines.find((line) => line.track === null && line.kind === track.kind && line.layers === track.encodings(false).length)
      if (idle === undefined) {
        const sendEncodings = track.encodings(this.#host.sendsSmall())
        const transceiver = pc.addTransceiver(track.mediaStreamTrack, { direction: 'sendonly', sendEncodings })
        this.#lines.push({ transceiver, track, kind: track.kind, layers: sendEncodings.length, wanted: sendEncodings.length })
      } else {
        idle.track = track
        idle.transceiver.direction = 'sendonly'
        if (idle.wanted !== idle.layers) {
          idle.wanted = idle.layers
          await this.#setSizes(idle)
        }
        await idle.transceiver.sender.replaceTrack(track.mediaStreamTrack)
      }
    }
  }

  #media(): PublishedMedia[] {
    return this.#lines.flatMap(({ transceiver: { mid }, track }) =>
      mid === null || track === null ? [] : [{ mid, track_id: track.id, source: track.source, muted: track.muted }],
    )
  }

  #answerTo(negotiation: number): Promise<SessionDescription> {
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => {
        // Without a signaling connection no answer can come: what is lost is asked for on return.
        if (!this.#isSuspended) reject(new NoAnswer('anew'))
      }, ANSWER_MS)
      const done = () => {
        clearInterval(timer)
        if (this.#waiting?.negotiation === negotiation) this.#waiting = null
      }
      this.#waiting = {
        negotiation,
        resolve: (answer) => (done(), resolve(answer)),
        reject: (why) => (done(), reject(why)),
      }
    })
  }

  // --- candidates and rebuilding --------------------------------------------------------------

  #trickle(candidate: Candidate | null): void {
    if (this.#early === null) this.#signal('media_candidate', { candidate })
    else this.#early.push(candidate)
  }

  #sendEarlyCandidates(): void {
    const early = this.#early ?? []
    this.#early = null
    for (const candidate of early) this.#signal('media_candidate', { candidate })
  }

  #beginAnew(): void {
    clearTimeout(this.#rebuildTimer)
    if (this.#isClosed || this.#isSuspended) return // resume() comes back to it
    this.#isStale = false
    this.#signal('media_rebuild', {})
    this.#waiting?.reject(new NoAnswer('again'))
    this.#drop()
    this.update()
  }

  #drop(): void {
    this.#generation += 1
    this.#watch?.close()
    this.#watch = null
    this.#pc?.close()
    this.#pc = null
    this.#lines = []
    this.#remoteEarly = []
    this.#early = []
  }

  #signal(event: string, payload: object): void {
    this.#host.signal(event, { session_id: this.#sessionId, pc: 'publish', ...payload })
  }
}

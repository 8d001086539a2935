import type { LinkHost } from './media_link.js'
import { ConnectionWatch, FALLEN_BACK_PAUSE_MS, Pacing, candidateFromWire, candidateToWire, type Connectivity } from './peer_connection.js'
import { IN_STEREO, linesInStereo, withSoundFormats } from './sound_format.js'
import type { Candidate, ServerDescription, SubscribedMedia } from './wire.js'

/** Longest wait for the server's offer after a rebuild, while there is something to receive. */
const OFFER_MS = 5_000

/** The peer connection over which the server offers what we receive (engines sfu and janus). Offers
 * are answered one after the other; one with another origin (RFC 8866 section 5.2, `o=`) is of a
 * fresh connection. */
export class SubscribeConnection {
  readonly #host: LinkHost
  readonly #sessionId: string
  readonly #pacing = new Pacing()
  #pc: RTCPeerConnection | null = null
  #watch: ConnectionWatch | null = null
  #origin: string | null = null
  #answered = 0
  #queue: Promise<unknown> = Promise.resolve()
  #earlyCandidates: RTCIceCandidateInit[] = []
  #isStale = false
  #isSuspended = false
  #isClosed = false
  #rebuildTimer: ReturnType<typeof setTimeout> | undefined

  constructor(host: LinkHost, sessionId: string) {
    this.#host = host
    this.#sessionId = sessionId
  }

  get connection(): RTCPeerConnection | null {
    return this.#pc
  }

  get connectivity(): Connectivity {
    if (this.#isStale) return 'interrupted'
    if (this.#watch !== null) return this.#watch.connectivity === 'new' ? 'connecting' : this.#watch.connectivity
    return this.#host.expectsRemoteMedia() ? 'connecting' : 'new'
  }

  receiveOffer(offer: ServerDescription): void {
    this.#queue = this.#queue
      .then(() => this.#answer(offer))
      .catch((error: unknown) => {
        this.#host.log.warn('offer not answered', String(error))
        this.rebuild('offer not answered')
      })
  }

  async receiveCandidate(candidate: Candidate | null): Promise<void> {
    if (candidate === null) return
    const init = candidateFromWire(candidate)
    if (this.#pc?.remoteDescription) await this.#pc.addIceCandidate(init)
    else this.#earlyCandidates.push(init)
  }

  /** Ask for a fresh connection. The tracks stay: the new one's take their place. */
  rebuild(why: string): void {
    if (this.#isClosed || this.#isStale) return
    this.#host.log.debug('subscribe connection to be rebuilt', why)
    this.#isStale = true
    this.#watch?.close()
    this.#host.changed()
    this.#rebuildTimer = setTimeout(() => this.#ask(), this.#pacing.nextDelayMs(Date.now(), this.#host.isFallenBack() ? FALLEN_BACK_PAUSE_MS : undefined))
  }

  suspend(): void {
    this.#isSuspended = true
  }

  resume(): void {
    this.#isSuspended = false
    if (this.#isStale) this.#ask()
    else this.suspect()
  }

  /** The network may have changed. */
  suspect(): void {
    if (this.#isStale) this.#ask() // rather than later
    this.#watch?.suspect()
  }

  close(): void {
    this.#isClosed = true
    clearTimeout(this.#rebuildTimer)
    this.#drop()
  }

  async #answer({ negotiation, description, media }: ServerDescription): Promise<void> {
    const sdp = description.sdp ?? ''
    const origin = originOf(sdp)
    if (this.#isClosed || (origin === this.#origin && negotiation < this.#answered)) return
    const pc = origin === this.#origin && this.#pc !== null ? this.#pc : await this.#create(origin)
    if (negotiation === this.#answered && pc.localDescription !== null) {
      this.#send(negotiation, pc.localDescription.sdp) // our answer was lost
      return
    }
    const reused = midsUsedAgain(pc, sdp)
    const inStereo = this.#inStereo(sdp, media ?? [])
    if (reused.size > 0) await agree(pc, withOtherSsrcs(sdp, reused), inStereo)
    await agree(pc, sdp, inStereo)
    for (const candidate of this.#earlyCandidates.splice(0)) await pc.addIceCandidate(candidate)
    if (this.#pc !== pc) return
    this.#answered = negotiation
    this.#send(negotiation, pc.localDescription?.sdp ?? '')
    this.#watch?.expectConnection()
    const byMid = new Map(pc.getTransceivers().map(({ mid, receiver }) => [mid, receiver.track]))
    const received = (media ?? []).flatMap(({ mid, track_id }) => {
      const track = byMid.get(mid)
      return track === undefined ? [] : ([[track_id, track]] as const)
    })
    this.#host.received(new Map(received))
    this.#host.changed()
  }

  /** The lines whose sound comes in two channels. A gateway does not say so, but a screen's does. */
  #inStereo(sdp: string, media: readonly SubscribedMedia[]): Set<string> {
    const screens = new Set(this.#host.remoteTracks().flatMap(({ id, source }) => (source === 'screen_audio' ? [id] : [])))
    return new Set([...linesInStereo(sdp), ...media.flatMap(({ mid, track_id }) => (screens.has(track_id) ? [mid] : []))])
  }

  async #create(origin: string): Promise<RTCPeerConnection> {
    const pc = new RTCPeerConnection(await this.#host.configuration())
    this.#drop()
    if (this.#isClosed) {
      pc.close()
      throw new Error('closed')
    }
    clearTimeout(this.#rebuildTimer)
    this.#isStale = false
    this.#pc = pc
    this.#origin = origin
    pc.addEventListener('icecandidate', ({ candidate }) => {
      if (this.#pc === pc) this.#signal('media_candidate', { candidate: candidateToWire(candidate) })
    })
    this.#watch = new ConnectionWatch(pc, {
      changed: () => this.#host.changed(),
      broken: (why) => this.rebuild(why),
      doubtful: () => this.#host.doubtful(),
      isSuspended: () => this.#isSuspended,
      expectsPackets: () => this.#host.expectsRemoteMedia(),
    })
    return pc
  }

  #ask(): void {
    clearTimeout(this.#rebuildTimer)
    if (this.#isClosed || this.#isSuspended) return // resume() comes back to it
    this.#signal('media_rebuild', {})
    if (this.#host.expectsRemoteMedia()) this.#rebuildTimer = setTimeout(() => this.#ask(), OFFER_MS)
    else {
      // With nothing to receive there is no offer to wait for; one comes with the next track.
      this.#drop()
      this.#isStale = false
      this.#host.changed()
    }
  }

  #drop(): void {
    this.#watch?.close()
    this.#watch = null
    this.#pc?.close()
    this.#pc = null
    this.#origin = null
    this.#answered = 0
  }

  #send(negotiation: number, sdp: string): void {
    this.#signal('media_description', { negotiation, description: { type: 'answer', sdp } })
  }

  #signal(event: string, payload: object): void {
    this.#host.signal(event, { session_id: this.#sessionId, pc: 'subscribe', ...payload })
  }
}

async function agree(pc: RTCPeerConnection, offer: string, inStereo: ReadonlySet<string>): Promise<void> {
  await pc.setRemoteDescription({ type: 'offer', sdp: offer })
  const { sdp } = await pc.createAnswer()
  const formats = new Map([...inStereo].map((mid) => [mid, IN_STEREO] as const))
  await pc.setLocalDescription({ type: 'answer', sdp: withSoundFormats(sdp ?? '', formats) })
}

/**
 * M-lines that were idle and carry something again. Chromium (156) forgets where their pictures go: when
 * a line goes idle its receiving stream is removed with its sink, and a new one with the same SSRC gets
 * none, so frames are decoded and never shown. A moment with other SSRCs, agreed upon with nobody
 * but ourselves, makes it connect them anew.
 */
function midsUsedAgain(pc: RTCPeerConnection, offer: string): Set<string> {
  const idle = new Set(pc.getTransceivers().flatMap(({ mid, currentDirection }) => (mid !== null && currentDirection === 'inactive' ? [mid] : [])))
  return new Set(sectionsOf(offer).flatMap(({ mid, text }) => (mid !== null && idle.has(mid) && /^a=sendonly/m.test(text) ? [mid] : [])))
}

function withOtherSsrcs(offer: string, mids: ReadonlySet<string>): string {
  return sectionsOf(offer)
    .map(({ mid, text }) => {
      if (mid === null || !mids.has(mid)) return text
      const other = (line: string) => line.replace(/\b\d{4,10}\b/g, (ssrc) => String((Number(ssrc) ^ 0x5a5a) >>> 0))
      return text.replace(/^a=ssrc:\d+/gm, other).replace(/^a=ssrc-group:FID .*$/gm, other)
    })
    .join('')
}

/** The description before its m-lines (mid null), then each m-line with its attributes. */
function sectionsOf(sdp: string): { mid: string | null; text: string }[] {
  return sdp.split(/^(?=m=)/m).map((text) => ({ mid: /^a=mid:(\S+)/m.exec(text)?.[1] ?? null, text }))
}

/** The session's id in the line `o=<username> <sess-id> …`. */
function originOf(sdp: string): string {
  return /^o=\S+ (\d+)/m.exec(sdp)?.[1] ?? ''
}

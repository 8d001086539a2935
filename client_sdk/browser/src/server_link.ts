import type { PasserelleError } from './errors.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { LinkHost, MediaLink } from './media_link.js'
import type { Connectivity } from './peer_connection.js'
import { PublishConnection } from './publish_connection.js'
import { SubscribeConnection } from './subscribe_connection.js'
import { VoiceFallback, type FallbackState } from './voice_fallback.js'
import type { LayersWanted, MediaClosed, MediaStarted, ServerCandidate, ServerDescription } from './wire.js'

/** Media by way of a server (engines sfu and janus): two peer connections with one offerer each. */
export class ServerLink implements MediaLink {
  readonly #host: LinkHost
  readonly #publish: PublishConnection
  readonly #subscribe: SubscribeConnection

  readonly #voice: VoiceFallback
  #bySubscribe: ReadonlyMap<string, MediaStreamTrack> = new Map()
  #wasSendingVoice = false

  constructor(host: LinkHost, sessionId: string) {
    this.#host = host
    const within: LinkHost = {
      ...host,
      // Where the way leads nowhere a camera would only come and go for the others.
      localTracks: () => host.localTracks().filter(({ source }) => !this.#voice.isSending || source === 'microphone'),
      isFallenBack: () => this.#voice.state !== 'off',
      received: (tracks) => {
        this.#bySubscribe = tracks
        this.#tellReceived()
      },
      changed: () => {
        this.#watch()
        host.changed()
      },
    }
    this.#voice = new VoiceFallback(host, sessionId, () => this.#voiceChanged())
    this.#publish = new PublishConnection(within, sessionId)
    this.#subscribe = new SubscribeConnection(within, sessionId)
    this.localTracksChanged()
  }

  get fallback(): FallbackState {
    return this.#voice.state
  }

  get voiceBytes(): number {
    return this.#voice.transferredBytes
  }

  receiveVoice(packet: Uint8Array): void {
    this.#voice.receive(packet)
  }

  #watch(): void {
    this.#voice.update(this.#publish.connectivity, this.#subscribe.connectivity)
  }

  #voiceChanged(): void {
    this.#tellReceived()
    // What was not offered for want of a way is now.
    if (this.#wasSendingVoice && !this.#voice.isSending) this.#publish.update()
    this.#wasSendingVoice = this.#voice.isSending
    this.#host.changed()
  }

  #tellReceived(): void {
    this.#host.received(this.#voice.isHearing ? new Map([...this.#bySubscribe, ...this.#voice.received]) : this.#bySubscribe)
  }

  get connectivity(): Connectivity {
    const both = [this.#publish.connectivity, this.#subscribe.connectivity]
    for (const worst of ['interrupted', 'connecting', 'connected'] as const) if (both.includes(worst)) return worst
    return 'new'
  }

  localTracksChanged(): void {
    this.#publish.update()
    this.#voice.localTracksChanged()
    this.#watch()
  }

  /** The room's tracks changed. */
  remoteTracksChanged(): void {
    this.#watch()
  }

  replaceTrack(track: PublishedLocalTrack): Promise<void> {
    this.#voice.localTracksChanged()
    return this.#publish.replaceTrack(track)
  }

  sizesChanged(): Promise<void> {
    return this.#publish.sizesChanged()
  }

  receive(event: string, payload: unknown): void {
    if (event === 'media_description') {
      const message = payload as ServerDescription
      if (message.pc === 'publish') this.#publish.receiveAnswer(message.negotiation, message.description)
      else if (message.pc === 'subscribe') this.#subscribe.receiveOffer(message)
    } else if (event === 'media_layers') {
      const { track_id, layers } = payload as LayersWanted
      this.#publish.layersWanted(track_id, layers).catch((error: unknown) => this.#host.log.warn('layers not set', String(error)))
    } else if (event === 'media_candidate') {
      const { pc, candidate } = payload as ServerCandidate
      const connection = pc === 'publish' ? this.#publish : this.#subscribe
      connection.receiveCandidate(candidate).catch((error: unknown) => this.#host.log.warn('candidate not taken', String(error)))
    }
  }

  closedByServer({ pc, reason }: MediaClosed): void {
    if (pc === 'publish') this.#publish.rebuild(reason)
    else if (pc === 'subscribe') this.#subscribe.rebuild(reason)
  }

  refused(event: string, payload: object, error: PasserelleError): void {
    const ofPublish = 'pc' in payload && payload.pc === 'publish'
    if (event === 'media_fallback') this.#voice.refused(error)
    if (event !== 'media_description') return // a candidate too many, a track already gone
    if (ofPublish) {
      this.#host.refusedTracks(error)
      this.#publish.refused()
    } else this.#subscribe.rebuild(error.code)
  }

  suspend(): void {
    this.#voice.suspend()
    this.#publish.suspend()
    this.#subscribe.suspend()
  }

  resume({ layers }: MediaStarted): void {
    this.#publish.resume(new Map((layers ?? []).map(({ track_id, layers }) => [track_id, layers])))
    this.#subscribe.resume()
    this.#voice.resume()
  }

  suspect(): void {
    this.#publish.suspect()
    this.#subscribe.suspect()
  }

  peerConnections(): { pc: string; connection: RTCPeerConnection }[] {
    const { connection: publish } = this.#publish
    const { connection: subscribe } = this.#subscribe
    return [
      ...(publish === null ? [] : [{ pc: 'publish', connection: publish }]),
      ...(subscribe === null ? [] : [{ pc: 'subscribe', connection: subscribe }]),
    ]
  }

  close(): void {
    this.#voice.close()
    this.#publish.close()
    this.#subscribe.close()
  }
}

import type { PasserelleError } from './errors.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { LinkHost, MediaLink } from './media_link.js'
import type { Connectivity } from './peer_connection.js'
import { PublishConnection } from './publish_connection.js'
import { SubscribeConnection } from './subscribe_connection.js'
import type { MediaClosed, ServerCandidate, ServerDescription } from './wire.js'

/** Media by way of a server (engines sfu and janus): two peer connections with one offerer each. */
export class ServerLink implements MediaLink {
  readonly #host: LinkHost
  readonly #publish: PublishConnection
  readonly #subscribe: SubscribeConnection

  constructor(host: LinkHost, sessionId: string) {
    this.#host = host
    this.#publish = new PublishConnection(host, sessionId)
    this.#subscribe = new SubscribeConnection(host, sessionId)
    this.localTracksChanged()
  }

  get connectivity(): Connectivity {
    const both = [this.#publish.connectivity, this.#subscribe.connectivity]
    for (const worst of ['interrupted', 'connecting', 'connected'] as const) if (both.includes(worst)) return worst
    return 'new'
  }

  localTracksChanged(): void {
    this.#publish.update()
  }

  replaceTrack(track: PublishedLocalTrack): Promise<void> {
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
    if (event !== 'media_description') return // a candidate too many, a track already gone
    if (ofPublish) {
      this.#host.refusedTracks(error)
      this.#publish.refused()
    } else this.#subscribe.rebuild(error.code)
  }

  suspend(): void {
    this.#publish.suspend()
    this.#subscribe.suspend()
  }

  resume(): void {
    this.#publish.resume()
    this.#subscribe.resume()
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
    this.#publish.close()
    this.#subscribe.close()
  }
}

/** What carries a media session, whatever the engine: `Media` knows this contract only. */

import type { PasserelleError } from './errors.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { Log } from './log.js'
import type { Connectivity } from './peer_connection.js'
import type { FallbackState } from './voice_fallback.js'
import type { MediaClosed, MediaStarted, Track } from './wire.js'

/** The signaling connection, as far as media go by it, or ask how it stands. */
export interface SignalingWay {
  /** Media stay away: whether the connection stands is to be found out at once. */
  doubtful: () => void
  /** Whether it is by long polling. */
  isPolling: () => boolean
  sendVoice: (packet: Uint8Array) => void
  /** Whether peer connections led nowhere when this tab tried them last. */
  rememberedFallback: () => boolean
  rememberFallback: (isOn: boolean) => void
}

/** What a link needs of `Media`. */
export interface LinkHost extends SignalingWay {
  readonly log: Log
  /** Our tracks as they are now. */
  localTracks: () => readonly PublishedLocalTrack[]
  /** Whether tracks of others that are not muted ought to reach us. */
  expectsRemoteMedia: () => boolean
  /** Send a signaling message, once, however often the connection is lost. */
  signal: (event: string, payload: object) => void
  /** Configuration for a new peer connection, with credentials that still hold. */
  configuration: () => Promise<RTCConfiguration>
  /** Whether sound is no matter of this device: none is sent, and none wanted. */
  isWithoutSound: () => boolean
  /** Whether our sounds go up in full. */
  isSoundDetailed: () => boolean
  /** Whether our cameras go up in their smallest layer alone. */
  sendsSmall: () => boolean
  /** Track id → what arrives now, all of it. */
  received: (tracks: ReadonlyMap<string, MediaStreamTrack>) => void
  /** The server takes no (further) tracks of ours: those that the room does not have are given up. */
  refusedTracks: (error: PasserelleError) => void
  /** The session leads to nothing: another one. */
  beginAnew: () => void
  /** `connectivity` or `fallback` may have changed. */
  changed: () => void
  /** What others publish, and is wanted. */
  remoteTracks: () => readonly Track[]
  /** Whether peer connections lead nowhere now, and are tried less and less often. */
  isFallenBack: () => boolean
}

export interface MediaLink {
  readonly connectivity: Connectivity
  readonly fallback: FallbackState
  /** Voice that came by the signaling connection. */
  receiveVoice(packet: Uint8Array): void
  /** Bytes of voice by the signaling connection. */
  readonly voiceBytes: number
  /** Tracks of ours came or went. */
  localTracksChanged(): void
  /** The room's tracks changed. */
  remoteTracksChanged(): void
  /** A track of ours goes on with another MediaStreamTrack. */
  replaceTrack(track: PublishedLocalTrack): Promise<void>
  /** `sendsSmall` changed. */
  sizesChanged(): Promise<void>
  receive(event: string, payload: unknown): void
  /** The server gave one of the peer connections up. */
  closedByServer(closed: MediaClosed): void
  /** The server refused a message of ours. */
  refused(event: string, payload: object, error: PasserelleError): void
  /** The signaling connection is gone. Media may flow on. */
  suspend(): void
  /** The session goes on over a new signaling connection. */
  resume(started: MediaStarted): void
  /** The network may have changed. */
  suspect(): void
  peerConnections(): { pc: string; connection: RTCPeerConnection }[]
  close(): void
}

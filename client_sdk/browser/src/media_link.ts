/** What carries a media session, whatever the engine: `Media` knows this contract only. */

import type { PasserelleError } from './errors.js'
import type { PublishedLocalTrack } from './local_track.js'
import type { Log } from './log.js'
import type { Connectivity } from './peer_connection.js'
import type { MediaClosed, MediaStarted } from './wire.js'

/** What a link needs of `Media`. */
export interface LinkHost {
  readonly log: Log
  /** Our tracks as they are now. */
  localTracks: () => readonly PublishedLocalTrack[]
  /** Whether tracks of others that are not muted ought to reach us. */
  expectsRemoteMedia: () => boolean
  /** Send a signaling message, once, however often the connection is lost. */
  signal: (event: string, payload: object) => void
  /** Configuration for a new peer connection, with credentials that still hold. */
  configuration: () => Promise<RTCConfiguration>
  /** Whether our cameras go up in their smallest layer alone. */
  sendsSmall: () => boolean
  /** Track id → what arrives now, all of it. */
  received: (tracks: ReadonlyMap<string, MediaStreamTrack>) => void
  /** The server takes no (further) tracks of ours: those that the room does not have are given up. */
  refusedTracks: (error: PasserelleError) => void
  /** The session leads to nothing: another one. */
  beginAnew: () => void
  /** `connectivity` may have changed. */
  changed: () => void
}

export interface MediaLink {
  readonly connectivity: Connectivity
  /** Tracks of ours came or went. */
  localTracksChanged(): void
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

/** The public surface of the SDK. */

import type * as Y from 'yjs'
import type { Awareness } from 'y-protocols/awareness'
import type { PasserelleError } from './errors.js'
import type { ChatLine, Configure, Permission, RoomView, Track, TrackSource } from './wire.js'

export { PasserelleApi } from './api.js'
export { PasserelleError } from './errors.js'
export type * from './wire.js'

export type ConnectionState = 'connecting' | 'connected' | 'reconnecting' | 'closed'
export interface RoomEvents {
  connection: (state: ConnectionState, transport: 'websocket' | 'polling' | null) => void
  lobby: (state: 'waiting' | 'admitted' | 'denied') => void
  view: (view: RoomView) => void
  chat: (line: ChatLine) => void
  removed: (reason: string) => void
  token: (token: string) => void
  error: (error: PasserelleError) => void
}
export declare class Room {
  constructor(options: { token: string; baseUrl?: string; transports?: ('websocket'|'polling')[]; logLevel?: 'silent'|'warn'|'debug' })
  readonly view: RoomView | null; readonly lobbyState: 'waiting'|'admitted'|'denied'|null; readonly connectionState: ConnectionState
  readonly media: Media
  connect(): Promise<'admitted' | 'waiting'>
  on<K extends keyof RoomEvents>(event: K, listener: RoomEvents[K]): () => void
  can(permission: Permission): boolean
  admit(id: string): Promise<void>; deny(id: string): Promise<void>; remove(id: string): Promise<void>
  setHand(raised: boolean, participantId?: string): Promise<void>; sendChat(text: string): Promise<void>; rename(name: string): Promise<void>
  configure(change: Configure): Promise<void>; muteOther(trackId: string): Promise<void>
  document(name: string, options?: { persist?: boolean }): SharedDocument
  leave(): Promise<void>; close(): void
}
export type SaveState = 'saved' | 'unsaved' | 'offline' | 'loading' | 'refused'
export interface DocumentEvents { state: (state: SaveState, unsavedCount: number) => void; access: (canWrite: boolean) => void; synced: () => void; refused: (code: number, reason: string) => void }
export declare class SharedDocument {
  readonly name: string; readonly doc: Y.Doc; readonly awareness: Awareness
  readonly state: SaveState; readonly unsavedCount: number; readonly canWrite: boolean; readonly synced: boolean
  on<K extends keyof DocumentEvents>(event: K, listener: DocumentEvents[K]): () => void
  whenSynced(): Promise<void>; close(): void
}
export type MediaState = 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'failed'
export interface RemoteTrack { readonly track: Track; readonly mediaStreamTrack: MediaStreamTrack; readonly stream: MediaStream }
export interface MediaEvents {
  state: (state: MediaState) => void
  remoteTrack: (remote: RemoteTrack) => void; remoteTrackEnded: (trackId: string) => void
  localTracks: () => void
  speakers: (participantIds: string[]) => void
  mutedByHost: (trackId: string) => void
}
export interface LocalTrack { readonly id: string; readonly source: TrackSource; readonly mediaStreamTrack: MediaStreamTrack; readonly muted: boolean }
export declare class Media {
  readonly state: MediaState; readonly localTracks: readonly LocalTrack[]; readonly remoteTracks: ReadonlyMap<string, RemoteTrack>; readonly engine: 'p2p'|'sfu'|'janus'|null
  on<K extends keyof MediaEvents>(event: K, listener: MediaEvents[K]): () => void
  start(): Promise<void>
  publish(track: MediaStreamTrack, source: TrackSource, options?: { muted?: boolean }): Promise<LocalTrack>
  replace(id: string, track: MediaStreamTrack): Promise<void>
  unpublish(id: string): Promise<void>; setMuted(id: string, muted: boolean): Promise<void>
  shareScreen(): Promise<LocalTrack[]>
  subscribe(tracks: { track_id: string; max_height?: number }[]): Promise<void>
  peerConnectionStats(): Promise<{ pc: string; report: RTCStatsReport }[]>
  stop(): Promise<void>
}

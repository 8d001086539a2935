/** The public surface of the SDK: what is not exported here may change at any time. */

export { PasserelleApi } from './api.js'
export type { ConnectionState } from './connection.js'
export { SharedDocument, type DocumentEvents, type SaveState } from './document.js'
export { PasserelleError } from './errors.js'
export type { LogLevel } from './log.js'
export { Media, type LocalTrack, type MediaEvents, type MediaState, type RemoteTrack } from './media.js'
export { Room, type RoomEvents, type RoomOptions } from './room.js'
export type { TransportName } from './transport_memory.js'
export type * from './wire.js'

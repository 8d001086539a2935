/** The public surface of the SDK: what is not exported here may change at any time. */

export { PasserelleApi } from './api.js'
export type { ConnectionState } from './connection.js'
export { SharedDocument, type DocumentEvents, type SaveState } from './document.js'
export { PasserelleError } from './errors.js'
export type { LogLevel } from './log.js'
export { Media, type LocalTrack, type MediaEvents, type MediaState, type RemoteTrack } from './media.js'
export { NetworkCheck, type NetworkCheckEvents, type NetworkOutcome, type NetworkReport, type NetworkResult, type NetworkTest } from './network_check.js'
export type { PathProblem } from './network_path.js'
export { bestWay, mustBeOpened, outcomeOf, verdictOf, type MediaWay, type NetworkVerdict } from './network_verdict.js'
export { Room, type RoomEvents, type RoomOptions } from './room.js'
export type { TransportName } from './transport_memory.js'
export type * from './wire.js'

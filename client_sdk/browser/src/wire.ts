/** The generated wire types, and the names of what they only spell out. */

import type { MediaStarted, Participant, RoomEventMessage, RoomSummary, RoomView, Track } from './protocol.gen.js'

export type * from './protocol.gen.js'

export type RoleName = Participant['role']
export type Permission = RoomView['permissions'][number]
export type RoomKind = RoomSummary['kind']
export type TrackSource = Track['source']
export type TrackKind = Track['kind']
export type EngineName = MediaStarted['engine']
export type RoomEvent = RoomEventMessage['event']

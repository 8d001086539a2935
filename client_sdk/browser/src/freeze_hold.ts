/** Between browsers no server can keep anyone silent: while the room is frozen each of us sends nothing, and plays
 * nothing of who is not in charge. With a server's engine the server does it. */

import type { Media } from './media.js'
import type { RoomView } from './wire.js'

type Audible = Pick<Media, 'engine' | 'localTracks' | 'remoteTracks'>

/** Who may let people in is in charge (docs/protocol.md, no adult, no room). */
function isInCharge(view: RoomView, participantId: string): boolean {
  return view.participants.some(({ id, role }) => id === participantId && role === 'host')
}

/** Bring every track in line with the room; call it when the room froze or thawed, and when tracks changed. */
export function holdTracks(media: Audible, view: RoomView, isFrozen: boolean): void {
  if (media.engine !== 'p2p') return
  for (const { mediaStreamTrack, muted } of media.localTracks) {
    mediaStreamTrack.enabled = !muted && (!isFrozen || isInCharge(view, view.self_id))
  }
  for (const { mediaStreamTrack, track } of media.remoteTracks.values()) {
    mediaStreamTrack.enabled = !isFrozen || isInCharge(view, track.participant_id)
  }
}

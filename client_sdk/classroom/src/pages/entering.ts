/** From the first page to the room: the answer of the server becomes a place, and the page goes there. */

import type { Joined, RoomCreated } from '@passerelle/client'
import { keepPlace } from '../places.js'
import { go } from '../router.js'

export function enterJoined(joined: Joined, name: string, invitation: string | null): void {
  enter(joined, { role: joined.role, name, invitation })
}

export function enterCreated(created: RoomCreated, name: string): void {
  enter(created, { role: 'host', name, invitation: null })
}

function enter(
  { room, token, participant_id }: Pick<Joined, 'room' | 'token' | 'participant_id'>,
  who: { role: Joined['role']; name: string; invitation: string | null },
): void {
  keepPlace({
    ...who,
    room: room.id,
    roomName: room.name,
    kind: room.kind,
    token,
    participantId: participant_id,
    wasInside: false,
    canWrite: false,
    at: Date.now(),
  })
  go(`/salle/${room.id}`)
}

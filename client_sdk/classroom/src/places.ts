/** Where this browser has a place: room tokens, kept so that a reload or a restart changes nothing. */

import type { RoleName } from '@passerelle/client'

export interface Place {
  room: string
  roomName: string
  token: string
  participantId: string
  role: RoleName
  name: string
  /** The invitation it came from: whoever comes again by the same link is the same participant. */
  invitation: string | null
  at: number
}

const stored = 'passerelle.places'
const longestList = 12

/** A host's rooms stay on the device; a pupil's shared Chromebook forgets with the tab. */
function storeOf(role: RoleName): Storage {
  return role === 'host' ? localStorage : sessionStorage
}

function read(storage: Storage): Place[] {
  try {
    const list: unknown = JSON.parse(storage.getItem(stored) ?? '[]')
    return Array.isArray(list) ? (list as Place[]) : []
  } catch {
    return [] // another version's, or cut short: it is only a convenience
  }
}

export function places(): Place[] {
  return [...read(sessionStorage), ...read(localStorage)].sort((a, b) => b.at - a.at)
}

export function placeOf(room: string): Place | undefined {
  return places().find((place) => place.room === room)
}

export function keepPlace(place: Place): void {
  const storage = storeOf(place.role)
  const others = read(storage).filter((other) => other.room !== place.room)
  storage.setItem(stored, JSON.stringify([place, ...others].slice(0, longestList)))
}

export function forgetPlace(room: string): void {
  for (const storage of [sessionStorage, localStorage]) {
    storage.setItem(stored, JSON.stringify(read(storage).filter((place) => place.room !== room)))
  }
}

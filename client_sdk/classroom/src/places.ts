/** Where this browser has a place: room tokens, kept so that a reload or a restart changes nothing. */

import type { RoleName, RoomKind } from '@passerelle/client'
import { inTab, onDevice, type Kept } from './keeping.js'

export interface Place {
  room: string
  roomName: string
  kind: RoomKind
  token: string
  participantId: string
  role: RoleName
  name: string
  /** The invitation it came from: whoever comes again by the same link is the same participant. */
  invitation: string | null
  /** Has been let in once: a reload goes straight to the text, which may be all there is offline. */
  wasInside: boolean
  /** The right to write as the server gave it last; for a reload while it cannot be asked. */
  canWrite: boolean
  /** The text that was on screen last; none: the room's first. */
  text?: string
  at: number
}

const stored = 'passerelle.places'
const longestList = 12

/** A host's rooms stay on the device; a pupil's shared Chromebook forgets with the tab. */
function storeOf(role: RoleName): Kept {
  return role === 'host' ? onDevice : inTab
}

/** Whether a place of that role is still there when the page is loaded again. */
export function placeLasts(role: RoleName): boolean {
  return storeOf(role).lasts
}

/** A list as it was kept; one of another version, or cut short, counts as empty: it is a convenience. */
export function readPlaces(kept: string | null): Place[] {
  try {
    const list: unknown = JSON.parse(kept ?? '[]')
    return Array.isArray(list) ? list.filter(isPlace) : []
  } catch {
    return []
  }
}

function isPlace(value: unknown): value is Place {
  const place = value as Partial<Place> | null
  return typeof place?.room === 'string' && typeof place.token === 'string' && typeof place.role === 'string' && typeof place.at === 'number'
}

/** With this place first, and no other one in the same room. */
export function withPlace(list: readonly Place[], place: Place): Place[] {
  return [place, ...list.filter((other) => other.room !== place.room)].slice(0, longestList)
}

export function places(): Place[] {
  return [inTab, onDevice].flatMap((storage) => readPlaces(storage.getItem(stored))).sort((a, b) => b.at - a.at)
}

export function placeOf(room: string): Place | undefined {
  return places().find((place) => place.room === room)
}

export function keepPlace(place: Place): void {
  const storage = storeOf(place.role)
  storage.setItem(stored, JSON.stringify(withPlace(readPlaces(storage.getItem(stored)), place)))
}

export function forgetPlace(room: string): void {
  for (const storage of [inTab, onDevice]) {
    storage.setItem(stored, JSON.stringify(readPlaces(storage.getItem(stored)).filter((place) => place.room !== room)))
  }
}

/** Whether there is a camera and a sound to check first: pupils only write, except alone with a professional. */
export function needsDevices(place: Pick<Place, 'role' | 'kind'>): boolean {
  return place.role === 'pupil' ? place.kind === 'consultation' : place.role !== 'observer'
}

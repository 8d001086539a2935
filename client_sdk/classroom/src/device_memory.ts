/** Which devices were chosen: by this browser, from room to room; and in this tab, for a reload of the room. */

import type { DeviceChoice } from './devices.js'

const stored = 'passerelle.devices'

/** What was used here last; any device where nothing was. */
export function rememberedDevices(): DeviceChoice {
  return { cameraId: '', microphoneId: '', speakerId: '', ...read(localStorage, stored) }
}

/** What was chosen in this tab for that room; null: nothing yet. */
export function choiceFor(room: string): DeviceChoice | null {
  const kept = read(sessionStorage, `${stored}.${room}`)
  return kept === null ? null : { cameraId: '', microphoneId: '', ...kept }
}

/** Without sound is of this room and this tab alone: tomorrow the same device may be the one that everybody hears. */
export function keepChoice(room: string, change: Partial<DeviceChoice>): void {
  const { withoutSound: _, ...devices } = change
  localStorage.setItem(stored, JSON.stringify({ ...rememberedDevices(), ...devices }))
  sessionStorage.setItem(`${stored}.${room}`, JSON.stringify({ ...(choiceFor(room) ?? rememberedDevices()), ...change }))
}

/** A convenience: what cannot be read is nothing. */
function read(storage: Storage, key: string): Partial<DeviceChoice> | null {
  try {
    const kept: unknown = JSON.parse(storage.getItem(key) ?? 'null')
    return typeof kept === 'object' ? kept : null
  } catch {
    return null
  }
}

/** Which devices were chosen: by this browser, from room to room; and in this tab, for a reload of the room. */

import type { DeviceChoice } from './devices.js'
import { inTab, onDevice, type Keeping } from './keeping.js'

const stored = 'passerelle.devices'

/** What was used here last; any device where nothing was. */
export function rememberedDevices(): DeviceChoice {
  return { cameraId: '', microphoneId: '', speakerId: '', ...read(onDevice, stored) }
}

/** What was chosen in this tab for that room; null: nothing yet. */
export function choiceFor(room: string): DeviceChoice | null {
  const kept = read(inTab, `${stored}.${room}`)
  return kept === null ? null : { cameraId: '', microphoneId: '', ...kept }
}

/** Without sound is of this room and this tab alone: tomorrow the same device may be the one that everybody hears. */
export function keepChoice(room: string, change: Partial<DeviceChoice>): void {
  const { withoutSound: _, ...devices } = change
  onDevice.setItem(stored, JSON.stringify({ ...rememberedDevices(), ...devices }))
  inTab.setItem(`${stored}.${room}`, JSON.stringify({ ...(choiceFor(room) ?? rememberedDevices()), ...change }))
}

/** A convenience: what cannot be read is nothing. */
function read(storage: Keeping, key: string): Partial<DeviceChoice> | null {
  try {
    const kept: unknown = JSON.parse(storage.getItem(key) ?? 'null')
    return typeof kept === 'object' ? kept : null
  } catch {
    return null
  }
}

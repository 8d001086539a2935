import { expect, it } from 'vitest'
import { holdTracks } from '../src/freeze_hold.js'
import type { EngineName, RoomView } from '../src/wire.js'

const view = {
  self_id: 'pupil',
  participants: [
    { id: 'pupil', role: 'pupil' },
    { id: 'parent', role: 'guest' },
    { id: 'psy', role: 'host' },
  ],
} as RoomView

function tracks(engine: EngineName) {
  const enabled = () => ({ enabled: true }) as MediaStreamTrack
  const local = [
    { id: 'a', source: 'microphone', mediaStreamTrack: enabled(), muted: false },
    { id: 'b', source: 'camera', mediaStreamTrack: enabled(), muted: true },
  ] as const
  const remote = new Map(['parent', 'psy'].map((participantId) => [participantId, { track: { participant_id: participantId }, mediaStreamTrack: enabled() }]))
  const media = { engine, localTracks: local, remoteTracks: remote } as unknown as Parameters<typeof holdTracks>[0]
  const flags = () => [...local, ...remote.values()].map(({ mediaStreamTrack }) => mediaStreamTrack.enabled)
  return { media, flags }
}

it('between browsers nothing is sent, nor played of others than a host, until the room thaws', () => {
  const { media, flags } = tracks('p2p')
  holdTracks(media, view, true)
  expect(flags()).toEqual([false, false, false, true])
  holdTracks(media, view, false)
  expect(flags()).toEqual([true, false, true, true])
})

it('a host goes on sending, and with a server in between the server decides', () => {
  const { media, flags } = tracks('p2p')
  holdTracks(media, { ...view, self_id: 'psy' }, true)
  expect(flags()).toEqual([true, false, false, true])
  const forwarded = tracks('sfu')
  holdTracks(forwarded.media, view, true)
  expect(forwarded.flags()).toEqual([true, true, true, true])
})

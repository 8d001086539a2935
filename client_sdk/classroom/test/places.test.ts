import { expect, it } from 'vitest'
import { needsDevices, readPlaces, withPlace, type Place } from '../src/places.js'

const place = (room: string, change: Partial<Place> = {}): Place => ({
  room,
  roomName: room,
  kind: 'interclass',
  token: `token-${room}`,
  participantId: 'p',
  role: 'host',
  name: 'Mme Roy',
  invitation: null,
  wasInside: false,
  canWrite: true,
  at: 1,
  ...change,
})

it('a room has one place, the newest, on top', () => {
  const list = withPlace(withPlace(withPlace([], place('a')), place('b')), place('a', { token: 'renewed' }))
  expect(list.map(({ room, token }) => [room, token])).toEqual([
    ['a', 'renewed'],
    ['b', 'token-b'],
  ])
})

it('the list of rooms does not grow without end', () => {
  const list = Array.from({ length: 40 }, (_, at) => place(`r${at}`)).reduce<Place[]>(withPlace, [])
  expect(list).toHaveLength(12)
  expect(list[0]?.room).toBe('r39')
})

it.each([null, '', '{', '"text"', '[1, null, {"room": 3}]'])('what cannot be read (%s) is no place', (kept) => {
  expect(readPlaces(kept)).toEqual([])
})

it('what was kept is read again', () => {
  expect(readPlaces(JSON.stringify([place('a')]))).toEqual([place('a')])
})

it('pupils and observers skip the camera, except a pupil alone with a professional', () => {
  const asked = (role: Place['role'], kind: Place['kind']) => needsDevices({ role, kind })
  expect(asked('host', 'interclass')).toBe(true)
  expect(asked('class', 'interclass')).toBe(true)
  expect(asked('guest', 'consultation')).toBe(true)
  expect(asked('pupil', 'interclass')).toBe(false)
  expect(asked('pupil', 'consultation')).toBe(true)
  expect(asked('observer', 'community')).toBe(false)
})

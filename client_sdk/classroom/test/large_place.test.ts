import { expect, test } from 'vitest'
import { placesOf, projected, type Placed } from '../src/live/large_place.js'

const camera = (id: string, more: Partial<Placed> = {}): Placed => ({
  id,
  ownerId: id,
  isScreen: false,
  isSelf: false,
  isSpeaking: false,
  hasVideo: true,
  joinedAt: 0,
  ...more,
})
const screen = (id: string, ownerId: string) => camera(id, { ownerId, isScreen: true })
const ids = (tiles: readonly Placed[]) => tiles.map(({ id }) => id)

const class1 = camera('class')
const museum = camera('museum')
const self = camera('self', { isSelf: true })
const slides = screen('slides', 'class')
const all = [slides, class1, museum, self]
const ownScreen = camera('mine', { ownerId: 'self', isScreen: true, isSelf: true })

test.each([
  ['nobody', [class1, museum, self], null, null, []],
  ['a screen', all, null, null, ['slides']],
  ['whom the host shows, before a screen', all, null, 'museum', ['museum']],
  ['the screen of whom the host shows', all, null, 'class', ['slides']],
  ['what is pinned, before all of that', all, 'self', 'museum', ['self']],
  ['whom the host shows, when what was pinned is gone', all, 'gone', 'museum', ['museum']],
  ['nobody, when the only screen is one’s own', [class1, ownScreen, self], null, null, []],
  ['another’s screen, beside one’s own', [slides, ownScreen, self], null, null, ['slides']],
  ['one’s own screen, when the host shows oneself', [class1, ownScreen, self], null, 'self', ['mine']],
  ['a screen, when whom the host shows is gone', all, null, 'gone', ['slides']],
] as const)('the large place has %s', (_name, tiles, pinned, spotlight, large) => {
  const places = placesOf(tiles, pinned, spotlight)
  expect(ids(places.large)).toEqual(large)
  expect([...ids(places.large), ...ids(places.others)].sort()).toEqual(ids(tiles).sort())
})

test('a projector shows the large place, else who speaks, and holds on to who spoke last', () => {
  const people = [class1, museum, self]
  const none = placesOf(people, null, null)
  expect(projected(all, placesOf(all, null, null), null)?.id).toBe('slides')
  expect(projected(people, none, null)?.id).toBe('class')
  expect(projected([class1, { ...museum, isSpeaking: true }, self], none, null)?.id).toBe('museum')
  expect(projected(people, none, 'museum')?.id).toBe('museum')
  expect(projected([{ ...class1, hasVideo: false }, museum, self], none, 'class')?.id).toBe('museum')
  expect(projected([self], placesOf([self], null, null), null)?.id).toBe('self')
  expect(projected([], placesOf<Placed>([], null, null), null)).toBeNull()
})

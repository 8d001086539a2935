import type { Participant, RoomView } from '@passerelle/client'
import { expect, it } from 'vitest'
import { emptyMoment, gather, sentenceOf, type MomentWords } from '../src/announcements.js'

const words: MomentWords = {
  arrived: (name) => `${name} est là.`,
  manyArrived: (count) => `${count} sont là.`,
  left: (name) => `${name} est parti.`,
  manyLeft: (count) => `${count} sont partis.`,
  hand: (name) => `${name} lève la main.`,
  manyHands: (count) => `${count} mains.`,
  wrote: (name) => `${name} écrit.`,
  manyWrote: (count) => `${count} messages.`,
  text: (title) => `Texte : ${title}.`,
  manyTexts: (count) => `${count} textes.`,
}

const person = (name: string, hand: number | null = null): Participant => ({
  id: name,
  name,
  role: 'pupil',
  label: '',
  connected: true,
  hand_raised_at: hand,
  joined_at: 0,
})

const view = (...participants: Participant[]): RoomView => ({
  room: { id: 'r', name: 'Les oiseaux', kind: 'interclass' },
  seq: 1,
  self_id: 'moi',
  role: 'host',
  permissions: [],
  settings: { lobby_roles: [], chat_enabled: true, writing_enabled: true },
  participants,
  lobby: [],
  tracks: [],
  chat: [],
  documents: [],
})

function heard(...views: RoomView[]): string {
  const moment = emptyMoment()
  views.slice(1).forEach((after, index) => gather(moment, views[index]!, after))
  return sentenceOf(moment, words)
}

it('thirty pupils who arrive one after the other are announced once', () => {
  const class30 = Array.from({ length: 30 }, (_, index) => person(`p${index}`))
  const views = [view(), ...class30.map((_, index) => view(...class30.slice(0, index + 1)))]
  expect(heard(...views)).toBe('30 sont là.')
})

it('one who arrives, leaves or raises a hand is named', () => {
  expect(heard(view(), view(person('Zoé')))).toBe('Zoé est là.')
  expect(heard(view(person('Zoé')), view())).toBe('Zoé est parti.')
  expect(heard(view(person('Zoé')), view(person('Zoé', 5)))).toBe('Zoé lève la main.')
})

it('a hand that stays up, or goes down, is no news; a second time it is', () => {
  expect(heard(view(person('Zoé', 5)), view(person('Zoé', 5)), view(person('Zoé')))).toBe('')
  expect(heard(view(person('Zoé', 5)), view(person('Zoé')), view(person('Zoé', 9)))).toBe('Zoé lève la main.')
})

it('what oneself does is not announced to oneself', () => {
  expect(heard(view(), view(person('moi')), view(person('moi', 3)))).toBe('')
})

it('a new text is announced by its title, many as a number, and another title of one is no news', () => {
  const text = (title: string, document = title) => ({ document, title, created_at: 0 })
  const withTexts = (...documents: ReturnType<typeof text>[]): RoomView => ({ ...view(), documents })
  expect(heard(view(), withTexts(text('Questions')))).toBe('Texte : Questions.')
  expect(heard(view(), withTexts(text('a')), withTexts(text('a'), text('b')))).toBe('2 textes.')
  expect(heard(withTexts(text('a')), withTexts(text('b', 'a')))).toBe('')
})

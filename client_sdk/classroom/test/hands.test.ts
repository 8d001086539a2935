import type { Participant } from '@passerelle/client'
import { expect, it } from 'vitest'
import { raisedHands } from '../src/live/hands.js'

const person = (id: string, hand: number | null): Participant => ({ id, name: id, role: 'pupil', label: '', connected: true, hand_raised_at: hand, joined_at: 0 })

it('the first hand up is first in the list', () => {
  const people = [person('c', 9), person('a', null), person('b', 2), person('d', 9)]
  expect(raisedHands(people).map(({ id }) => id)).toEqual(['b', 'c', 'd'])
})

import { expect, test } from 'vitest'
import { othersHere } from '../src/live/alone.js'

const person = (id: string, connected = true) => ({ id, name: id.toUpperCase(), connected })

test('nobody else is there: oneself does not count, nor does who has gone', () => {
  expect(othersHere([person('me'), person('zoe', false)], 'me')).toEqual([])
})

test('whoever is there without a picture counts', () => {
  expect(othersHere([person('me'), person('zoe'), person('leo')], 'me').map(({ name }) => name)).toEqual(['ZOE', 'LEO'])
})

import { expect, test } from 'vitest'
import { layoutOf } from '../src/live/picture_layout.js'

const tile = { trackId: 'a', width: 320.4, height: 180.2, isVisible: true }

test('sizes are in device pixels, of what is in sight', () => {
  const hidden = { ...tile, trackId: 'b', isVisible: false }
  const flat = { ...tile, trackId: 'c', height: 0 }
  expect(layoutOf([tile, hidden, flat], 2)).toEqual([{ track_id: 'a', width: 641, height: 360 }])
})

test('a track that is shown twice comes for the larger tile', () => {
  const large = { ...tile, width: 960, height: 540 }
  expect(layoutOf([tile, large, tile], 1)).toEqual([{ track_id: 'a', width: 960, height: 540 }])
})

test('no tile asks for more than the server takes', () => {
  expect(layoutOf([{ ...tile, width: 9_000, height: 5_000 }], 2)).toEqual([{ track_id: 'a', width: 8_192, height: 8_192 }])
})

test('a limit holds for every tile', () => {
  const large = { ...tile, width: 960, height: 540 }
  expect(layoutOf([large], 1, { width: 320, height: 180 })).toEqual([{ track_id: 'a', width: 320, height: 180 }])
})

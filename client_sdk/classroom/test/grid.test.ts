import { describe, expect, test } from 'vitest'
import { bestGrid, orderTiles } from '../src/live/grid.js'

describe('bestGrid', () => {
  test.each([
    [1, 1600, 900, 1],
    [2, 1600, 900, 2],
    [4, 1600, 900, 2],
    [9, 1600, 900, 3],
    [3, 390, 700, 1],
  ])('%i tiles in %i x %i stand in %i columns', (count, width, height, columns) => {
    expect(bestGrid(count, width, height).columns).toBe(columns)
  })

  test('every tile fits, however many and whatever the space', () => {
    for (let count = 1; count <= 40; count += 1) {
      for (const [width, height] of [
        [390, 844],
        [1366, 768],
        [1920, 1080],
        [700, 200],
      ] as const) {
        const grid = bestGrid(count, width, height)
        expect(grid.columns * grid.rows).toBeGreaterThanOrEqual(count)
        expect(grid.columns * grid.tileWidth + 12 * (grid.columns - 1)).toBeLessThanOrEqual(width)
        expect((grid.rows * grid.tileWidth * 9) / 16 + 12 * (grid.rows - 1)).toBeLessThanOrEqual(height + 1)
      }
    }
  })

  test('no tile at all is no error', () => {
    expect(bestGrid(0, 800, 600).columns).toBe(1)
  })
})

describe('orderTiles', () => {
  const tile = { id: 'a', isScreen: false, isSelf: false, isSpeaking: false, hasVideo: true, joinedAt: 1 }

  test('a screen comes first, oneself last', () => {
    const tiles = [
      { ...tile, id: 'self', isSelf: true, joinedAt: 0 },
      { ...tile, id: 'class', joinedAt: 2 },
      { ...tile, id: 'screen', isScreen: true, joinedAt: 3 },
    ]
    expect(orderTiles(tiles).map(({ id }) => id)).toEqual(['screen', 'class', 'self'])
  })

  test('who speaks does not jump', () => {
    const tiles = [
      { ...tile, id: 'first', joinedAt: 1 },
      { ...tile, id: 'second', joinedAt: 2, isSpeaking: true },
    ]
    expect(orderTiles(tiles).map(({ id }) => id)).toEqual(['first', 'second'])
  })
})

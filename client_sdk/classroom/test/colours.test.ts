import { expect, test } from 'vitest'
import { colourOf } from '../src/live/colours.js'

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const channel = parseInt(hex.slice(at, at + 2), 16) / 255
    return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4
  }) as [number, number, number]
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}

test('a name in white reads on every cursor colour (WCAG 1.4.3)', () => {
  const colours = new Set(Array.from({ length: 500 }, (_, number) => colourOf(`participant-${number}`)))
  expect(colours.size).toBeGreaterThan(8)
  for (const colour of colours) expect(1.05 / (luminance(colour) + 0.05), colour).toBeGreaterThan(4.5)
})

test('a person keeps their colour', () => {
  expect(colourOf('x1')).toBe(colourOf('x1'))
})

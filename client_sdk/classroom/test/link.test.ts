import { expect, it } from 'vitest'
import { linkOf } from '../src/live/link.js'

it.each([
  ['  ', null],
  ['biodome.ca', 'https://biodome.ca/'],
  ['http://biodome.ca/huard', 'http://biodome.ca/huard'],
  ['HTTPS://biodome.ca', 'https://biodome.ca/'],
  ['marie@musee.ca', 'mailto:marie@musee.ca'],
  ['le huard', null],
])('%j leads to %j', (typed, expected) => {
  expect(linkOf(typed)).toBe(expected)
})

it.each(['javascript:alert(1)', 'data:text/html,x', 'vbscript:x', '\u0001javascript:alert(1)', 'file:///etc/passwd'])('%j runs nothing', (typed) => {
  const href = linkOf(typed)
  expect(href === null || /^(https?|mailto):/.test(href)).toBe(true)
})

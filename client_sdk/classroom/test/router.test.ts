import { expect, test, vi } from 'vitest'

vi.stubGlobal('location', { pathname: '/', hash: '' })
vi.stubGlobal('addEventListener', () => undefined)
const { parseRoute } = await import('../src/router.js')

test.each([
  ['/', '', { page: 'home' }],
  ['/entrer', '#abc_D-1', { page: 'join', invitation: 'abc_D-1' }],
  ['/entrer', '', { page: 'join', invitation: '' }],
  ['/salle/Room_1', '', { page: 'room', room: 'Room_1', token: null }],
  ['/salle/Room_1', '#jeton=a.b.c', { page: 'room', room: 'Room_1', token: 'a.b.c' }],
  ['/salle/Room_1', '#jeton=<script>', { page: 'room', room: 'Room_1', token: null }],
  ['/salle/../../etc', '', { page: 'home' }],
])('%s%s', (path, fragment, expected) => {
  expect(parseRoute(path, fragment)).toEqual(expected)
})

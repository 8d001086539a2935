import { expect, it } from 'vitest'
import { parseRoute } from '../src/routes.js'

it.each([
  ['/', '', { page: 'home' }],
  ['/salle/r_4-Z', '#jeton=aa.bb-c_.dd', { page: 'room', room: 'r_4-Z', token: 'aa.bb-c_.dd' }],
  ['/salle/r4/', '', { page: 'room', room: 'r4', token: null }],
  ['/salle/r4', '#main', { page: 'room', room: 'r4', token: null }],
  ['/entrer', '#inv_12', { page: 'join', invitation: 'inv_12' }],
  ['/entrer', '', { page: 'join', invitation: '' }],
  ['/controle', '', { page: 'network' }],
  ['/controle/', '#x', { page: 'network' }],
  ['/salle/', '', { page: 'home' }],
  ['/salle/../x', '', { page: 'home' }],
  [`/salle/${'r'.repeat(65)}`, '', { page: 'home' }],
  ['/salle/r4', '#jeton=<b>', { page: 'room', room: 'r4', token: null }],
])('%s%s is read', (path, fragment, expected) => {
  expect(parseRoute(path, fragment)).toEqual(expected)
})

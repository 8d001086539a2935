import { expect, test } from 'vitest'
import { fr } from '../src/sentences_fr.js'
import { nameOf, offered, purposeOf } from '../src/live/invited.js'

test('nobody is called a class or a museum in a private meeting, nor a pupil without a camera there', () => {
  const said = offered.consultation.flatMap((role) => [fr[nameOf('consultation', role)], fr[purposeOf('consultation', role)]])
  expect(said.join(' ')).not.toMatch(/classe|musée|sans caméra/i)
  expect(fr[purposeOf('interclass', 'pupil')]).toContain('sans caméra')
})

test('every kind of people that is offered has a name and a purpose', () => {
  for (const [kind, roles] of Object.entries(offered)) {
    for (const role of roles) {
      expect(fr[nameOf(kind as keyof typeof offered, role)], `${kind} ${role}`).toBeTruthy()
      expect(fr[purposeOf(kind as keyof typeof offered, role)], `${kind} ${role}`).toBeTruthy()
    }
  }
})

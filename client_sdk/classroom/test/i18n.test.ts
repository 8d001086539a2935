import { describe, expect, test, vi } from 'vitest'

vi.stubGlobal('localStorage', { getItem: () => null, setItem: () => undefined })
const { dictionaries, errorText } = await import('../src/i18n.js')

describe('the sentences', () => {
  const { fr, en } = dictionaries

  test('are there in both languages', () => {
    expect(Object.keys(en).sort()).toEqual(Object.keys(fr).sort())
    for (const [key, sentence] of [...Object.entries(fr), ...Object.entries(en)]) expect(sentence, key).not.toBe('')
  })

  test('are written as French is: a narrow place before double signs never breaks', () => {
    for (const [key, sentence] of Object.entries(fr)) expect(sentence, key).not.toMatch(/ [!?:;»]|« /)
  })

  test('say something for any error', () => {
    expect(errorText('invitation-expired')).toBe(fr['error_invitation-expired'])
    expect(errorText('something-new')).toBe(fr.error_other)
  })
})

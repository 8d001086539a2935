import { describe, expect, test } from 'vitest'
import { dictionaries, errorText, fill } from '../src/i18n.js'

const sources: Record<string, string> = import.meta.glob(['../src/**/*.{ts,tsx}', '!../src/sentences_*.ts'], { query: '?raw', import: 'default', eager: true })

describe('the sentences', () => {
  const { fr, en } = dictionaries

  test('are there in both languages', () => {
    expect(Object.keys(en).sort()).toEqual(Object.keys(fr).sort())
    for (const [key, sentence] of [...Object.entries(fr), ...Object.entries(en)]) expect(sentence, key).not.toBe('')
  })

  test('are written as French is: a narrow place before double signs never breaks', () => {
    for (const [key, sentence] of Object.entries(fr)) expect(sentence, key).not.toMatch(/ [!?:;»]|« /)
  })

  test('are translated, save the words that both languages share', () => {
    const shared = ['code', 'microphone', 'network_ms', 'network_mbps', 'sheetPort']
    const alike = Object.keys(fr).filter((key) => fr[key as keyof typeof fr] === en[key as keyof typeof en])
    expect(alike.filter((key) => !shared.includes(key))).toEqual([])
  })

  test('are all said somewhere', () => {
    const code = Object.values(sources).join('\n')
    const composed = /^(error|quality|role|invite|inviteFor|invitePrivate|inviteForPrivate|network|networkTest|networkProblem|networkVerdict|networkMeans|networkWay|networkPurpose)_/
    expect(code).toContain("t('")
    expect(Object.keys(fr).filter((key) => !composed.test(key) && !code.includes(`'${key}'`))).toEqual([])
  })

  test('have the same blanks in both languages, and are filled in', () => {
    const blanks = (sentence: string) => sentence.match(/\{\w+\}/g) ?? []
    for (const key of Object.keys(fr)) expect(blanks(en[key as keyof typeof en]), key).toEqual(blanks(fr[key as keyof typeof fr]))
    expect(fill('sayHand', { name: 'Zoé' })).toBe('Zoé lève la main.')
    expect(fill('sayHand', { name: '{name}' })).toBe('{name} lève la main.')
  })

  test('say something for any error', () => {
    expect(errorText('invitation-expired')).toBe(fr['error_invitation-expired'])
    expect(errorText('something-new')).toBe(fr.error_other)
  })
})

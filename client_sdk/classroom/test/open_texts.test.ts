import { expect, it } from 'vitest'
import { OpenTexts, firstText, textsOf } from '../src/open_texts.js'

const listed = (document: string, title = document) => ({ document, title, created_at: 0 })

function opened() {
  const log: string[] = []
  const states: Record<string, string> = {}
  const texts = new OpenTexts((name) => {
    log.push(`open ${name}`)
    return {
      get state() {
        return states[name] ?? 'saved'
      },
      close: () => log.push(`close ${name}`),
    }
  })
  return { log, states, texts }
}

it('the first text comes first, with its title once it has one', () => {
  expect(textsOf({ documents: [listed('b'), listed('a')] }, firstText, 'Texte commun').map(({ title }) => title)).toEqual(['Texte commun', 'b', 'a'])
  expect(textsOf({ documents: [listed('b'), listed(firstText, 'Dictée')] }, 'b', 'Texte commun').map(({ title }) => title)).toEqual(['Dictée', 'b'])
})

it('the text on screen is in the list even while nobody says what it is called', () => {
  expect(textsOf(null, 'x', 'Texte commun').map(({ document }) => document)).toEqual([firstText, 'x'])
  expect(textsOf(null, firstText, 'Texte commun')).toHaveLength(1)
})

it('a text that was left is the same one when it is shown again soon', () => {
  const { log, texts } = opened()
  const first = texts.use('a')
  texts.use('b')
  expect(texts.use('a')).toBe(first)
  expect(log).toEqual(['open a', 'open b'])
})

it('of many texts those that were shown longest ago are closed', () => {
  const { log, texts } = opened()
  for (const name of 'abcdef') texts.use(name)
  texts.use('a')
  texts.use('g')
  texts.use('h')
  expect(log.filter((line) => line.startsWith('close'))).toEqual(['close b', 'close c'])
  texts.use('b')
  expect(log).toContain('open b')
  expect(log.filter((line) => line === 'open b')).toHaveLength(2)
})

it('none is closed with something in it that is not saved', () => {
  const { log, states, texts } = opened()
  states['a'] = 'unsaved'
  states['b'] = 'offline'
  for (const name of 'abcdefgh') texts.use(name)
  expect(log.filter((line) => line.startsWith('close'))).toEqual(['close c', 'close d'])
  states['a'] = 'saved'
  texts.use('i')
  expect(log.at(-1)).toBe('close a')
})

import { getSchema } from '@tiptap/core'
import StarterKit from '@tiptap/starter-kit'
import { expect, it } from 'vitest'
import { dictionaries, type Language } from '../src/i18n.js'
import { readyTexts } from '../src/ready_texts.js'

const schema = getSchema([StarterKit])
const languages: Language[] = ['fr', 'en']

it.each(languages.flatMap((language) => readyTexts.map((ready) => [language, ready] as const)))('%s: what the editor would delete is in no ready text', (language, ready) => {
  const built = ready.build(language)
  expect(built === null).toBe(ready.id === 'empty')
  if (!built) return
  const node = schema.nodeFromJSON(built)
  node.check()
  expect(node.textContent.length).toBeGreaterThan(50)
  expect(node.firstChild?.type.name).toBe('heading')
})

it('titles of ready texts fit the list', () => {
  for (const { name } of readyTexts) for (const language of languages) expect(dictionaries[language][name].length).toBeLessThanOrEqual(60)
})

it('French ready texts are written as French is', () => {
  for (const { build } of readyTexts) expect(JSON.stringify(build('fr') ?? '')).not.toMatch(/[^\s] [!?:;»]|« |'/)
})

/** The page in two languages, Québec French first. */

import { signal } from '@preact/signals'
import { onDevice } from './keeping.js'
import { en } from './sentences_en.js'
import { fr } from './sentences_fr.js'

export type Key = keyof typeof fr
export type Dictionary = Readonly<Record<Key, string>>

export type Language = 'fr' | 'en'
export const dictionaries: Readonly<Record<Language, Dictionary>> = { fr, en }

const stored = 'passerelle.language'

function firstLanguage(): Language {
  const kept = onDevice.getItem(stored)
  return kept === 'en' ? 'en' : 'fr'
}

export const language = signal<Language>(firstLanguage())

export function setLanguage(next: Language): void {
  language.value = next
  onDevice.setItem(stored, next)
  document.documentElement.lang = next === 'fr' ? 'fr-CA' : 'en-CA'
}

/** The sentence in the language of the page; reading it in a component follows the switch. */
export function t(key: Key): string {
  return dictionaries[language.value][key]
}

/** A sentence with its blanks filled in: `{name}`, `{count}`. */
export function fill(key: Key, blanks: Readonly<Record<string, string | number>>): string {
  return t(key).replace(/\{(\w+)\}/g, (blank, name: string) => String(blanks[name] ?? blank))
}

/** What an error's code means to a person. */
export function errorText(code: string): string {
  const key = `error_${code}`
  return key in fr ? t(key as Key) : t('error_other')
}

/** Ready templates for a new text, in the language of the page. Pure. */

import type { RichText } from '@passerelle/client'
import type { Key, Language } from './i18n.js'

type Block = RichText['content'][number]

export interface ReadyText {
  id: 'empty' | 'visit' | 'guest' | 'story'
  name: Key
  hint: Key
  /** What it begins with; null: nothing. */
  build: (language: Language) => RichText | null
}

const text = (words: string) => [{ type: 'text' as const, text: words }]
const heading = (level: number, words: string): Block => ({ type: 'heading', attrs: { level }, content: text(words) })
const line = (words = '') => (words ? { type: 'paragraph' as const, content: text(words) } : { type: 'paragraph' as const })
const hint = (words: string): Block => ({ type: 'paragraph', content: [{ type: 'text', text: words, marks: [{ type: 'italic' }] }] })
const item = (words: string) => ({ type: 'listItem' as const, content: [line(words)] })
const bullets = (...items: string[]): Block => ({ type: 'bulletList', content: items.map(item) })
const numbers = (...items: string[]): Block => ({ type: 'orderedList', attrs: { start: 1 }, content: items.map(item) })
const whole = (...content: Block[]): RichText => ({ type: 'doc', content })

const visit: Record<Language, RichText> = {
  fr: whole(
    heading(1, 'Compte rendu de visite'),
    bullets('Où : ', 'Quand : ', 'Avec qui : '),
    heading(2, 'Ce que nous avons vu'),
    bullets('', '', ''),
    heading(2, 'Ce que nous avons appris'),
    bullets('', '', ''),
    heading(2, 'Ce qui nous a surpris'),
    line(),
    heading(2, 'Les questions qui nous restent'),
    numbers('', ''),
    line(),
  ),
  en: whole(
    heading(1, 'Visit report'),
    bullets('Where: ', 'When: ', 'With whom: '),
    heading(2, 'What we saw'),
    bullets('', '', ''),
    heading(2, 'What we learned'),
    bullets('', '', ''),
    heading(2, 'What surprised us'),
    line(),
    heading(2, 'Questions we still have'),
    numbers('', ''),
    line(),
  ),
}

const guest: Record<Language, RichText> = {
  fr: whole(
    heading(1, 'Questions pour notre invité'),
    hint('Avant la rencontre, chaque équipe écrit une question. Pendant la rencontre, on note les réponses.'),
    heading(2, 'Ce que nous savons déjà'),
    bullets('', ''),
    heading(2, 'Nos questions'),
    numbers('', '', '', ''),
    heading(2, 'Les réponses'),
    numbers('', '', '', ''),
    heading(2, 'Ce que nous retenons'),
    line(),
  ),
  en: whole(
    heading(1, 'Questions for our guest'),
    hint('Before the meeting, each team writes a question. During the meeting, the answers are noted.'),
    heading(2, 'What we already know'),
    bullets('', ''),
    heading(2, 'Our questions'),
    numbers('', '', '', ''),
    heading(2, 'The answers'),
    numbers('', '', '', ''),
    heading(2, 'What we will remember'),
    line(),
  ),
}

const story: Record<Language, RichText> = {
  fr: whole(
    heading(1, 'Notre récit'),
    hint('Chaque classe écrit la suite, à tour de rôle.'),
    heading(2, 'Les personnages et les lieux'),
    bullets('', ''),
    heading(2, 'Il était une fois…'),
    line(),
    heading(2, 'Mais un jour…'),
    line(),
    heading(2, 'Heureusement…'),
    line(),
    heading(2, 'À la fin…'),
    line(),
  ),
  en: whole(
    heading(1, 'Our story'),
    hint('Each class writes what comes next, in turn.'),
    heading(2, 'Characters and places'),
    bullets('', ''),
    heading(2, 'Once upon a time…'),
    line(),
    heading(2, 'But one day…'),
    line(),
    heading(2, 'Luckily…'),
    line(),
    heading(2, 'In the end…'),
    line(),
  ),
}

export const readyTexts: readonly ReadyText[] = [
  { id: 'empty', name: 'ready_empty', hint: 'readyHint_empty', build: () => null },
  { id: 'visit', name: 'ready_visit', hint: 'readyHint_visit', build: (language) => visit[language] },
  { id: 'guest', name: 'ready_guest', hint: 'readyHint_guest', build: (language) => guest[language] },
  { id: 'story', name: 'ready_story', hint: 'readyHint_story', build: (language) => story[language] },
]

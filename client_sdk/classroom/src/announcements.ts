/** What a screen reader hears of a moment in the room: everything at once, in one sentence or two. Pure. */

import type { RoomDocument, RoomView } from '@passerelle/client'

/** Names, in the order in which things happened. */
export interface Moment {
  arrived: string[]
  left: string[]
  hands: string[]
  wrote: string[]
  /** Titles of new texts. */
  texts: string[]
}

/** The words of the page's language; each takes a name, or how many. */
export interface MomentWords {
  arrived: (name: string) => string
  manyArrived: (count: number) => string
  left: (name: string) => string
  manyLeft: (count: number) => string
  hand: (name: string) => string
  manyHands: (count: number) => string
  wrote: (name: string) => string
  manyWrote: (count: number) => string
  text: (title: string) => string
  manyTexts: (count: number) => string
}

export function emptyMoment(): Moment {
  return { arrived: [], left: [], hands: [], wrote: [], texts: [] }
}

/** Add to the moment what changed between two views: who came, who went, who raised a hand. */
export function gather(moment: Moment, before: RoomView, after: RoomView): void {
  const known = new Map(before.participants.map((one) => [one.id, one]))
  for (const one of after.participants) {
    const earlier = known.get(one.id)
    known.delete(one.id)
    if (one.id === after.self_id) continue
    if (!earlier) moment.arrived.push(one.name)
    if (one.hand_raised_at !== null && earlier?.hand_raised_at !== one.hand_raised_at) moment.hands.push(one.name)
  }
  for (const gone of known.values()) moment.left.push(gone.name)
  moment.texts.push(...newTexts(before, after).map(({ title }) => title))
}

/** Texts that somebody has made between two views. */
export function newTexts(before: RoomView, after: RoomView): RoomDocument[] {
  if (before.documents === after.documents) return []
  const known = new Set(before.documents.map(({ document }) => document))
  return after.documents.filter(({ document }) => !known.has(document))
}

/** Thirty pupils who arrive together are one sentence. Empty when nothing happened. */
export function sentenceOf(moment: Moment, words: MomentWords): string {
  const one = (names: string[], single: (name: string) => string, many: (count: number) => string) =>
    names.length === 0 ? [] : [names.length === 1 ? single(names[0]!) : many(names.length)]
  return [
    ...one(moment.arrived, words.arrived, words.manyArrived),
    ...one(moment.left, words.left, words.manyLeft),
    ...one(moment.hands, words.hand, words.manyHands),
    ...one(moment.wrote, words.wrote, words.manyWrote),
    ...one(moment.texts, words.text, words.manyTexts),
  ].join(' ')
}

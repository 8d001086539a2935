/** The room's texts as the page lists them, and those that it keeps open. Pure. */

import type { RoomDocument, RoomView } from '@passerelle/client'

/** Every room has this one, listed or not. */
export const firstText = 'texte'
/** Kept open, the one on screen among them: going back to one of them shows it at once. */
const mostOpen = 6

export interface TextEntry {
  document: string
  title: string
}

/** The first text, then the others in the order in which they were made. While the list is not known (a reload without
 * the server): the one on screen. */
export function textsOf(view: Pick<RoomView, 'documents'> | null, shown: string, mainTitle: string): TextEntry[] {
  const documents: readonly RoomDocument[] = view?.documents ?? []
  const main = { document: firstText, title: documents.find(({ document }) => document === firstText)?.title ?? mainTitle }
  const others = documents.filter(({ document }) => document !== firstText)
  const isKnown = shown === firstText || others.some(({ document }) => document === shown)
  return [main, ...others, ...(isKnown ? [] : [{ document: shown, title: '…' }])]
}

interface Closable {
  readonly state: string
  close(): void
}

/** Documents in the order of their last use. One that is not on screen is closed when there are too many, but never
 * with something in it that is not saved. */
export class OpenTexts<Text extends Closable> {
  readonly #open: (name: string) => Text
  readonly #texts = new Map<string, Text>()

  constructor(open: (name: string) => Text) {
    this.#open = open
  }

  use(name: string): Text {
    const text = this.#texts.get(name) ?? this.#open(name)
    this.#texts.delete(name)
    this.#texts.set(name, text)
    this.#closeOldest(name)
    return text
  }

  #closeOldest(shown: string): void {
    let surplus = this.#texts.size - mostOpen
    for (const [name, text] of this.#texts) {
      if (surplus <= 0) return
      if (name === shown || (text.state !== 'saved' && text.state !== 'refused')) continue
      text.close()
      this.#texts.delete(name)
      surplus -= 1
    }
  }
}

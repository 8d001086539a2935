/** A line that is made empty comes with its text.
 *
 * Yjs keeps a line's letters in a text inside it, which y-tiptap makes with the first letter. Two people who begin to write
 * in one empty line at once make two, and whoever writes there next writes one of them anew into the other: its author
 * could not take back their own words any more. A line that comes with its text has one for both. */

import { ySyncPluginKey } from '@tiptap/y-tiptap'
import * as Y from 'yjs'

/** Nodes that hold letters. */
const lines = new Set(['paragraph', 'heading', 'codeBlock'])

/** From now on, until what is returned is called; of lines that this page's editor makes. */
export function giveEmptyLinesTheirText(doc: Y.Doc): () => void {
  const follow = (transaction: Y.Transaction) => {
    if (transaction.origin !== ySyncPluginKey) return
    const empty = [...transaction.changed.keys()].flatMap((parent) => emptyLinesIn(parent, transaction))
    // The editor's own origin: one undo takes back the line and its text.
    if (empty.length) doc.transact(() => empty.forEach((line) => line.insert(0, [new Y.XmlText()])), ySyncPluginKey)
  }
  doc.on('afterTransaction', follow)
  return () => doc.off('afterTransaction', follow)
}

function emptyLinesIn(parent: unknown, transaction: Y.Transaction): Y.XmlElement[] {
  if (!(parent instanceof Y.XmlFragment)) return []
  return parent.toArray().flatMap((child) => {
    if (!(child instanceof Y.XmlElement) || !isNew(child, transaction)) return []
    if (!lines.has(child.nodeName)) return emptyLinesIn(child, transaction)
    return child.length ? [] : [child]
  })
}

function isNew({ _item: item }: Y.XmlElement, { beforeState }: Y.Transaction): boolean {
  return item !== null && item.id.clock >= (beforeState.get(item.id.client) ?? 0)
}

import { ySyncPluginKey } from '@tiptap/y-tiptap'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { giveEmptyLinesTheirText } from '../src/live/empty_lines.js'

const contentOf = (doc: Y.Doc) => doc.getXmlFragment('content')
const line = (...children: (Y.XmlElement | Y.XmlText)[]) => {
  const made = new Y.XmlElement('paragraph')
  made.insert(0, children)
  return made
}

function copyOf(doc: Y.Doc): Y.Doc {
  const copy = new Y.Doc()
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc))
  return copy
}

test('two who write in one empty line at once write in one text', () => {
  const doc = new Y.Doc()
  giveEmptyLinesTheirText(doc)
  doc.transact(() => contentOf(doc).insert(0, [line()]), ySyncPluginKey)
  const other = copyOf(doc)
  for (const [each, word] of [[doc, 'Roy'], [other, 'Zoé']] as const) {
    const text = (contentOf(each).get(0) as Y.XmlElement).get(0) as Y.XmlText
    text.insert(0, word)
  }
  Y.applyUpdate(doc, Y.encodeStateAsUpdate(other))
  const whole = contentOf(doc).get(0) as Y.XmlElement
  expect(whole.length).toBe(1)
  expect(whole.get(0).toString()).toMatch(/^(RoyZoé|ZoéRoy)$/)
})

test('a list that is made empty has a text in its line, and a line with letters stays as it is', () => {
  const doc = new Y.Doc()
  giveEmptyLinesTheirText(doc)
  const item = new Y.XmlElement('listItem')
  const list = new Y.XmlElement('bulletList')
  item.insert(0, [line()])
  list.insert(0, [item])
  doc.transact(() => contentOf(doc).insert(0, [list, line(new Y.XmlText('a'))]), ySyncPluginKey)
  expect((item.get(0) as Y.XmlElement).toArray().map((child) => child.toString())).toEqual([''])
  expect((contentOf(doc).get(1) as Y.XmlElement).length).toBe(1)
})

test('undo takes back the line with its text, redo brings both, and what somebody else wrote there stays', () => {
  const doc = new Y.Doc()
  giveEmptyLinesTheirText(doc)
  const undo = new Y.UndoManager(contentOf(doc), {
    trackedOrigins: new Set([ySyncPluginKey]),
    // As y-tiptap's: what holds something is not taken back with its line.
    deleteFilter: ({ content }) => !(content instanceof Y.ContentType) || content.type._length === 0,
  })
  doc.transact(() => contentOf(doc).insert(0, [line()]), ySyncPluginKey)
  undo.undo()
  expect(contentOf(doc).length).toBe(0)
  undo.redo()
  const redone = contentOf(doc).get(0) as Y.XmlElement
  expect(redone.length).toBe(1)
  doc.transact(() => (redone.get(0) as Y.XmlText).insert(0, 'Zoé'), 'elsewhere')
  undo.undo()
  expect(contentOf(doc).toString()).toBe('<paragraph>Zoé</paragraph>')
})

test('what comes from elsewhere is left as it came', () => {
  const doc = new Y.Doc()
  giveEmptyLinesTheirText(doc)
  doc.transact(() => contentOf(doc).insert(0, [line()]), 'elsewhere')
  expect((contentOf(doc).get(0) as Y.XmlElement).length).toBe(0)
})

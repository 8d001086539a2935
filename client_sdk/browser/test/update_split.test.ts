import * as Y from 'yjs'
import { describe, expect, test } from 'vitest'
import { mergeUpdates, splitUpdate } from '../src/update_split.js'
import { seeded } from './support/random.js'

/** Several authors, text, formats, nested maps and deletions. */
function history(seed: number, edits: number): Y.Doc {
  const random = seeded(seed)
  const docs = [new Y.Doc(), new Y.Doc(), new Y.Doc()]
  for (let n = 0; n < edits; n += 1) {
    const doc = docs[Math.floor(random() * 3)] as Y.Doc
    const text = doc.getText('t')
    const choice = random()
    if (choice < 0.6) text.insert(Math.floor(random() * (text.length + 1)), random() < 0.2 ? 'é🌊'.repeat(20) : 'mot ')
    else if (choice < 0.75 && text.length > 10) text.delete(Math.floor(random() * (text.length - 5)), 4)
    else if (choice < 0.9 && text.length > 10) text.format(Math.floor(random() * (text.length - 5)), 4, { bold: true })
    else doc.getMap('m').set(`k${Math.floor(random() * 5)}`, new Y.Map([['n', n]]))
    if (random() < 0.2) for (const other of docs) for (const each of docs) catchUp(other, each)
  }
  const [first, ...others] = docs as [Y.Doc, ...Y.Doc[]]
  for (const other of others) Y.applyUpdate(first, Y.encodeStateAsUpdate(other))
  return first
}

/** What it lacks alone: whole states, again and again, took a quarter of a minute. */
function catchUp(doc: Y.Doc, other: Y.Doc): void {
  if (doc !== other) Y.applyUpdate(doc, Y.encodeStateAsUpdate(other, Y.encodeStateVector(doc)))
}

function content(doc: Y.Doc): unknown {
  return [doc.getText('t').toDelta(), doc.getMap('m').toJSON()]
}

describe('splitUpdate', () => {
  test('leaves a small update as it is', () => {
    const update = Y.encodeStateAsUpdate(history(1, 10))
    expect(splitUpdate(update, 1_000_000)).toEqual([update])
  })

  test.each([1, 2, 3, 4, 5])('pieces applied in order give the whole, and no piece waits for a later one (history %i)', (seed) => {
    const doc = history(seed, 400)
    const pieces = splitUpdate(Y.encodeStateAsUpdate(doc), 600)
    expect(pieces.length).toBeGreaterThan(5)
    const copy = new Y.Doc()
    for (const piece of pieces) {
      Y.applyUpdate(copy, piece)
      expect(copy.store.pendingStructs).toBeNull()
      expect(piece.byteLength).toBeLessThan(1_000)
    }
    expect(content(copy)).toEqual(content(doc))
    expect(Y.encodeStateVector(copy).length).toBe(Y.encodeStateVector(doc).length)
  })

  test('works on a difference too', () => {
    const doc = history(6, 200)
    const copy = new Y.Doc()
    Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc))
    for (let n = 0; n < 300; n += 1) doc.getText('t').insert((n * 7) % doc.getText('t').length, 'plus ')
    for (const piece of splitUpdate(Y.encodeStateAsUpdate(doc, Y.encodeStateVector(copy)), 500)) Y.applyUpdate(copy, piece)
    expect(content(copy)).toEqual(content(doc))
  })

  test('cuts one long run of text, never inside a character', () => {
    const doc = new Y.Doc()
    doc.getText('t').insert(0, 'a' + '🌊'.repeat(5_000))
    const pieces = splitUpdate(Y.encodeStateAsUpdate(doc), 1_000)
    expect(Math.max(...pieces.map(({ byteLength }) => byteLength))).toBeLessThan(1_200)
    const copy = new Y.Doc()
    for (const piece of pieces) Y.applyUpdate(copy, piece)
    expect(copy.getText('t').toString()).toBe(doc.getText('t').toString())
  })

  test('repeated and mixed with the whole, pieces change nothing', () => {
    const doc = history(8, 300)
    const whole = Y.encodeStateAsUpdate(doc)
    const copy = new Y.Doc()
    for (const piece of [...splitUpdate(whole, 700), whole, ...splitUpdate(whole, 400)]) Y.applyUpdate(copy, piece)
    expect(content(copy)).toEqual(content(doc))
  })
})

test('merging thousands of updates gives the same document', () => {
  const doc = new Y.Doc()
  const updates: Uint8Array[] = []
  doc.on('update', (update: Uint8Array) => updates.push(update))
  for (let n = 0; n < 2_345; n += 1) doc.getText('t').insert(Math.floor(n / 2), String(n % 10))
  const copy = new Y.Doc()
  Y.applyUpdate(copy, mergeUpdates(updates))
  expect(copy.getText('t').toString()).toBe(doc.getText('t').toString())
})

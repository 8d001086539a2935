// Yjs documents in Node: through y-websocket's provider, unchanged, or through the browser SDK.
// One JSON line in for each command, one out when it has come about. Run with the
// working directory in client_sdk/browser, where all of these are found.
import { createInterface } from 'node:readline'
import { isDeepStrictEqual } from 'node:util'
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'
import { Room } from './dist/index.js'

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const docs = new Map()
const rooms = new Map()

const treeOf = (node) => node instanceof Y.XmlText
  ? node.toDelta()
  : { n: node.nodeName, a: node.getAttributes(), c: node.toArray().map(treeOf) }

const readings = {
  text: (doc) => doc.getText('text').toString(),
  delta: (doc) => doc.getText('text').toDelta(),
  map: (doc) => doc.getMap('map').toJSON(),
  array: (doc) => doc.getArray('array').toJSON(),
  xml: (doc) => doc.getXmlFragment('xml').toArray().map(treeOf)
}

const reads = (doc, expected) => doc.getText('text').length === expected.text.length &&
  Object.entries(expected).every(([kind, value]) => isDeepStrictEqual(JSON.parse(JSON.stringify(readings[kind](doc))), value))

const roomOf = (url, token, transport) => {
  const key = `${token} ${transport}`
  if (!rooms.has(key)) {
    const room = new Room({ baseUrl: url, token, transports: [transport], logLevel: 'silent' })
    rooms.set(key, room.connect().then(() => room))
  }
  return rooms.get(key)
}

const commands = {
  async provider ({ name, url, room, document, token }) {
    const doc = new Y.Doc()
    docs.set(name, doc)
    const provider = new WebsocketProvider(`${url.replace('http', 'ws')}/yjs/${room}`, document, doc, {
      params: { token }, WebSocketPolyfill: WebSocket, disableBc: true, maxBackoffTime: 500
    })
    provider.once('sync', () => say({ name, opened: true }))
  },
  async sdk ({ name, url, document, token, transport }) {
    const shared = (await roomOf(url, token, transport)).document(document)
    docs.set(name, shared.doc)
    await shared.whenSynced()
    say({ name, opened: true })
  },
  // Says so once the document reads as expected.
  async until ({ name, expected }) {
    const doc = docs.get(name)
    const look = () => {
      if (!reads(doc, expected)) return
      doc.off('update', look)
      say({ name, reads: true })
    }
    doc.on('update', look)
    look()
  },
  // Puts some characters in place of others of the text.
  async edit ({ name, at, remove, insert }) {
    const text = docs.get(name).getText('text')
    const characters = [...text.toString()] // no editor cuts one in two
    const place = Math.floor(at * (characters.length + 1))
    const units = (part) => part.join('').length
    docs.get(name).transact(() => {
      const removed = units(characters.slice(place, place + remove))
      const start = units(characters.slice(0, place))
      if (removed > 0) text.delete(start, removed)
      if (insert !== '') text.insert(start, insert)
    })
    say({ name, edited: true })
  },
  async tell ({ name }) {
    say({ name, content: Object.fromEntries(Object.entries(readings).map(([kind, read]) => [kind, read(docs.get(name))])) })
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  commands[command.do](command).catch((error) => say({ name: command.name, error: String(error) }))
}
process.exit(0)

// Yjs peers for tests: one JSON line in for each command or message, one out for each answer.
// Run with the working directory in client_sdk/browser, where yjs and y-protocols are installed.
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import * as sync from 'y-protocols/sync'
import * as awarenessProtocol from 'y-protocols/awareness'
import * as encoding from 'lib0/encoding'
import * as decoding from 'lib0/decoding'

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

// A small generator with a seed (mulberry32): the same seed makes the same edits.
const chanceOf = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

class Peer {
  constructor (id) {
    this.id = id
    this.doc = new Y.Doc()
    this.awareness = new awarenessProtocol.Awareness(this.doc)
    clearInterval(this.awareness._checkInterval)
    this.open = false
    this.doc.on('update', (update, origin) => {
      if (origin === this || !this.open) return
      this.send((encoder) => { encoding.writeVarUint(encoder, 0); sync.writeUpdate(encoder, update) })
    })
    this.awareness.on('update', ({ added, updated, removed }) => this.sendAwareness([...added, ...updated, ...removed]))
  }

  send (write) {
    const encoder = encoding.createEncoder()
    write(encoder)
    if (encoding.length(encoder) > 1) {
      say({ peer: this.id, message: Buffer.from(encoding.toUint8Array(encoder)).toString('base64') })
    }
  }

  sendAwareness (clients) {
    if (!this.open) return
    this.send((encoder) => {
      encoding.writeVarUint(encoder, 1)
      encoding.writeVarUint8Array(encoder, awarenessProtocol.encodeAwarenessUpdate(this.awareness, clients))
    })
  }

  connect () {
    this.open = true
    this.send((encoder) => { encoding.writeVarUint(encoder, 0); sync.writeSyncStep1(encoder, this.doc) })
    this.sendAwareness([this.doc.clientID])
  }

  receive (message) {
    const decoder = decoding.createDecoder(message)
    const kind = decoding.readVarUint(decoder)
    if (kind === 0) {
      this.send((encoder) => {
        encoding.writeVarUint(encoder, 0)
        sync.readSyncMessage(decoder, encoder, this.doc, this, (error) => { throw error })
      })
    } else if (kind === 1) {
      awarenessProtocol.applyAwarenessUpdate(this.awareness, decoding.readVarUint8Array(decoder), this)
    } else if (kind === 2) {
      decoding.readVarUint(decoder)
      say({ peer: this.id, denied: decoding.readVarString(decoder) })
    } else {
      throw new Error(`a standard client knows no kind ${kind}`)
    }
  }

  edit (seed, simple) {
    const chance = chanceOf(seed)
    const upTo = (n) => Math.floor(chance() * (n + 1))
    const text = this.doc.getText('text')
    const word = ['a', 'é', '📊', 'Привет', 'xyz'][upTo(4)]
    const map = this.doc.getMap('map')
    const array = this.doc.getArray('array')
    const xml = this.doc.getXmlFragment('xml')
    // Lengths in UTF-16 units of the text's characters and embeds: no editor edits within one.
    const units = text.toDelta().flatMap(({ insert }) => typeof insert === 'string' ? [...insert].map((c) => c.length) : [1])
    const position = (n) => units.slice(0, n).reduce((sum, length) => sum + length, 0)
    const place = upTo(units.length)
    const actions = [
      () => text.insert(position(place), simple ? 'ab' : word),
      () => { if (place < units.length) text.delete(position(place), units[place]) },
      () => map.set('k' + upTo(3), [1, 1.5, null, true, 'deux', { a: [1, { b: 2 }] }][upTo(5)]),
      () => array.insert(upTo(array.length), [upTo(99), word]),
      () => { if (array.length > 1) array.delete(upTo(array.length - 1), 1) }
    ]
    if (!simple) {
      actions.push(
        () => map.set('bytes', new Uint8Array([1, 2, 255])),
        () => map.set('nested', new Y.Map([['x', 1]])),
        () => map.delete('k' + upTo(3)),
        () => { if (place > 0) text.format(0, position(place), { bold: chance() < 0.5 ? true : null }) },
        () => text.insertEmbed(position(place), { image: 'x.png', size: [1, 2] }),
        () => {
          const paragraph = new Y.XmlElement(chance() < 0.5 ? 'paragraph' : 'heading')
          paragraph.setAttribute('level', String(upTo(3)))
          paragraph.insert(0, [new Y.XmlText(word)])
          xml.insert(upTo(xml.length), [paragraph])
        },
        () => {
          if (xml.length) {
            const inner = xml.get(upTo(xml.length - 1)).get(0)
            if (inner) inner.insert(0, word, { link: { href: 'https://example.org' } })
          }
        },
        () => { if (xml.length > 2) xml.delete(upTo(xml.length - 1), 1) }
      )
    }
    this.doc.transact(() => actions[upTo(actions.length - 1)]())
  }

  read () {
    return {
      text: this.doc.getText('text').toDelta(),
      map: this.doc.getMap('map').toJSON(),
      array: this.doc.getArray('array').toJSON(),
      xml: this.doc.getXmlFragment('xml').toArray().map(treeOf),
      pending: this.doc.store.pendingStructs !== null || this.doc.store.pendingDs !== null,
      awareness: Object.fromEntries(this.awareness.getStates())
    }
  }
}

// An element as its name, attributes and children; a text as its delta.
const treeOf = (node) => node instanceof Y.XmlText
  ? node.toDelta()
  : { n: node.nodeName, a: node.getAttributes(), c: node.toArray().map(treeOf) }

const peers = new Map()
const peerOf = (id) => {
  if (!peers.has(id)) peers.set(id, new Peer(id))
  return peers.get(id)
}

const commands = {
  message: (peer, { message }) => peer.receive(Buffer.from(message, 'base64')),
  connect: (peer) => peer.connect(),
  disconnect: (peer) => { peer.open = false },
  edit: (peer, { seed, simple }) => peer.edit(seed, simple),
  state: (peer, { state }) => peer.awareness.setLocalState(state),
  read: (peer, { ask }) => say({ peer: peer.id, ask, answer: peer.read() }),
  id: (peer, { ask }) => say({ peer: peer.id, ask, answer: peer.doc.clientID })
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  commands[command.do](peerOf(command.peer), command)
}
process.exit(0)

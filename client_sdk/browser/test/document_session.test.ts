/** The sync core without a socket: messages are lists of bytes, lost, repeated and out of order. */

import * as Y from 'yjs'
import { describe, expect, test } from 'vitest'
import { DocumentSession, EditTooLong, MAX_UPDATE_BYTES, MalformedMessage } from '../src/document_session.js'
import { seeded, shuffled } from './support/random.js'
import { SyncServer, converse, inParts } from './support/sync_server.js'

const REMOTE = { remote: true }

/** A client: its document survives its sessions. */
class Client {
  readonly doc = new Y.Doc()
  session = new DocumentSession(this.doc, REMOTE, 0)
  outbox: Uint8Array[] = []

  constructor() {
    this.doc.on('update', (update: Uint8Array, origin: unknown) => {
      if (origin !== REMOTE) this.outbox.push(...this.session.write(update, 1))
    })
  }

  get text(): Y.Text {
    return this.doc.getText('t')
  }

  reconnect(): void {
    this.outbox = []
    this.session = new DocumentSession(this.doc, REMOTE, this.session.unsavedCount)
  }

  /** The opening exchange, both ways. */
  sync(server: SyncServer): void {
    server.reconnect()
    converse(this.session, server, [...this.session.start(), ...this.session.receive(server.question()).toSend])
  }

  /** What was written since, to the server. */
  flush(server: SyncServer): Uint8Array[] {
    const sent = this.outbox.splice(0)
    for (const each of sent) server.take(each)
    return sent
  }
}

function pair(): { client: Client; server: SyncServer } {
  const [client, server] = [new Client(), new SyncServer()]
  return { client, server }
}

describe('the opening exchange', () => {
  test('brings the server’s text here and ours there', () => {
    const { client, server } = pair()
    server.doc.getText('t').insert(0, 'du serveur ')
    client.text.insert(0, 'd’ici ')
    client.sync(server)
    expect(client.session.synced).toBe(true)
    expect(client.text.toString()).toBe(server.doc.getText('t').toString())
    expect(client.text.toString()).toContain('d’ici ')
  })

  test('is over only when both questions were answered', () => {
    const { client, server } = pair()
    const answers = client.session.start().flatMap((each) => server.take(each))
    for (const each of answers) client.session.receive(each)
    expect(client.session.synced).toBe(false)
    client.session.receive(server.question())
    expect(client.session.synced).toBe(true)
  })

  test('sends nothing on its own before the server asked, and then everything', () => {
    const { client, server } = pair()
    client.text.insert(0, 'avant')
    expect(client.outbox).toEqual([])
    expect(client.session.unsavedCount).toBe(1)
    for (const each of client.session.receive(server.question()).toSend) server.take(each)
    expect(server.doc.getText('t').toString()).toBe('avant')
    expect(client.session.unsavedCount).toBe(1)
    client.session.receive(server.saved())
    expect(client.session.unsavedCount).toBe(0)
  })

  test('with nothing new here counts nothing as unsaved', () => {
    const { client, server } = pair()
    server.doc.getText('t').insert(0, 'déjà là')
    client.sync(server)
    client.reconnect()
    client.sync(server)
    expect(client.session.unsavedCount).toBe(0)
  })
})

describe('what is saved', () => {
  test('is counted by messages: one stands for the edits it was merged from', () => {
    const { client, server } = pair()
    client.sync(server)
    client.session.receive(server.saved())
    client.text.insert(0, 'a')
    client.text.insert(1, 'b')
    client.flush(server)
    expect(client.session.unsavedCount).toBe(2)
    client.session.receive(server.saved(server.received - 1))
    expect(client.session.unsavedCount).toBe(1)
    client.session.receive(server.saved())
    expect(client.session.unsavedCount).toBe(0)
  })

  test('an older count takes nothing back, one beyond what was sent saves nothing to come', () => {
    const { client, server } = pair()
    client.sync(server)
    client.text.insert(0, 'a')
    client.flush(server)
    client.session.receive(server.saved(1_000))
    client.text.insert(0, 'b')
    expect(client.session.unsavedCount).toBe(1)
    client.session.receive(server.saved(1))
    expect(client.session.unsavedCount).toBe(1)
  })

  test('is not what a failing store has', () => {
    const { client, server } = pair()
    client.sync(server)
    client.text.insert(0, 'a')
    client.flush(server)
    client.session.receive(server.unsaved())
    expect(client.session.unsavedCount).toBeGreaterThan(0)
    client.session.receive(server.saved())
    expect(client.session.unsavedCount).toBe(0)
  })

  test('what was under way when the connection was lost is unsaved, until the next one has it', () => {
    const { client, server } = pair()
    client.sync(server)
    client.session.receive(server.saved())
    client.text.insert(0, 'en route')
    client.outbox = [] // lost
    client.reconnect()
    expect(client.session.unsavedCount).toBe(1)
    client.sync(server)
    expect(server.doc.getText('t').toString()).toBe('en route')
    expect(client.session.unsavedCount).toBe(1)
    client.session.receive(server.saved())
    expect(client.session.unsavedCount).toBe(0)
  })

  test('a deletion made offline counts, though no state vector shows it', () => {
    const { client, server } = pair()
    client.text.insert(0, 'texte')
    client.sync(server)
    client.session.receive(server.saved())
    client.reconnect()
    client.text.delete(0, 5)
    client.sync(server)
    expect(client.session.unsavedCount).toBe(1)
    expect(server.doc.getText('t').toString()).toBe('')
  })
})

describe('an update that overtakes what it builds on', () => {
  test('is asked for once, and the answer heals it', () => {
    const { client, server } = pair()
    client.sync(server)
    const updates: Uint8Array[] = []
    server.doc.on('update', (update: Uint8Array) => updates.push(update))
    server.doc.getText('t').insert(0, 'a')
    server.doc.getText('t').insert(1, 'b')
    server.doc.getText('t').insert(2, 'c')
    const asked = client.session.receive(server.update(updates[1] as Uint8Array)).toSend
    expect(asked).toHaveLength(1)
    expect(client.session.receive(server.update(updates[2] as Uint8Array)).toSend).toEqual([])
    converse(client.session, server, asked)
    expect(client.text.toString()).toBe('abc')
  })
})

test('any order, loss, repetition and reconnection ends in one text', () => {
  for (let seed = 1; seed <= 15; seed += 1) {
    const random = seeded(seed)
    const server = new SyncServer()
    const clients = [new Client(), new Client(), new Client()]
    const news: Uint8Array[] = []
    server.doc.on('update', (update: Uint8Array) => news.push(update))
    for (const client of clients) client.sync(server)
    for (let round = 0; round < 15; round += 1) {
      for (const client of clients) {
        const { text } = client
        if (text.length > 0 && random() < 0.3) text.delete(Math.floor(random() * text.length), 1)
        else text.insert(Math.floor(random() * (text.length + 1)), 'xyz'[round % 3] as string)
        const sent = client.outbox.splice(0)
        for (const each of random() < 0.5 ? sent : shuffled(sent, random)) if (random() < 0.8) server.take(each)
      }
      const unseen = shuffled(news.splice(0), random)
      for (const client of clients) {
        for (const update of unseen) {
          for (let times = random() < 0.7 ? 1 : random() < 0.5 ? 0 : 2; times > 0; times -= 1) {
            converse(client.session, server, client.session.receive(server.update(update)).toSend)
          }
        }
        if (random() < 0.15) {
          client.reconnect()
          client.sync(server)
        }
      }
    }
    for (const client of [...clients, ...clients]) {
      client.reconnect()
      client.sync(server)
    }
    const texts = new Set([server.doc.getText('t').toString(), ...clients.map(({ text }) => text.toString())])
    expect(texts.size, `seed ${seed}`).toBe(1)
  }
})

describe('other messages', () => {
  test('a denial, awareness and a question for it come out as what they are', () => {
    const { client } = pair()
    expect(client.session.receive(Uint8Array.of(2, 0, 9, ...new TextEncoder().encode('read-only')))).toEqual({ toSend: [], denied: 'read-only' })
    expect(client.session.receive(Uint8Array.of(1, 2, 7, 8))).toEqual({ toSend: [], awareness: Uint8Array.of(7, 8) })
    expect(client.session.receive(Uint8Array.of(3))).toEqual({ toSend: [], awarenessWanted: true })
  })

  test('of a newer server is ignored', () => {
    expect(pair().client.session.receive(Uint8Array.of(120, 1, 2, 3))).toEqual({ toSend: [] })
  })

  test('a malformed one is an error of its own kind, and harms nothing', () => {
    const { client, server } = pair()
    client.sync(server)
    const random = seeded(7)
    for (let n = 0; n < 3_000; n += 1) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 12) }, () => Math.floor(random() * 256))
      try {
        client.session.receive(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(MalformedMessage)
      }
    }
    client.text.insert(0, 'toujours là')
    client.reconnect()
    client.sync(server)
    expect(server.doc.getText('t').toString()).toContain('toujours là')
  })
})

test('an edit that no message can hold is said to be one', () => {
  const { client, server } = pair()
  client.sync(server)
  expect(() => client.doc.getMap('m').set('image', 'x'.repeat(2 * MAX_UPDATE_BYTES))).toThrow(EditTooLong)
})

describe('what comes in parts', () => {
  function opened(): { client: Client; message: Uint8Array } {
    const { client, server } = pair()
    server.doc.getText('t').insert(0, 'là '.repeat(500))
    const [message] = client.session.start().flatMap((each) => server.take(each))
    return { client, message: message! }
  }

  test('is there when the last part is, and other messages go in between', () => {
    const { client, message } = opened()
    client.session.receive(new SyncServer().question())
    const parts = inParts(message, 100)
    expect(parts.length).toBeGreaterThan(10)
    for (const part of parts.slice(0, -1)) {
      expect(client.session.receive(part)).toEqual({ toSend: [] })
      expect(client.session.receive(new SyncServer().saved(0))).toEqual({ toSend: [] })
      expect(client.session.synced).toBe(false)
      expect(client.text.toString()).toBe('')
    }
    client.session.receive(parts.at(-1)!)
    expect(client.session.synced).toBe(true)
    expect(client.text.toString()).toBe('là '.repeat(500))
  })

  test('begins anew at place 0, and what is left of an opening before is passed over', () => {
    const { client, message } = opened()
    const [before, now] = [inParts(message, 90), inParts(message, 100)]
    for (const part of [...before.slice(3, 6), ...now.slice(0, 5), before[7]!]) client.session.receive(part)
    expect(client.text.toString()).toBe('')
    for (const part of now.slice(5)) client.session.receive(part)
    expect(client.text.toString()).toBe('là '.repeat(500))
  })

  test('that cannot be a part is refused', () => {
    const { client, message } = opened()
    const nested = inParts(inParts(message, 100)[0]!, 1_000)[0]!
    const beyond = Uint8Array.from([102, 1, 1, 1, 7])
    for (const bad of [nested, beyond, Uint8Array.from([102, 5])]) expect(() => client.session.receive(bad)).toThrow(MalformedMessage)
  })
})

/** Rooms against a real server: joining, the lobby, people, chat, documents, cuts and restarts. */

import * as Y from 'yjs'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { PasserelleApi, PasserelleError, Room, SharedDocument, type RoomView, type TransportName } from '../src/index.js'
import { SECOND_MS, eventually, nextEvent } from './support/deadlines.js'
import { ServerProcess } from './support/server.js'

let server: ServerProcess
let api: PasserelleApi
const rooms: Room[] = []

beforeAll(async () => {
  server = await ServerProcess.start()
  api = new PasserelleApi({ baseUrl: server.url })
}, 70 * SECOND_MS)
afterAll(() => server.dispose())
afterEach(() => {
  for (const room of rooms.splice(0)) room.close()
})

function open(token: string, transports?: TransportName[]): Room {
  const room = new Room({ token, baseUrl: server.url, logLevel: (process.env.PASSERELLE_TEST_LOG as 'debug' | undefined) ?? 'silent', ...(transports === undefined ? {} : { transports }) })
  rooms.push(room)
  return room
}

async function newRoom(kind: 'interclass' | 'consultation' = 'interclass') {
  const { room, token } = await api.createRoom({ name: 'Les marées', kind, host_name: 'Amélie' })
  const host = open(token)
  await host.connect()
  const invite = (role: 'class' | 'pupil' | 'guest' | 'observer', lobby?: boolean) =>
    api.createInvitation(room.id, token, lobby === undefined ? { role } : { role, lobby })
  const join = async (role: 'class' | 'pupil' | 'guest' | 'observer', name: string, transports?: TransportName[]) => {
    const { code } = await invite(role, false)
    const joined = await api.join({ code, name })
    const participant = open(joined.token, transports)
    await participant.connect()
    return participant
  }
  return { room, token, host, invite, join }
}

describe('the HTTP API', () => {
  test('lists and revokes invitations', async () => {
    const { room, token, invite } = await newRoom()
    const invitation = await invite('guest')
    expect((await api.listInvitations(room.id, token)).map(({ id }) => id)).toContain(invitation.id)
    await api.revokeInvitation(room.id, token, invitation.id)
    await expect(api.join({ code: invitation.code, name: 'Musée' })).rejects.toMatchObject({ code: expect.stringMatching(/^invitation-/) })
  })

  test('says which field is wrong', async () => {
    const error = await api.createRoom({ name: '' }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(PasserelleError)
    expect(error).toMatchObject({ code: 'invalid', field: '$.name' })
  })

  test('calls a server that is not there "network"', async () => {
    await expect(new PasserelleApi({ baseUrl: 'http://127.0.0.1:9' }).createRoom({ name: 'x' })).rejects.toMatchObject({ code: 'network' })
  })
})

describe('a room', () => {
  test('refuses a token that proves nothing', async () => {
    const room = open('aaaa.bbbb.cccc')
    const error = nextEvent<[PasserelleError]>(room, 'error')
    await expect(room.connect()).rejects.toMatchObject({ code: 'token-invalid' })
    expect((await error)[0].code).toBe('token-invalid')
    expect(room.connectionState).toBe('closed')
  })

  test('shows everyone who comes, raises a hand, is renamed and leaves', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe de Rimouski')
    await eventually(() => host.view?.participants.some(({ name }) => name === 'Classe de Rimouski') ?? false)
    await guest.setHand(true)
    const id = guest.view?.self_id ?? ''
    const seen = () => host.view?.participants.find((each) => each.id === id)
    await eventually(() => seen()?.hand_raised_at != null)
    await host.setHand(false, id)
    await eventually(() => guest.view?.participants.find((each) => each.id === id)?.hand_raised_at === null)
    await guest.rename('Classe de Matane')
    await eventually(() => seen()?.name === 'Classe de Matane')
    await guest.leave()
    await eventually(() => seen() === undefined)
    expect(guest.connectionState).toBe('closed')
  })

  test('of two tabs that set the same at once both are heard, and who comes late without knowing is not', async () => {
    const { room, token, host } = await newRoom()
    const other = open(token)
    await other.connect()
    for (const [mine, theirs] of [['un', 'deux'], ['trois', 'quatre']] as const) {
      await Promise.all([host.rename(mine), other.rename(theirs)])
      await eventually(() => [mine, theirs].includes(host.view?.participants[0]?.name as 'un') && host.view?.seq === other.view?.seq)
    }
    await host.configure({ chat_enabled: false })
    await other.configure({ chat_enabled: true })
    await eventually(() => host.view?.settings.chat_enabled === true && room.id === host.view.room.id)
  })

  test('a view that grew by events equals a fresh one', async () => {
    const { host, token, join } = await newRoom()
    const [one, other] = await Promise.all([join('class', 'Une'), join('pupil', 'Autre')])
    await one.sendChat('bonjour')
    await other.setHand(true)
    await host.configure({ chat_enabled: false })
    await host.remove(other.view?.self_id ?? '')
    await eventually(() => host.view?.participants.length === 2 && one.view?.settings.chat_enabled === false)
    const grown = one.view as RoomView
    one.close()
    const again = open((await api.join({ code: (await api.createInvitation(grown.room.id, token, { role: 'class' })).code, name: 'Troisième' })).token)
    await again.connect()
    const fresh = again.view as RoomView
    expect({ ...fresh, participants: fresh.participants.filter(({ name }) => name !== 'Troisième') }).toMatchObject({
      room: grown.room,
      settings: grown.settings,
      chat: grown.chat,
      tracks: grown.tracks,
      permissions: grown.permissions,
    })
  })

  test('carries chat to everyone, once', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe')
    const lines: string[] = []
    guest.on('chat', ({ text }) => lines.push(text))
    await host.sendChat('Qui voit la mer ?')
    await host.sendChat('Nous !')
    await eventually(() => lines.length === 2)
    expect(lines).toEqual(['Qui voit la mer ?', 'Nous !'])
  })

  test('what is not allowed is refused, next to what is', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe')
    expect(guest.can('remove')).toBe(false)
    expect(host.can('remove')).toBe(true)
    await expect(guest.remove(host.view?.self_id ?? '')).rejects.toMatchObject({ code: 'permission-denied' })
    await host.remove(guest.view?.self_id ?? '')
  })

  test('removal is final', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe')
    const removed = nextEvent<[string]>(guest, 'removed')
    await host.remove(guest.view?.self_id ?? '')
    expect((await removed)[0]).toBe('removed')
    expect(guest.connectionState).toBe('closed')
    await expect(guest.sendChat('encore là ?')).rejects.toMatchObject({ code: 'removed' })
  })
})

describe('the lobby', () => {
  test('a guest waits, sees nothing, and comes in when admitted', async () => {
    const { host, invite } = await newRoom()
    const { code } = await invite('guest')
    const joined = await api.join({ code, name: 'Musée' })
    expect(joined.state).toBe('waiting')
    const guest = open(joined.token)
    expect(await guest.connect()).toBe('waiting')
    expect([guest.view, guest.lobbyState]).toEqual([null, 'waiting'])
    await eventually(() => host.view?.lobby.length === 1)
    const view = nextEvent<[RoomView]>(guest, 'view')
    await host.admit(joined.participant_id)
    expect((await view)[0].self_id).toBe(joined.participant_id)
    expect(guest.lobbyState).toBe('admitted')
  })

  test('a guest who is denied stays out', async () => {
    const { host, invite } = await newRoom()
    const joined = await api.join({ code: (await invite('guest')).code, name: 'Quelqu’un' })
    const guest = open(joined.token)
    await guest.connect()
    const removed = nextEvent<[string]>(guest, 'removed')
    await host.deny(joined.participant_id)
    expect((await removed)[0]).toBe('denied')
    const back = open(joined.token)
    await expect(back.connect()).rejects.toMatchObject({ code: 'denied' })
  })
})

describe.each<TransportName[][]>([[['websocket']], [['polling']]])('documents over %s', (transports) => {
  test('two people write one text, and it is saved', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe', transports)
    expect(guest.connectionState).toBe('connected')
    const [one, other] = [host.document('texte'), guest.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    one.doc.getText('t').insert(0, 'La mer monte. ')
    other.doc.getText('t').insert(0, 'Éclair 🌊 ')
    await eventually(() => one.state === 'saved' && other.state === 'saved' && text(one) === text(other) && text(one).length > 20)
    expect(text(one)).toContain('La mer monte. ')
    expect(text(one)).toContain('Éclair 🌊 ')
    expect(one.unsavedCount).toBe(0)
  })

  test('a host makes a text, and what it begins with is there once for who opens it', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe', transports)
    const listed = eventually(() => guest.view?.documents.length === 1)
    const made = await host.createDocument('Questions', {
      type: 'doc',
      content: [{ type: 'paragraph', content: [{ type: 'text', text: 'Qui écrit 🌊 ?', marks: [{ type: 'bold' }] }] }],
    })
    await listed
    expect(guest.view?.documents).toEqual([made])
    const both = [host.document(made.document), guest.document(made.document)]
    await Promise.all(both.map((one) => one.whenSynced()))
    for (const one of both) expect(one.doc.getXmlFragment('content').toString()).toBe('<paragraph><bold>Qui écrit 🌊 ?</bold></paragraph>')
    await host.renameDocument(made.document, 'Réponses')
    await eventually(() => guest.view?.documents[0]?.title === 'Réponses')
    await expect(guest.createDocument('Autre')).rejects.toMatchObject({ code: 'permission-denied' })
    await expect(host.createDocument('Autre', '')).rejects.toMatchObject({ code: 'invalid', field: '$.template' })
  })

  test('a burst of edits arrives whole', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe', transports)
    const [one, other] = [host.document('texte'), guest.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    for (let n = 0; n < 500; n += 1) other.doc.getText('t').insert(0, 'a')
    for (let n = 0; n < 40; n += 1) {
      other.doc.getText('t').insert(0, 'b')
      await new Promise((resolve) => setImmediate(resolve)) // each in a message of its own
    }
    await eventually(() => text(one).length === 540 && other.state === 'saved')
  })

  test('more than fits one message goes in pieces', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe', transports)
    const [one, other] = [host.document('long'), guest.document('long')]
    for (let n = 0; n < 40; n += 1) other.doc.getText('t').insert(n % 2 === 0 ? 0 : n * 25_000, `${n}`.padEnd(50_000, 'é🌊'))
    await Promise.all([one.whenSynced(), other.whenSynced()])
    await eventually(() => other.state === 'saved' && text(one).length === 2_000_000, { deadlineMs: 20 * SECOND_MS })
    expect(text(one)).toBe(text(other))

    const receive = vi.spyOn(SharedDocument.prototype, 'receive')
    try {
      const newcomer = (await join('class', 'Autre', transports)).document('long')
      await newcomer.whenSynced()
      expect(text(newcomer)).toBe(text(other))
      const heard = receive.mock.calls.filter((_, call) => receive.mock.contexts[call] === newcomer).map(([message]) => message)
      expect(heard.filter(([kind]) => kind === 102).length).toBeGreaterThan(1)
      expect(Math.max(...heard.map(({ byteLength }) => byteLength))).toBeLessThan(600_000)
    } finally {
      receive.mockRestore()
    }
  })

  test('many who begin an empty text in one instant have one paragraph', async () => {
    const { host, join } = await newRoom()
    const people = [host, await join('class', 'Classe', transports), await join('pupil', 'Léa', transports)]
    for (let round = 0; round < 10; round += 1) {
      const all = people.map((room) => room.document(`vide${round}`, { paragraph: true }))
      await Promise.all(all.map((one) => one.whenSynced()))
      for (const one of all) expect(one.doc.getXmlFragment('content').toString()).toBe('<paragraph></paragraph>')
      // As an editor writes: into the line's text that is there.
      for (const [n, one] of all.entries()) ((one.doc.getXmlFragment('content').get(0) as Y.XmlElement).get(0) as Y.XmlText).insert(0, `${n}`)
      const shown = (one: SharedDocument) => one.doc.getXmlFragment('content').toString()
      await eventually(() => all.every((one) => shown(one) === shown(all[0]!) && shown(one).length === '<paragraph>012</paragraph>'.length))
      expect(all[0]!.doc.getXmlFragment('content').length).toBe(1)
    }
  })

  test('cursors come, move and go', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe', transports)
    const [one, other] = [host.document('texte'), guest.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    const seen = () => one.awareness.getStates().get(other.doc.clientID)
    other.awareness.setLocalStateField('user', { name: 'Classe' })
    await eventually(() => (seen()?.user as { name?: string } | undefined)?.name === 'Classe')
    for (let n = 1; n <= 20; n += 1) other.awareness.setLocalStateField('cursor', n)
    await eventually(() => seen()?.cursor === 20)
    guest.close()
    await eventually(() => seen() === undefined)
  })
})

describe('a document', () => {
  test('says whether one may write, and follows the room', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe')
    const [one, other] = [host.document('texte'), guest.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    expect(other.canWrite).toBe(true)
    await host.configure({ writing_enabled: false })
    await eventually(() => !other.canWrite)
    const refused = nextEvent<[number, string]>(other, 'refused')
    other.doc.getText('t').insert(0, 'trop tard')
    expect(await refused).toEqual([4403, 'read-only'])
    expect(other.state).toBe('unsaved')
    expect(text(one)).toBe('')
    await host.configure({ writing_enabled: true })
    await eventually(() => other.canWrite && other.state === 'saved' && text(one) === 'trop tard')
  })

  test('a name that no document can have is refused', async () => {
    const { host } = await newRoom()
    const document = host.document('../secret')
    await expect(document.whenSynced()).rejects.toMatchObject({ code: expect.any(String) })
    expect(document.state).toBe('refused')
  })

  test('is always the same object for the same name, until it is closed', async () => {
    const { host } = await newRoom()
    const document = host.document('texte')
    expect(host.document('texte')).toBe(document)
    document.close()
    const again = host.document('texte')
    expect(again).not.toBe(document)
    await again.whenSynced()
  })

  test('one huge edit is refused here, and nobody else notices', async () => {
    const { host, join } = await newRoom()
    const guest = await join('class', 'Classe')
    const [one, other] = [host.document('texte'), guest.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    const refused = nextEvent<[number, string]>(other, 'refused')
    other.doc.getMap('images').set('une', 'x'.repeat(1_200_000))
    expect(await refused).toEqual([4413, 'too-large'])
    expect(other.state).toBe('refused')
    one.doc.getText('t').insert(0, 'tranquille')
    await eventually(() => one.state === 'saved')
  })
})

function text({ doc }: { doc: { getText(name: string): { toString(): string } } }): string {
  return doc.getText('t').toString()
}

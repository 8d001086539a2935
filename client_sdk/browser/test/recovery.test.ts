/** A real server that is killed, restarted, frozen and drained; a proxy in between that is cut. */

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { WebsocketProvider } from 'y-websocket'
import WebSocket from 'ws'
import * as Y from 'yjs'
import { PasserelleApi, Room, type ConnectionState, type SharedDocument, type TransportName } from '../src/index.js'
import { SECOND_MS, eventually, nextEvent } from './support/deadlines.js'
import { CuttableProxy } from './support/cuttable_proxy.js'
import { ServerProcess } from './support/server.js'

let server: ServerProcess
const rooms: Room[] = []

beforeAll(async () => {
  server = await ServerProcess.start()
}, 70 * SECOND_MS)
afterAll(() => server.dispose())
afterEach(() => {
  for (const room of rooms.splice(0)) room.close()
})

async function host(baseUrl = server.url, transports?: TransportName[]): Promise<{ room: Room; token: string; id: string }> {
  const created = await new PasserelleApi({ baseUrl: server.url }).createRoom({ name: 'Les marées' })
  const room = open(created.token, baseUrl, transports)
  await room.connect()
  return { room, token: created.token, id: created.room.id }
}

function open(token: string, baseUrl = server.url, transports?: TransportName[]): Room {
  const room = new Room({ token, baseUrl, logLevel: 'silent', ...(transports === undefined ? {} : { transports }) })
  rooms.push(room)
  return room
}

function text({ doc }: { doc: Y.Doc }): string {
  return doc.getText('t').toString()
}

function write(document: SharedDocument, words: string): void {
  document.doc.getText('t').insert(document.doc.getText('t').length, words)
}

function reaches(room: Room, state: ConnectionState): Promise<unknown> {
  return nextEvent(room, 'connection', (now: ConnectionState) => now === state, 20 * SECOND_MS)
}

describe.each<[TransportName]>([['websocket'], ['polling']])('over %s', (transport) => {
  test('kill -9 and a restart: what was saved is there, what was written meanwhile joins it', async () => {
    const { room, token } = await host(server.url, [transport])
    const document = room.document('texte')
    await document.whenSynced()
    write(document, 'avant ')
    await eventually(() => document.state === 'saved')
    const lost = reaches(room, 'reconnecting')
    await server.kill()
    await lost
    expect(document.state).toBe('offline')
    write(document, 'pendant ')
    expect([document.state, document.unsavedCount]).toEqual(['offline', 1])
    const back = reaches(room, 'connected')
    await server.start()
    await back
    await eventually(() => document.state === 'saved' && document.synced)
    write(document, 'après')
    await eventually(() => document.state === 'saved')
    const other = open(token, server.url, [transport])
    await other.connect()
    const copy = other.document('texte')
    await copy.whenSynced()
    expect(text(copy)).toBe('avant pendant après')
  })
})

test('what the store does not take is not called saved, and is once it does', async () => {
  const { room, token } = await host()
  const other = open(token)
  await other.connect()
  const [document, copy] = [room.document('texte'), other.document('texte')]
  await Promise.all([document.whenSynced(), copy.whenSynced()])
  write(document, 'avant ')
  await eventually(() => document.state === 'saved' && text(copy) === 'avant ')
  const states: string[] = []
  document.on('state', (state) => states.push(state))
  const letGo = await server.holdStore()
  try {
    write(document, 'pas encore')
    await eventually(() => text(copy) === 'avant pas encore') // shown only once the store has failed
    expect(new Set(states)).toEqual(new Set(['unsaved']))
    expect([document.state, document.unsavedCount, copy.state]).toEqual(['unsaved', 1, 'saved'])
  } finally {
    await letGo()
  }
  await eventually(() => document.state === 'saved')
  expect(document.unsavedCount).toBe(0)
})

test('a document opened while the server is away opens when it comes', async () => {
  const { token } = await host()
  await server.kill()
  const room = open(token)
  const document = room.document('texte')
  expect(document.state).toBe('loading')
  const entered = room.connect()
  await reaches(room, 'reconnecting')
  expect(document.state).toBe('offline')
  write(document, 'écrit d’avance')
  await server.start()
  expect(await entered).toBe('admitted')
  await eventually(() => document.state === 'saved' && document.synced)
})

test('a server that says nothing any more is left, and found again', async () => {
  const { room } = await host()
  const document = room.document('texte')
  await document.whenSynced()
  const lost = reaches(room, 'reconnecting')
  server.freeze()
  const began = Date.now()
  try {
    await lost
    expect(Date.now() - began).toBeLessThan(13 * SECOND_MS)
    write(document, 'dans le silence')
  } finally {
    server.thaw()
  }
  await eventually(() => document.state === 'saved' && document.synced, { deadlineMs: 15 * SECOND_MS })
})

test('a draining server is left for the next one, not before its time', async () => {
  const { room } = await host()
  const document = room.document('texte')
  await document.whenSynced()
  write(document, 'juste avant')
  const states: [ConnectionState, number][] = []
  room.on('connection', (state) => states.push([state, Date.now()]))
  await server.terminate()
  await server.start()
  await eventually(() => states.some(([state]) => state === 'connected'), { deadlineMs: 20 * SECOND_MS })
  const at = (wanted: ConnectionState) => states.find(([state]) => state === wanted)?.[1] ?? 0
  expect(at('connected') - at('reconnecting')).toBeGreaterThan(1_400) // the server asked for 1.5 s
  await eventually(() => document.state === 'saved' && document.synced)
  expect(text(document)).toBe('juste avant')
})

test('a cut of the network: chat sent meanwhile arrives once, the view is whole again', async () => {
  const proxy = await CuttableProxy.to(server.port)
  try {
    const { room, token } = await host(proxy.url)
    const witness = open(token)
    await witness.connect()
    const lines: string[] = []
    witness.on('chat', (line) => lines.push(line.text))
    const lost = reaches(room, 'reconnecting')
    proxy.cut()
    await lost
    const sending = room.sendChat('depuis le tunnel')
    await witness.configure({ chat_enabled: true, lobby_roles: [] })
    await witness.rename('Renommée')
    await proxy.mend()
    await sending
    await eventually(() => lines.length > 0)
    await eventually(() => room.view?.settings.lobby_roles.length === 0)
    expect(room.view?.participants[0]?.name).toBe('Renommée')
    expect(lines).toEqual(['depuis le tunnel'])
  } finally {
    await proxy.close()
  }
})

test('where WebSocket is refused, polling takes over and is remembered', async () => {
  const proxy = await CuttableProxy.to(server.port, { refuseWebSocket: true })
  try {
    const { room, token } = await host(proxy.url)
    let transport: TransportName | null = null
    const again = open(token, proxy.url)
    again.on('connection', (_state, now) => (transport = now))
    await again.connect()
    expect(transport).toBe('polling')
    expect(proxy.webSocketAttempts).toBeGreaterThan(0)
    const [one, other] = [room.document('texte'), again.document('texte')]
    await Promise.all([one.whenSynced(), other.whenSynced()])
    write(one, 'malgré tout')
    await eventually(() => text(other) === 'malgré tout' && one.state === 'saved')
  } finally {
    await proxy.close()
  }
})

test('where WebSocket has worked, a server that starts again does not make a connection poll', async () => {
  const proxy = await CuttableProxy.to(server.port)
  try {
    const { room } = await host(proxy.url)
    const transports: (TransportName | null)[] = []
    room.on('connection', (_state, now) => transports.push(now))
    proxy.unavailableFor = 2
    proxy.cut()
    const back = reaches(room, 'connected')
    await proxy.mend()
    await back
    expect(transports).toEqual([null, 'websocket'])
    expect([proxy.webSocketAttempts, proxy.unavailableFor]).toEqual([4, 0])
  } finally {
    await proxy.close()
  }
})

test('where WebSocket is swallowed, polling takes over', async () => {
  const proxy = await CuttableProxy.to(server.port, { swallowWebSocket: true })
  try {
    const { room } = await host(proxy.url)
    expect(room.connectionState).toBe('connected')
    const document = room.document('texte')
    await document.whenSynced()
    write(document, 'par la petite porte')
    await eventually(() => document.state === 'saved')
  } finally {
    await proxy.close()
  }
})

test('writes one text with any Yjs editor at the y-websocket endpoint', async () => {
  const { room, token, id } = await host()
  const document = room.document('texte')
  await document.whenSynced()
  const doc = new Y.Doc()
  const provider = new WebsocketProvider(`${server.url.replace('http', 'ws')}/yjs/${id}`, 'texte', doc, {
    params: { token },
    WebSocketPolyfill: WebSocket as never,
    disableBc: true,
  })
  try {
    await eventually(() => provider.synced)
    document.awareness.setLocalStateField('user', { name: 'SDK' })
    doc.getText('t').insert(0, 'de y-websocket, ')
    await eventually(() => text(document) === 'de y-websocket, ')
    write(document, 'de Passerelle')
    await eventually(() => doc.getText('t').toString() === 'de y-websocket, de Passerelle')
    await eventually(() => [...provider.awareness.getStates().values()].some((state) => state.user?.name === 'SDK'))
  } finally {
    provider.destroy()
    doc.destroy()
  }
})

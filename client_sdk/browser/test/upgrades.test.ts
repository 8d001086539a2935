/** Instances are upgraded one after the other: a client that is newer than its server is refused nothing, and says what
 * it may say wherever that is understood. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PasserelleApi, PasserelleError, Room, randomId } from '../src/index.js'
import { SECOND_MS, eventually } from './support/deadlines.js'
import { ServerProcess } from './support/server.js'

const OLDER = 'tests.support.older_server'
let server: ServerProcess

beforeAll(async () => {
  server = await ServerProcess.start(OLDER)
}, 70 * SECOND_MS)
afterAll(() => server.dispose())

async function setEverything(host: Room, name: string, isOn: boolean): Promise<void> {
  await host.setHand(isOn)
  await host.rename(name)
  await host.configure({ chat_enabled: isOn })
  await host.spotlight(isOn ? (host.view?.self_id ?? null) : null)
}

/** A server that starts for longer than a command waits for the connection costs a try, no more. */
async function again(work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof PasserelleError) || error.code !== 'network') throw error
    }
  }
}

/** Somebody joins whose first answer is lost, and asks again: whether they are one participant. */
async function joinsOnce(): Promise<boolean> {
  const came = new Set<string>()
  const losing = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const response = await fetch(input, init)
    if (!response.ok) return response
    came.add(((await response.json()) as { participant_id: string }).participant_id)
    throw new TypeError('Failed to fetch')
  }
  const api = new PasserelleApi({ baseUrl: server.url })
  const { room, token } = await api.createRoom({ name: 'Les marées' })
  const { id } = await api.createInvitation(room.id, token, { role: 'class' })
  const ask = { invitation: id, name: '5e A', request_id: randomId() }
  const unanswered = new PasserelleApi({ baseUrl: server.url, fetch: losing }).join(ask)
  await expect(unanswered).rejects.toMatchObject({ code: 'network' })
  came.add((await api.join(ask)).participant_id)
  return came.size === 1
}

describe('a client that is newer than its server', () => {
  test('is refused nothing, also when the server changes while it asks', async () => {
    const { token } = await new PasserelleApi({ baseUrl: server.url }).createRoom({ name: 'Les marées', host_name: 'Amélie' })
    const [host, other] = [0, 1].map(() => new Room({ token, baseUrl: server.url, logLevel: 'silent' })) as [Room, Room]
    const isThere = (understood: boolean) =>
      eventually(() => [host, other].every((room) => room.connectionState === 'connected' && (room.view?.understands ?? []).includes('seen') === understood), {
        deadlineMs: 30 * SECOND_MS,
      })
    try {
      await Promise.all([host.connect(), other.connect()])
      expect(host.view?.understands).toBeUndefined()
      await setEverything(host, 'Amélie 1', true)
      expect(await joinsOnce()).toBe(false)

      await server.terminate()
      await server.start()
      await isThere(true)
      expect(await joinsOnce()).toBe(true)
      // Who says what they have seen, and was overtaken, is told, and asks again: both are heard.
      await Promise.all([host.rename('un'), other.rename('deux')])
      await setEverything(host, 'Amélie 2', false)

      await server.terminate()
      const asked = again(() => setEverything(host, 'Amélie 3', true))
      await server.start(OLDER)
      await asked
      await isThere(false)
      expect(host.view?.participants[0]?.name).toBe('Amélie 3')
    } finally {
      host.close()
      other.close()
    }
  }, 120 * SECOND_MS)
})

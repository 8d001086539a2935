/** When it connects again: with a socket that never opens, and a clock of the test's own. */

import { setMaxListeners } from 'node:events'
import { io } from 'socket.io-client'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Connection } from '../src/connection.js'
import { makeLog } from '../src/log.js'
import { seeded } from './support/random.js'

vi.mock('socket.io-client', () => ({ io: vi.fn() }))

const DEVICES = 30
const page = new EventTarget()
setMaxListeners(0, page)
const connections: Connection[] = []
/** Of each attempt, what says that it failed. */
let failures: (() => void)[] = []
let startedAt: number[] = []

beforeEach(() => {
  vi.useFakeTimers()
  vi.spyOn(Math, 'random').mockImplementation(seeded(7))
  vi.stubGlobal('document', Object.assign(page, { visibilityState: 'visible' }))
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page))
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page))
  failures = []
  startedAt = []
  vi.mocked(io).mockImplementation((() => {
    startedAt.push(Date.now())
    const handlers = new Map<string, (error: Error) => void>()
    failures.push(() => handlers.get('connect_error')?.(new Error('websocket error')))
    return {
      on: (event: string, handler: (error: Error) => void) => handlers.set(event, handler),
      onAny: () => undefined,
      disconnect: () => undefined,
      io: { engine: undefined },
    }
  }) as unknown as typeof io)
})

afterEach(() => {
  for (const connection of connections.splice(0)) connection.close()
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

/** A school without Wi-Fi: every device has tried for a while, and waits for seconds before the next attempt. */
function cutOff(): void {
  for (let device = 0; device < DEVICES; device += 1) {
    const connection = new Connection({
      baseUrl: 'https://passerelle.example',
      token: () => 'jeton',
      transports: ['websocket', 'polling'],
      log: makeLog('silent'),
    })
    connections.push(connection)
    connection.open()
  }
  while (startedAt.length < 6 * DEVICES) {
    for (const fail of failures.splice(0)) fail()
    vi.advanceTimersToNextTimer()
  }
  for (const fail of failures.splice(0)) fail()
  startedAt = []
}

test('a school whose Wi-Fi is back does not come back in one instant, and is back soon', () => {
  cutOff()
  const backAt = Date.now()
  page.dispatchEvent(new Event('online'))
  expect(startedAt).toEqual([])
  vi.advanceTimersByTime(1_500)
  expect(startedAt.length).toBe(DEVICES)
  const after = startedAt.map((at) => at - backAt)
  expect(Math.max(...after) - Math.min(...after)).toBeGreaterThan(750)
  for (let from = 0; from < 1_500; from += 250) {
    expect(after.filter((at) => at >= from && at < from + 250).length).toBeLessThan(DEVICES / 2)
  }
})

test('a network that says again and again that it is back puts nobody off', () => {
  cutOff()
  for (let second = 0; second < 1_500; second += 100) {
    page.dispatchEvent(new Event('online'))
    vi.advanceTimersByTime(100)
  }
  expect(startedAt.length).toBe(DEVICES)
})

test('who opens the lid connects at once', () => {
  cutOff()
  page.dispatchEvent(new Event('pageshow'))
  expect(startedAt.length).toBe(DEVICES)
})

import { describe, expect, test } from 'vitest'
import { DOUBTED_ANSWER_MS, Liveness, drainingDelayMs, isFinalRefusal, reconnectionDelayMs } from '../src/reconnection.js'
import { transportOrder } from '../src/transport_memory.js'

describe('delays', () => {
  test('grow, are bounded, and are spread over half their length', () => {
    for (let attempt = 0; attempt < 60; attempt += 1) {
      const [least, most] = [reconnectionDelayMs(attempt, 0), reconnectionDelayMs(attempt, 0.999)]
      expect(most).toBeLessThanOrEqual(4_000)
      expect(most / least).toBeGreaterThan(1.9)
      expect(least).toBeGreaterThanOrEqual(reconnectionDelayMs(Math.max(0, attempt - 1), 0))
    }
    expect(reconnectionDelayMs(0, 0)).toBeLessThan(500)
  })

  test('after draining are at least what the server asked, never endless', () => {
    expect(drainingDelayMs(1_500, 0)).toBe(1_500)
    expect(drainingDelayMs(1_500, 0.99)).toBeLessThan(3_000)
    expect(drainingDelayMs(Number.MAX_VALUE, 0)).toBe(60_000)
    expect(drainingDelayMs(-5, 0.5)).toBe(0)
  })
})

test('only what will be refused again is final', () => {
  expect(isFinalRefusal('token-expired')).toBe(true)
  expect(isFinalRefusal('removed')).toBe(true)
  for (const code of ['draining', 'too-many-requests', 'store-unavailable', 'internal']) expect(isFinalRefusal(code)).toBe(false)
})

test('the transport that worked is tried first, if it is allowed', () => {
  expect(transportOrder(['websocket', 'polling'], null, 0)).toEqual(['websocket', 'polling'])
  expect(transportOrder(['websocket', 'polling'], 'polling', 0)).toEqual(['polling', 'websocket'])
  expect(transportOrder(['websocket'], 'polling', 0)).toEqual(['websocket'])
})

test('where WebSocket has worked, a server that starts again makes nobody poll, and a network that has changed is believed', () => {
  const orders = [0, 1, 2, 3, 4, 5].map((attempt) => transportOrder(['websocket', 'polling'], 'websocket', attempt))
  expect(orders.slice(0, 4)).toEqual(Array(4).fill(['websocket']))
  expect(orders.slice(4)).toEqual(Array(2).fill(['websocket', 'polling']))
  expect(transportOrder(['polling'], 'websocket', 0)).toEqual(['polling'])
})

describe('a connection', () => {
  test('that says something now and then is never asked', () => {
    const liveness = new Liveness(0)
    for (let now = 0; now < 60_000; now += 4_000) {
      liveness.receive(now)
      expect(liveness.handleTimer(now + 3_999)).toBe('wait')
    }
  })

  test('that is quiet is asked once, and is dead without an answer', () => {
    const liveness = new Liveness(0)
    expect(liveness.handleTimer(liveness.nextTimer)).toBe('probe')
    expect(liveness.handleTimer(liveness.nextTimer - 1)).toBe('wait')
    expect(liveness.handleTimer(liveness.nextTimer)).toBe('dead')
  })

  test('that answers lives', () => {
    const liveness = new Liveness(0)
    const askedAt = liveness.nextTimer
    expect(liveness.handleTimer(askedAt)).toBe('probe')
    liveness.receive(askedAt + 10)
    expect(liveness.handleTimer(askedAt + 4_000)).toBe('wait')
  })

  test('survives the longest silence of a server that is well', () => {
    // Its own ping comes every 8 s; ours may wait behind a long upload.
    const liveness = new Liveness(0)
    liveness.handleTimer(liveness.nextTimer)
    expect(liveness.handleTimer(8_500)).toBe('wait')
  })

  test('under suspicion is asked at once, and given less time', () => {
    const liveness = new Liveness(0)
    expect(liveness.suspect(1_000)).toBe(true)
    expect(liveness.suspect(1_100)).toBe(false)
    expect(liveness.nextTimer).toBeLessThanOrEqual(3_500)
    expect(liveness.handleTimer(liveness.nextTimer)).toBe('dead')
  })

  test('is given a moment only, once something else has fallen silent too, whatever was asked before', () => {
    const liveness = new Liveness(0)
    expect(liveness.suspect(1_000)).toBe(true)
    expect(liveness.suspect(1_100, DOUBTED_ANSWER_MS)).toBe(true)
    expect(liveness.nextTimer).toBe(1_100 + DOUBTED_ANSWER_MS)
    liveness.receive(1_500)
    expect(liveness.handleTimer(1_100 + DOUBTED_ANSWER_MS)).toBe('wait')
  })

  test('is dead at once after a sleep longer than the server’s patience', () => {
    const liveness = new Liveness(0)
    expect(liveness.handleTimer(45_000)).toBe('dead')
  })
})

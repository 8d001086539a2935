/** The state machine alone, on connections that know the rules of signalingState and nothing else; real
 * browsers are in tests/browser/test_sdk_media.py. */

import { expect, test } from 'vitest'
import { PerfectNegotiation, type Negotiator } from '../src/perfect_negotiation.js'
import { seeded } from './support/random.js'

/** Keeps the rules of W3C webrtc-pc for descriptions, rollback included. */
class RuledConnection implements Negotiator {
  signalingState: RTCSignalingState = 'stable'
  localDescription: RTCSessionDescription | null = null
  /** The last offer/answer exchange that this side took part in. */
  agreed = ''
  #pendingRemote = ''
  #count = 0
  readonly #name: string

  constructor(name: string) {
    this.#name = name
  }

  async setLocalDescription(): Promise<void> {
    await settle()
    if (this.signalingState === 'have-remote-offer') {
      this.localDescription = { type: 'answer', sdp: `answer to ${this.#pendingRemote}` } as RTCSessionDescription
      this.agreed = this.#pendingRemote
      this.signalingState = 'stable'
    } else {
      this.#count += 1
      this.localDescription = { type: 'offer', sdp: `${this.#name}${this.#count}` } as RTCSessionDescription
      this.signalingState = 'have-local-offer'
    }
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    await settle()
    if (description.type === 'offer') {
      if (this.signalingState === 'have-remote-offer') throw new Error('InvalidStateError')
      this.#pendingRemote = description.sdp ?? '' // from have-local-offer: implicit rollback
      this.signalingState = 'have-remote-offer'
    } else {
      if (this.signalingState !== 'have-local-offer') throw new Error('InvalidStateError')
      if (description.sdp !== `answer to ${this.localDescription?.sdp}`) throw new Error('the answer to another offer')
      this.agreed = this.localDescription?.sdp ?? ''
      this.signalingState = 'stable'
    }
  }

  async addIceCandidate(): Promise<void> {
    if (this.#pendingRemote === '' && this.agreed === '') throw new Error('InvalidStateError')
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

interface Side {
  connection: RuledConnection
  negotiation: PerfectNegotiation
  outbox: [number, RTCSessionDescriptionInit][]
}

function side(name: string, polite: boolean): Side {
  const connection = new RuledConnection(name)
  const outbox: Side['outbox'] = []
  const negotiation = new PerfectNegotiation(connection, { polite, send: (number, { type, sdp }) => outbox.push([number, { type, sdp }]) })
  return { connection, negotiation, outbox }
}

/** Deliver one waiting message; false when there is none. */
async function deliver(from: Side, to: Side, times = 1): Promise<boolean> {
  const message = from.outbox.shift()
  if (message === undefined) return false
  for (let n = 0; n < times; n += 1) await to.negotiation.receiveDescription(...message)
  return true
}

test('one offer is answered', async () => {
  const [one, other] = [side('a', true), side('b', false)]
  await one.negotiation.negotiate()
  expect(one.negotiation.isWaiting).toBe(true)
  await deliver(one, other)
  await deliver(other, one)
  expect([one.connection.agreed, other.connection.agreed]).toEqual(['a1', 'a1'])
})

test('of two offers that cross, the impolite one’s stands', async () => {
  const [polite, impolite] = [side('p', true), side('i', false)]
  await Promise.all([polite.negotiation.negotiate(), impolite.negotiation.negotiate()])
  await Promise.all([deliver(polite, impolite), deliver(impolite, polite)])
  await deliver(polite, impolite)
  expect([polite.connection.agreed, impolite.connection.agreed]).toEqual(['i1', 'i1'])
  expect([polite.connection.signalingState, impolite.connection.signalingState]).toEqual(['stable', 'stable'])
})

test('candidates of an ignored offer are no error, others are', async () => {
  const [polite, impolite] = [side('p', true), side('i', false)]
  await Promise.all([polite.negotiation.negotiate(), impolite.negotiation.negotiate()])
  await deliver(polite, impolite)
  await impolite.negotiation.receiveCandidate({ candidate: 'candidate:1' })
  await expect(side('x', true).negotiation.receiveCandidate({ candidate: 'candidate:1' })).rejects.toThrow()
})

test('messages that come twice, and answers to offers of before, change nothing', async () => {
  const [one, other] = [side('a', true), side('b', false)]
  await one.negotiation.negotiate()
  await one.negotiation.negotiate() // the first answer is late: offered again
  await deliver(one, other, 2)
  await deliver(one, other, 2)
  while (await deliver(other, one, 2));
  expect([one.connection.agreed, other.connection.agreed]).toEqual(['a2', 'a2'])
  expect(one.connection.signalingState).toBe('stable')
})

test('whatever the timing, both sides agree in the end', async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = seeded(seed)
    const sides: [Side, Side] = [side('p', true), side('i', false)]
    const running: Promise<unknown>[] = []
    for (let step = 0; step < 14; step += 1) {
      const at = random() < 0.5 ? 0 : 1
      const [from, to] = at === 0 ? sides : ([sides[1], sides[0]] as const)
      if (random() < 0.3) running.push(from.negotiation.negotiate())
      else running.push(deliver(from, to, random() < 0.2 ? 2 : 1))
      if (random() < 0.4) await settle()
    }
    await Promise.all(running)
    for (let round = 0; round < 10; round += 1) {
      while ((await deliver(sides[0], sides[1])) || (await deliver(sides[1], sides[0])));
      // What the browser does after a rollback, and the timer after an answer that was lost.
      for (const each of sides) if (each.negotiation.isWaiting) await each.negotiation.negotiate()
    }
    while ((await deliver(sides[0], sides[1])) || (await deliver(sides[1], sides[0])));
    expect(sides.map(({ connection }) => connection.signalingState), `seed ${seed}`).toEqual(['stable', 'stable'])
    expect(sides[0].connection.agreed, `seed ${seed}`).toBe(sides[1].connection.agreed)
  }
})

import { expect, test } from 'vitest'
import { PasserelleError } from '../src/errors.js'
import { makeLog } from '../src/log.js'
import { SignalOutbox } from '../src/signal_outbox.js'

const NETWORK = new PasserelleError('network', 'gone')

/** An outbox over a connection that the test cuts. */
function outbox() {
  const arrived: string[] = []
  const refused: string[] = []
  const state = { isUp: true, refuse: null as PasserelleError | null, overflowed: false }
  const box = new SignalOutbox({
    log: makeLog('silent'),
    request: async (event) => {
      if (!state.isUp) throw NETWORK
      if (state.refuse !== null) throw state.refuse
      arrived.push(event)
    },
    refused: (event, _payload, error) => refused.push(`${event} ${error.code}`),
    overflowed: () => (state.overflowed = true),
  })
  return { box, arrived, refused, state }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

test('what was under way when the connection was lost arrives over the next one, in order', async () => {
  const { box, arrived, state } = outbox()
  box.send('one', {})
  await turn()
  state.isUp = false
  box.send('two', {})
  await turn()
  box.suspend()
  box.send('three', {})
  await turn()
  state.isUp = true
  box.resume()
  await turn()
  expect(arrived).toEqual(['one', 'two', 'three'])
  box.suspend()
  box.resume()
  await turn()
  expect(arrived).toHaveLength(3)
})

test('a refusal is told once, and is not tried again', async () => {
  const { box, arrived, refused, state } = outbox()
  state.refuse = new PasserelleError('permission-denied', 'no')
  box.send('offer', {})
  await turn()
  state.refuse = null
  box.resume()
  await turn()
  expect([refused, arrived]).toEqual([['offer permission-denied'], []])
})

test('too much waiting is said, not kept', async () => {
  const { box, arrived, state } = outbox()
  state.isUp = false
  box.suspend()
  for (let n = 0; n < 300; n += 1) box.send('candidate', {})
  expect(state.overflowed).toBe(true)
  state.isUp = true
  box.resume()
  await turn()
  expect(arrived).toEqual([])
})

import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** Below those that the system gives to whoever asks for any: a connection of somebody else's could take one of them while
 * its server is down. Python's tests, which run beside these, have no TCP server there (tests/support/ports.py). */
const LOWEST = 20_000
const COUNT = 10_000

/** A port of 127.0.0.1 that stays free until its server binds it, and while that server is down. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + randomInt(COUNT)
    if (await isFree(port)) return port
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, '127.0.0.1')
  try {
    await once(probe, 'listening')
  } catch {
    return false
  }
  probe.close()
  await once(probe, 'close')
  return true
}

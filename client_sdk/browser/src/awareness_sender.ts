import { encodeAwarenessUpdate, type Awareness } from 'y-protocols/awareness'
import { awarenessMessage } from './document_session.js'

/** Cursor moves are sent at most this often; the last one always is. */
const INTERVAL_MS = 50

/** Tells the others of our own cursor and name, whenever they change. */
export class AwarenessSender {
  readonly #awareness: Awareness
  readonly #send: (message: Uint8Array) => void
  #timer: ReturnType<typeof setTimeout> | undefined
  #isWaiting = false

  /** `send` drops what cannot be sent: with each connection all is told anew. */
  constructor(awareness: Awareness, send: (message: Uint8Array) => void) {
    this.#awareness = awareness
    this.#send = send
    awareness.on('update', (changes: Record<'added' | 'updated' | 'removed', number[]>) => {
      // Also when somebody else's message says that we had gone: we have not.
      if (Object.values(changes).some((clients) => clients.includes(awareness.clientID))) this.#announce()
    })
  }

  /** Everything of ours, now. */
  sendNow(): void {
    this.#isWaiting = false
    const { clientID, meta } = this.#awareness
    if (meta.has(clientID)) this.#send(awarenessMessage(encodeAwarenessUpdate(this.#awareness, [clientID])))
  }

  /** With a newer clock: the others may have been told that we had gone. */
  renew(): void {
    this.#awareness.setLocalState(this.#awareness.getLocalState())
  }

  /** Changes within the interval go together at its end. */
  #announce(): void {
    if (this.#timer !== undefined) {
      this.#isWaiting = true
      return
    }
    this.sendNow()
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#isWaiting) this.#announce()
    }, INTERVAL_MS)
  }
}

/**
 * The sync of one document over one connection: bytes in, bytes out, no I/O.
 *
 * y-protocols (PROTOCOL.md, sync and awareness) plus Passerelle's `saved` (100) and `unsaved` (101):
 * both sides count the messages of this connection that carry an update (sync step 2 and update), and
 * `saved n` says that the first n are in the server's store. A long message comes in parts (102).
 *
 * A session lives as long as the connection; the document outlives it. Send what `start` returns, feed
 * everything that arrives to `receive` and send what it returns, give each local update to `write`.
 */

import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'
import { MessageParts } from './message_parts.js'
import { splitUpdate } from './update_split.js'

const SYNC = 0
const AWARENESS = 1
const AUTH = 2
const QUERY_AWARENESS = 3
const SAVED = 100
const UNSAVED = 101
const PART = 102

const STEP_1 = 0
const STEP_2 = 1
const UPDATE = 2

/** Largest update in one message: in base64 (long polling) it still fits a body of 1 MB. */
export const MAX_UPDATE_BYTES = 600_000

/** What a message led to. */
export interface Received {
  toSend: Uint8Array[]
  /** For `applyAwarenessUpdate`. */
  awareness?: Uint8Array
  /** Somebody wants to know our own awareness. */
  awarenessWanted?: true
  /** The server refused a write: why. */
  denied?: string
}

/** The server sent what this protocol does not have. */
export class MalformedMessage extends Error {}

/** A single edit (one huge paste) that no message can hold. */
export class EditTooLong extends Error {}

export class DocumentSession {
  readonly #doc: Y.Doc
  readonly #origin: unknown
  readonly #parts = new MessageParts()
  #synced = false
  #answered = false
  #sentCount = 0
  #savedCount = 0
  /** Numbers of messages that hold something of ours which is not known to be saved, in order. */
  #unsaved: number[] = []
  /** Local edits that no message holds yet: made offline, or before the server asked. */
  #unsentEdits: number
  #asking = false

  readonly #mayBeAhead: boolean

  /**
   * `origin`: of transactions that apply what the server sends. `unsentEdits`: how many local edits
   * the server may not have yet. `mayBeAhead`: whether there may be others, of an earlier page.
   */
  constructor(doc: Y.Doc, origin: unknown, unsentEdits: number, mayBeAhead = false) {
    this.#doc = doc
    this.#origin = origin
    this.#unsentEdits = unsentEdits
    this.#mayBeAhead = mayBeAhead
  }

  /** Everything that the server had has arrived, and it has been sent everything of ours. */
  get synced(): boolean {
    return this.#synced && this.#answered
  }

  /** Edits and messages of ours that are not known to be in the server's store. */
  get unsavedCount(): number {
    return this.#unsentEdits + this.#unsaved.length
  }

  /** Ask for the document. */
  start(): Uint8Array[] {
    this.#asking = true
    return [syncMessage(STEP_1, Y.encodeStateVector(this.#doc))]
  }

  /** A local change that holds `edits` edits. Before the server asked nothing goes out: the answer
   * to its question will contain it. Throws EditTooLong. */
  write(update: Uint8Array, edits: number): Uint8Array[] {
    if (!this.#answered) {
      this.#unsentEdits += edits
      return []
    }
    return this.#updateMessages(UPDATE, update, true)
  }

  /** Throws MalformedMessage; EditTooLong, when what the server asks for cannot be sent. */
  receive(message: Uint8Array): Received {
    try {
      return this.#receive(decoding.createDecoder(message))
    } catch (cause) {
      throw cause instanceof EditTooLong ? cause : new MalformedMessage('malformed message', { cause })
    }
  }

  #receive(decoder: decoding.Decoder): Received {
    const kind = decoding.readVarUint(decoder)
    switch (kind) {
      case SYNC:
        return { toSend: this.#receiveSync(decoding.readVarUint(decoder), decoding.readVarUint8Array(decoder)) }
      case AWARENESS:
        return { toSend: [], awareness: decoding.readVarUint8Array(decoder) }
      case AUTH:
        decoding.readVarUint(decoder) // permission denied is the only kind
        return { toSend: [], denied: decoding.readVarString(decoder) }
      case QUERY_AWARENESS:
        return { toSend: [], awarenessWanted: true }
      case SAVED:
        this.#receiveSaved(decoding.readVarUint(decoder))
        return { toSend: [] }
      case PART:
        return this.#receivePart(decoder)
      case UNSAVED: // the server's store fails; what is not saved stays unsaved
      default: // of a newer server
        return { toSend: [] }
    }
  }

  #receivePart(decoder: decoding.Decoder): Received {
    const whole = this.#parts.take(decoder)
    if (whole === null) return { toSend: [] }
    if (whole[0] === PART) throw new MalformedMessage('a part of parts')
    return this.#receive(decoding.createDecoder(whole))
  }

  #receiveSync(step: number, body: Uint8Array): Uint8Array[] {
    switch (step) {
      case STEP_1:
        return this.#answer(body)
      case STEP_2:
        this.#asking = false
        Y.applyUpdate(this.#doc, body, this.#origin)
        this.#synced = true
        return []
      case UPDATE:
        Y.applyUpdate(this.#doc, body, this.#origin)
        // It overtook what it builds on: Yjs holds it back until we have asked.
        return this.#doc.store.pendingStructs !== null && this.#synced && !this.#asking ? this.start() : []
      default:
        throw new MalformedMessage(`unknown sync message ${step}`)
    }
  }

  #answer(stateVector: Uint8Array): Uint8Array[] {
    const isNews = this.unsavedCount > 0 || this.#mayBeAhead || isAhead(this.#doc, stateVector)
    const messages = this.#updateMessages(STEP_2, Y.encodeStateAsUpdate(this.#doc, stateVector), isNews)
    this.#answered = true
    this.#unsentEdits = 0
    return messages
  }

  /** The first piece is of the given kind, further ones are updates. */
  #updateMessages(kind: typeof STEP_2 | typeof UPDATE, update: Uint8Array, isNews: boolean): Uint8Array[] {
    const pieces = splitUpdate(update, MAX_UPDATE_BYTES)
    if (pieces.some(({ byteLength }) => byteLength > MAX_UPDATE_BYTES * 1.2)) {
      throw new EditTooLong('an edit that no message can hold')
    }
    return pieces.map((piece, index) => {
      this.#sentCount += 1
      if (isNews) this.#unsaved.push(this.#sentCount)
      return syncMessage(index === 0 ? kind : UPDATE, piece)
    })
  }

  #receiveSaved(count: number): void {
    this.#savedCount = Math.max(this.#savedCount, Math.min(count, this.#sentCount))
    this.#unsaved = this.#unsaved.filter((number) => number > this.#savedCount)
  }
}

/** Whether the document has content that whoever has this state vector lacks. Deletions alone do not
 * show in it. */
function isAhead(doc: Y.Doc, stateVector: Uint8Array): boolean {
  const theirs = Y.decodeStateVector(stateVector)
  return [...doc.store.clients.keys()].some((client) => Y.getState(doc.store, client) > (theirs.get(client) ?? 0))
}

function syncMessage(step: number, body: Uint8Array): Uint8Array {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, SYNC)
  encoding.writeVarUint(encoder, step)
  encoding.writeVarUint8Array(encoder, body)
  return encoding.toUint8Array(encoder)
}

export function awarenessMessage(update: Uint8Array): Uint8Array {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, AWARENESS)
  encoding.writeVarUint8Array(encoder, update)
  return encoding.toUint8Array(encoder)
}

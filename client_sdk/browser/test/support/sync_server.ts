import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import * as Y from 'yjs'
import type { DocumentSession } from '../../src/document_session.js'

/** The server's end of the protocol for tests of the core: a document, one count of stored messages for
 * each session. It says what the tests tell it to say. */
export class SyncServer {
  readonly doc = new Y.Doc()
  #received = 0

  /** Sync step 1. */
  question(): Uint8Array {
    return message(0, 0, Y.encodeStateVector(this.doc))
  }

  /** A new connection: the count begins again. */
  reconnect(): void {
    this.#received = 0
  }

  get received(): number {
    return this.#received
  }

  saved(count = this.#received): Uint8Array {
    return counted(100, count)
  }

  unsaved(count = this.#received): Uint8Array {
    return counted(101, count)
  }

  /** Takes a client's message; what it is answered. */
  take(bytes: Uint8Array): Uint8Array[] {
    const decoder = decoding.createDecoder(bytes)
    if (decoding.readVarUint(decoder) !== 0) return []
    const step = decoding.readVarUint(decoder)
    const body = decoding.readVarUint8Array(decoder)
    if (step === 0) return [message(0, 1, Y.encodeStateAsUpdate(this.doc, body))]
    this.#received += 1
    Y.applyUpdate(this.doc, body)
    return []
  }

  update(update: Uint8Array): Uint8Array {
    return message(0, 2, update)
  }
}

/** Carries messages both ways until nobody has anything to say. */
export function converse(session: DocumentSession, server: SyncServer, first: Uint8Array[]): void {
  let toServer = first
  while (toServer.length > 0) {
    const answers = toServer.flatMap((each) => server.take(each))
    toServer = answers.flatMap((each) => session.receive(each).toSend)
  }
}

/** A message as the server sends a long one. */
export function inParts(message: Uint8Array, mostBytes: number): Uint8Array[] {
  const parts: Uint8Array[] = []
  for (let at = 0; at < message.byteLength; at += mostBytes) {
    const encoder = encoding.createEncoder()
    for (const number of [102, message.byteLength, at]) encoding.writeVarUint(encoder, number)
    encoding.writeVarUint8Array(encoder, message.subarray(at, at + mostBytes))
    parts.push(encoding.toUint8Array(encoder))
  }
  return parts
}

function message(kind: number, step: number, body: Uint8Array): Uint8Array {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, kind)
  encoding.writeVarUint(encoder, step)
  encoding.writeVarUint8Array(encoder, body)
  return encoding.toUint8Array(encoder)
}

function counted(kind: number, count: number): Uint8Array {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, kind)
  encoding.writeVarUint(encoder, count)
  return encoding.toUint8Array(encoder)
}

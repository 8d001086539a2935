/** Puts together what the server sends in parts (docs/protocol.md, Parts). */

import * as decoding from 'lib0/decoding'

/** Three times the largest document. */
const MOST_BYTES = 64 * 1024 * 1024

/** Of one document over one connection. */
export class MessageParts {
  #parts: Uint8Array[] = []
  #total = 0
  #come = 0

  /** The whole message, if this was its last part. `decoder`: behind the kind. A part that does not go on where the last
   * one ended, of an opening before this one, is passed over. Throws when it is none. */
  take(decoder: decoding.Decoder): Uint8Array | null {
    const total = decoding.readVarUint(decoder)
    const place = decoding.readVarUint(decoder)
    const body = decoding.readVarUint8Array(decoder)
    if (total > MOST_BYTES || place + body.byteLength > total) throw new Error('a part beyond the end')
    if (place === 0) this.#begin(total)
    else if (total !== this.#total || place !== this.#come) return null
    this.#parts.push(body)
    this.#come += body.byteLength
    if (this.#come < total) return null
    const whole = joined(this.#parts, total)
    this.#begin(0)
    return whole
  }

  #begin(total: number): void {
    this.#parts = []
    this.#total = total
    this.#come = 0
  }
}

function joined(parts: Uint8Array[], total: number): Uint8Array {
  const whole = new Uint8Array(total)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}

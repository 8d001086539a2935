import { encodePacket, parsePacket, type VoiceRun } from './voice_packet.js'

/** Packets under way that the server has not heard: about a second. */
const MAX_UNHEARD = 25
/** Packets that wait because so many are under way; the oldest of them is dropped. */
const MAX_WAITING = 6

/** What of our voice is under way, and what of the others' was heard: on a slow line speech is dropped rather than
 * late (docs/protocol.md, `media_voice`). Pure: one for each connection and each beginning of the fallback. */
export class VoiceChannel {
  #sent = 0
  /** What the server has heard of ours. */
  #answered = 0
  #heard = 0
  #saidHeard = 0
  #waiting: VoiceRun[] = []
  dropped = 0

  /** A packet of the server: its runs. Afterwards ask for `packetsToSend`. */
  receive(bytes: Uint8Array): VoiceRun[] {
    const packet = parsePacket(bytes)
    if (packet === null) return []
    if (packet.heard > this.#answered && packet.heard <= this.#sent) this.#answered = packet.heard
    if (packet.number <= this.#heard) return []
    this.#heard = packet.number
    return packet.runs
  }

  /** What a packet is to carry. */
  put(run: VoiceRun): void {
    this.#waiting.push(run)
    if (this.#waiting.length <= MAX_WAITING) return
    this.#waiting.shift()
    this.dropped += 1
  }

  packetsToSend(): Uint8Array[] {
    const packets: Uint8Array[] = []
    while (this.#waiting.length > 0 && this.#sent - this.#answered < MAX_UNHEARD) {
      const run = this.#waiting.shift() as VoiceRun
      this.#sent += 1
      this.#saidHeard = this.#heard
      packets.push(encodePacket({ number: this.#sent, heard: this.#heard, runs: [run] }))
    }
    return packets
  }

  /** To be sent a few times a second: that we have heard, where nothing else has said so. */
  acknowledgementToSend(): Uint8Array | null {
    if (this.#saidHeard === this.#heard) return null
    this.#saidHeard = this.#heard
    return encodePacket({ number: 0, heard: this.#heard, runs: [] })
  }
}

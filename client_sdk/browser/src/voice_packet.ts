/** The packets of voice that goes by the signaling connection (docs/protocol.md, `media_voice`). Pure. */

const VERSION = 1
const HEADER_BYTES = 9
const MAX_PACKET_BYTES = 16 * 1_024
const MAX_FRAMES = 64
/** Ticks of 20 ms at 48 kHz. */
export const FRAME_TICKS = 960

export interface VoiceFrame {
  /** Ticks of 48 kHz, modulo 2^32. */
  timestamp: number
  /** RFC 6464: minus dBov in the lower 7 bits, voice activity above them. */
  level: number
  /** One Opus packet. */
  payload: Uint8Array
}

export interface VoiceRun {
  trackId: string
  frames: VoiceFrame[]
}

export interface VoicePacket {
  /** From 1; 0: it carries nothing but `heard`. */
  number: number
  heard: number
  runs: VoiceRun[]
}

export function encodePacket({ number, heard, runs }: VoicePacket): Uint8Array {
  const size = runs.reduce(
    (sum, { trackId, frames }) => sum + 6 + trackId.length + frames.reduce((bytes, { payload }) => bytes + 5 + payload.length, 0),
    HEADER_BYTES,
  )
  const bytes = new Uint8Array(size)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, VERSION)
  view.setUint32(1, number)
  view.setUint32(5, heard)
  let at = HEADER_BYTES
  for (const { trackId, frames } of runs) {
    const first = frames[0]?.timestamp ?? 0
    view.setUint8(at, trackId.length)
    for (let n = 0; n < trackId.length; n += 1) view.setUint8(at + 1 + n, trackId.charCodeAt(n))
    at += 1 + trackId.length
    view.setUint32(at, first)
    view.setUint8(at + 4, frames.length)
    at += 5
    for (const { timestamp, level, payload } of frames) {
      view.setUint16(at, timestamp - first)
      view.setUint8(at + 2, level)
      view.setUint16(at + 3, payload.length)
      bytes.set(payload, at + 5)
      at += 5 + payload.length
    }
  }
  return bytes
}

/** null: not such a packet, whole. */
export function parsePacket(bytes: Uint8Array): VoicePacket | null {
  if (bytes.length < HEADER_BYTES || bytes.length > MAX_PACKET_BYTES || bytes[0] !== VERSION) return null
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const packet: VoicePacket = { number: view.getUint32(1), heard: view.getUint32(5), runs: [] }
  try {
    let frames = 0
    for (let at = HEADER_BYTES; at < bytes.length; ) {
      const { run, end } = parseRun(bytes, view, at)
      packet.runs.push(run)
      frames += run.frames.length
      if (frames > MAX_FRAMES) return null
      at = end
    }
  } catch (error) {
    if (error instanceof RangeError) return null // cut off
    throw error
  }
  return packet
}

/** Throws RangeError where the packet ends too early. */
function parseRun(bytes: Uint8Array, view: DataView, at: number): { run: VoiceRun; end: number } {
  const nameEnd = at + 1 + view.getUint8(at)
  const trackId = String.fromCharCode(...bytes.subarray(at + 1, nameEnd))
  const first = view.getUint32(nameEnd)
  const count = view.getUint8(nameEnd + 4)
  const frames: VoiceFrame[] = []
  let end = nameEnd + 5
  for (let n = 0; n < count; n += 1) {
    const start = end + 5
    const timestamp = (first + view.getUint16(end)) % 2 ** 32
    const level = view.getUint8(end + 2)
    end = start + view.getUint16(end + 3)
    if (end > bytes.length) throw new RangeError('cut off')
    frames.push({ timestamp, level, payload: bytes.slice(start, end) })
  }
  return { run: { trackId, frames }, end }
}

import type { Log } from './log.js'
import { VoiceClock } from './voice_clock.js'
import { VoiceGate, levelOf } from './voice_gate.js'
import { FRAME_TICKS, type VoiceFrame } from './voice_packet.js'
import { registerCapture } from './voice_worklet.js'

const SAMPLE_RATE = 48_000
const BITRATE_BPS = 32_000
/** Opus says a silence in so few bytes (RFC 6716 section 3.1: no more than its first byte). */
const SILENCE_BYTES = 2
/** Frames that the encoder may have before it: it is far behind then. */
const MAX_ENCODING = 25

const ENCODING = {
  codec: 'opus',
  sampleRate: SAMPLE_RATE,
  numberOfChannels: 1,
  bitrate: BITRATE_BPS,
  opus: { frameDuration: 20_000, usedtx: true, application: 'voip', signal: 'voice' },
} as AudioEncoderConfig

/** Whether this browser can encode and decode Opus by itself (WebCodecs) and hand samples over (AudioWorklet). */
export async function canCarryVoice(): Promise<boolean> {
  if (typeof AudioEncoder === 'undefined' || typeof AudioDecoder === 'undefined' || typeof AudioWorkletNode === 'undefined') return false
  try {
    return (await AudioEncoder.isConfigSupported(ENCODING)).supported === true
  } catch {
    return false // an older browser knows the class and not this codec
  }
}

/** The sound system of a fallback: one for both directions. */
export class VoiceAudio {
  readonly context = new AudioContext({ sampleRate: SAMPLE_RATE, latencyHint: 'interactive' })
  readonly #resume = () => void this.context.resume()
  #worklet: Promise<void> | null = null

  constructor() {
    // A page that nobody has touched yet may not sound.
    for (const event of ['pointerdown', 'keydown']) addEventListener(event, this.#resume)
    this.#resume()
  }

  loadWorklet(): Promise<void> {
    this.#worklet ??= addWorklet(this.context)
    return this.#worklet
  }

  close(): void {
    for (const event of ['pointerdown', 'keydown']) removeEventListener(event, this.#resume)
    void this.context.close()
  }
}

async function addWorklet(context: AudioContext): Promise<void> {
  try {
    await context.audioWorklet.addModule(new URL('./voice_worklet.js', import.meta.url))
  } catch {
    // Bundled into one script there is no such address.
    const url = URL.createObjectURL(new Blob([`(${registerCapture.toString()})()`], { type: 'text/javascript' }))
    await context.audioWorklet.addModule(url).finally(() => URL.revokeObjectURL(url))
  }
}

/** Our microphone as Opus frames, for as long as it is open. */
export class VoiceCapture {
  readonly #audio: VoiceAudio
  readonly #send: (frame: VoiceFrame) => void
  readonly #silent: () => void
  readonly #log: Log
  readonly #gate = new VoiceGate()
  #encoder: AudioEncoder
  #source: MediaStreamAudioSourceNode | null = null
  #node: AudioWorkletNode | null = null
  #track: MediaStreamTrack | null = null
  /** Of the frames under way in the encoder, in their order: which one, and how loud. */
  #encoding: { number: number; level: number; isSent: boolean }[] = []
  #frames = 0
  #isClosed = false

  /** `silent` is called when a stretch of speech ends. */
  constructor(audio: VoiceAudio, send: (frame: VoiceFrame) => void, silent: () => void, log: Log) {
    this.#audio = audio
    this.#send = send
    this.#silent = silent
    this.#log = log
    this.#encoder = this.#newEncoder()
  }

  /** Take this track; null: none. */
  async open(track: MediaStreamTrack | null): Promise<void> {
    if (track === this.#track) return
    this.#track = track
    this.#source?.disconnect()
    this.#source = null
    if (track === null) return
    await this.#audio.loadWorklet()
    if (this.#track !== track || this.#isClosed) return
    const { context } = this.#audio
    if (this.#node === null) {
      this.#node = new AudioWorkletNode(context, 'passerelle-capture', { numberOfOutputs: 0 })
      this.#node.port.onmessage = ({ data }) => this.#recorded(data as Float32Array<ArrayBuffer>)
    }
    this.#source = context.createMediaStreamSource(new MediaStream([track]))
    this.#source.connect(this.#node)
  }

  close(): void {
    this.#isClosed = true
    this.#source?.disconnect()
    this.#node?.port.close()
    this.#node?.disconnect()
    if (this.#encoder.state !== 'closed') this.#encoder.close()
  }

  #newEncoder(): AudioEncoder {
    this.#encoding = []
    const encoder = new AudioEncoder({
      output: (chunk) => this.#encoded(chunk),
      error: (error) => this.#log.warn('voice not encoded', String(error)),
    })
    encoder.configure(ENCODING)
    return encoder
  }

  #recorded(samples: Float32Array<ArrayBuffer>): void {
    const number = this.#frames
    this.#frames += 1
    if (this.#isClosed || this.#encoder.encodeQueueSize > MAX_ENCODING) return
    // A browser takes a codec back that was idle for a minute, as while the page slept.
    if (this.#encoder.state === 'closed') this.#encoder = this.#newEncoder()
    const level = levelOf(samples)
    const isSent = this.#track?.enabled === true && this.#gate.opens(level)
    this.#encoding.push({ number, level, isSent })
    const data = new AudioData({
      format: 'f32',
      sampleRate: this.#audio.context.sampleRate,
      numberOfFrames: samples.length,
      numberOfChannels: 1,
      timestamp: number * 20_000,
      data: samples,
    })
    this.#encoder.encode(data)
    data.close()
  }

  #encoded(chunk: EncodedAudioChunk): void {
    const frame = this.#encoding.shift()
    if (frame === undefined) return this.#log.warn('a frame that nobody recorded')
    const { number, level, isSent } = frame
    if (!isSent || chunk.byteLength <= SILENCE_BYTES) return this.#silent()
    const payload = new Uint8Array(chunk.byteLength)
    chunk.copyTo(payload)
    this.#send({ timestamp: (number * FRAME_TICKS) % 2 ** 32, level, payload })
  }
}

/** One voice of somebody else, as a MediaStreamTrack. */
export class VoicePlayer {
  readonly track: MediaStreamTrack
  readonly clock = new VoiceClock()
  readonly #audio: VoiceAudio
  readonly #log: Log
  readonly #output: MediaStreamAudioDestinationNode
  #decoder: AudioDecoder
  /** Timestamps of the frames under way in the decoder, in their order. */
  #decoding: number[] = []

  constructor(audio: VoiceAudio, log: Log) {
    this.#audio = audio
    this.#log = log
    this.#output = audio.context.createMediaStreamDestination()
    this.track = this.#output.stream.getAudioTracks()[0] as MediaStreamTrack
    this.#decoder = this.#newDecoder()
  }

  play(frames: readonly VoiceFrame[]): void {
    if (this.#decoder.state === 'closed') this.#decoder = this.#newDecoder()
    for (const { timestamp, payload } of frames) {
      this.#decoding.push(timestamp)
      this.#decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: Math.round((timestamp * 1_000) / 48), data: payload as Uint8Array<ArrayBuffer> }))
    }
  }

  close(): void {
    if (this.#decoder.state !== 'closed') this.#decoder.close()
    this.#output.disconnect()
    this.track.stop()
  }

  #newDecoder(): AudioDecoder {
    this.#decoding = []
    const decoder = new AudioDecoder({
      output: (data) => this.#decoded(data),
      error: (error) => this.#log.warn('voice not decoded', String(error)),
    })
    decoder.configure({ codec: 'opus', sampleRate: SAMPLE_RATE, numberOfChannels: 2 })
    return decoder
  }

  #decoded(data: AudioData): void {
    const { context } = this.#audio
    const timestamp = this.#decoding.shift() ?? 0
    const ticks = Math.round((data.numberOfFrames * SAMPLE_RATE) / data.sampleRate)
    const at = context.state === 'running' ? this.clock.schedule(timestamp, ticks, context.currentTime) : null
    if (at !== null) {
      const buffer = context.createBuffer(data.numberOfChannels, data.numberOfFrames, data.sampleRate)
      for (let channel = 0; channel < data.numberOfChannels; channel += 1) {
        data.copyTo(buffer.getChannelData(channel), { planeIndex: channel, format: 'f32-planar' })
      }
      const source = context.createBufferSource()
      source.buffer = buffer
      source.connect(this.#output)
      source.start(at)
    }
    data.close()
  }
}

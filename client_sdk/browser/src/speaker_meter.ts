import type { RemoteTrack } from './remote_tracks.js'

/** A voice in a quiet room is some ten times louder than its noise. */
const LOUD = 0.02
const LOOK_MS = 300
/** Kept for this long after the last sound, so that a pause between words is not silence. */
const HOLD_MS = 900

/** Who speaks, found here: between browsers no server hears it. */
export class SpeakerMeter {
  readonly #tracks: () => Iterable<RemoteTrack>
  readonly #changed: (participantIds: string[]) => void
  readonly #heardAt = new Map<string, number>()
  readonly #elements = new Map<string, Meter>()
  #timer: ReturnType<typeof setInterval> | undefined
  #shown = ''

  constructor(tracks: () => Iterable<RemoteTrack>, changed: (participantIds: string[]) => void) {
    this.#tracks = tracks
    this.#changed = changed
  }

  set isOn(isOn: boolean) {
    clearInterval(this.#timer)
    this.#timer = isOn ? setInterval(() => this.#look(Date.now()), LOOK_MS) : undefined
    if (isOn) return
    for (const meter of this.#elements.values()) meter.close()
    this.#elements.clear()
    this.#heardAt.clear()
  }

  #look(now: number): void {
    const levels = new Map<string, number>()
    const present = new Set<string>()
    for (const { track, mediaStreamTrack } of this.#tracks()) {
      if (track.source !== 'microphone') continue
      present.add(track.id)
      const level = track.muted ? 0 : this.#meter(track.id, mediaStreamTrack).level
      if (level > LOUD) this.#heardAt.set(track.participant_id, now)
      levels.set(track.participant_id, Math.max(level, levels.get(track.participant_id) ?? 0))
    }
    for (const [id, meter] of this.#elements) {
      if (present.has(id)) continue
      meter.close()
      this.#elements.delete(id)
    }
    const loud = [...levels.keys()].filter((id) => now - (this.#heardAt.get(id) ?? 0) < HOLD_MS)
    loud.sort((one, other) => (levels.get(other) ?? 0) - (levels.get(one) ?? 0))
    if (loud.join() === this.#shown) return
    this.#shown = loud.join()
    this.#changed(loud)
  }

  #meter(id: string, track: MediaStreamTrack): Meter {
    let meter = this.#elements.get(id)
    if (meter?.track !== track) {
      meter?.close()
      this.#elements.set(id, (meter = new Meter(track)))
    }
    return meter
  }
}

class Meter {
  readonly track: MediaStreamTrack
  readonly #context = new AudioContext()
  readonly #analyser = this.#context.createAnalyser()
  readonly #samples = new Float32Array(this.#analyser.fftSize)

  constructor(track: MediaStreamTrack) {
    this.track = track
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser)
  }

  /** Root mean square of the last moment, 0 to 1. */
  get level(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples)
    return Math.sqrt(this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length)
  }

  close(): void {
    void this.#context.close()
  }
}

/** How loud our microphone is, and whether it is worth sending. Pure. */

/** Quieter than this (dBov) is the noise of the converter; the ventilation of a classroom is above it. */
const SILENT_DBOV = -65
/** Frames of 20 ms that still go after the last loud one: the end of a word is soft. */
const HANGOVER_FRAMES = 25

/** RFC 6464's byte for samples between -1 and 1: minus dBov, and voice activity in the highest bit. */
export function levelOf(samples: Float32Array): number {
  let energy = 0
  for (const sample of samples) energy += sample * sample
  const dbov = energy === 0 ? -127 : 10 * Math.log10(energy / samples.length)
  const level = Math.round(Math.min(127, Math.max(0, -dbov)))
  return level | (-level > SILENT_DBOV ? 0x80 : 0)
}

export class VoiceGate {
  #left = 0

  /** Whether the frame of this level is sent. */
  opens(level: number): boolean {
    if (level & 0x80) this.#left = HANGOVER_FRAMES
    else if (this.#left > 0) this.#left -= 1
    return this.#left > 0
  }
}

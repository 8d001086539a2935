/** Whether what a screen shows is a text, whose small print must stay sharp, or a film, which must move. */

/** So many pictures a second or more are a film; of a text that is scrolled come as many, for a moment. */
const MOVING_FPS = 12
/** So many or fewer are slides, or a pointer that passes. */
const RESTING_FPS = 5
/** Seconds in a row that must say the same. */
const AGREEING = 3
const SAMPLE_MS = 1_000

/** W3C mst-content-hint: `detail` keeps the size when the line is thin and lets pictures go, `motion` the other way. */
export type ScreenHint = 'detail' | 'motion'

export class MotionJudge {
  hint: ScreenHint = 'detail'
  #against = 0

  /** The pictures of the last second; what the screen is now. */
  judge(framesPerSecond: number): ScreenHint {
    const speaksAgainst = this.hint === 'detail' ? framesPerSecond >= MOVING_FPS : framesPerSecond <= RESTING_FPS
    this.#against = speaksAgainst ? this.#against + 1 : 0
    if (this.#against < AGREEING) return this.hint
    this.#against = 0
    this.hint = this.hint === 'detail' ? 'motion' : 'detail'
    return this.hint
  }
}

interface Statistics {
  peerConnectionStats(): Promise<{ report: RTCStatsReport }[]>
}

/** Sets the hint of a screen's track by what it shows, until `stop`. */
export class MotionWatch {
  readonly #track: MediaStreamTrack
  readonly #statistics: Statistics
  readonly #judge = new MotionJudge()
  readonly #timer: ReturnType<typeof setInterval>

  constructor(track: MediaStreamTrack, statistics: Statistics) {
    this.#track = track
    this.#statistics = statistics
    this.#timer = setInterval(() => void this.#look(), SAMPLE_MS)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    const captured = capturedPerSecond(await this.#statistics.peerConnectionStats(), this.#track.id)
    if (captured === null) return
    const hint = this.#judge.judge(captured)
    if (this.#track.contentHint !== hint) this.#track.contentHint = hint
  }
}

/** null: the track is sent nowhere, or the browser does not say. */
function capturedPerSecond(connections: { report: RTCStatsReport }[], trackId: string): number | null {
  for (const { report } of connections)
    for (const stats of report.values() as Iterable<{ type: string; trackIdentifier?: string; frames?: number; framesPerSecond?: number }>)
      if (stats.type === 'media-source' && stats.trackIdentifier === trackId) return stats.framesPerSecond ?? 0
  return null
}

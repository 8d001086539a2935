import { DETAILED_SOUND, SCREEN_SOUND, type SoundFormat } from './sound_format.js'
import type { TrackSource } from './wire.js'

/** A track of ours. */
export interface LocalTrack {
  readonly id: string
  readonly source: TrackSource
  readonly mediaStreamTrack: MediaStreamTrack
  readonly muted: boolean
}

/** A camera goes up in three sizes, smallest first (the server counts on that order), and every subscriber gets the one
 * that its tile needs: of 720p a face in a small tile, in a quarter of the page, and clear on a projector. */
const CAMERA_LAYERS: RTCRtpEncodingParameters[] = [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: 1_500_000 },
]
/** Small print on a screen is readable in one size only. */
const MAX_SCREEN_BPS = 2_500_000

export class PublishedLocalTrack implements LocalTrack {
  readonly id: string
  readonly source: TrackSource
  mediaStreamTrack: MediaStreamTrack
  #muted: boolean

  constructor(id: string, source: TrackSource, mediaStreamTrack: MediaStreamTrack, muted: boolean) {
    this.id = id
    this.source = source
    this.mediaStreamTrack = mediaStreamTrack
    this.#muted = muted
    mediaStreamTrack.enabled = !muted
  }

  get kind(): 'audio' | 'video' {
    return this.source === 'camera' || this.source === 'screen' ? 'video' : 'audio'
  }

  get muted(): boolean {
    return this.#muted
  }

  set muted(muted: boolean) {
    this.#muted = muted
    this.mediaStreamTrack.enabled = !muted
  }

  replace(mediaStreamTrack: MediaStreamTrack): void {
    this.mediaStreamTrack = mediaStreamTrack
    mediaStreamTrack.enabled = !this.#muted
  }

  /** What its receiver is to say of it; null: sound as for a conversation, or a picture. */
  soundFormat(detailed: boolean): SoundFormat | null {
    if (this.source === 'screen_audio') return SCREEN_SOUND
    return this.source === 'microphone' && detailed ? DETAILED_SOUND : null
  }

  /** Towards a server. `small`: of a camera the smallest layer alone. */
  encodings(small: boolean): RTCRtpEncodingParameters[] {
    if (this.source === 'camera') return CAMERA_LAYERS.map((layer, index) => ({ ...layer, active: !small || index === 0 }))
    return this.source === 'screen' ? [{ maxBitrate: MAX_SCREEN_BPS }] : []
  }
}

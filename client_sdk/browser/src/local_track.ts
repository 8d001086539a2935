import type { TrackSource } from './wire.js'

/** A track of ours. */
export interface LocalTrack {
  readonly id: string
  readonly source: TrackSource
  readonly mediaStreamTrack: MediaStreamTrack
  readonly muted: boolean
}

/** Highest bitrate by source: a face is clear in 720p at 1.5 Mbit/s, small print on a screen at 2.5. */
const MAX_BITRATE_BPS: Partial<Record<TrackSource, number>> = { camera: 1_500_000, screen: 2_500_000 }

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

  get encodings(): RTCRtpEncodingParameters[] {
    const maxBitrate = MAX_BITRATE_BPS[this.source]
    return maxBitrate === undefined ? [] : [{ maxBitrate }]
  }
}

import type { Track } from './wire.js'

/** A track of somebody else that is received. The object and its `stream` stay the same when the
 * connection that brings it is rebuilt; `mediaStreamTrack` is then another one. */
export interface RemoteTrack {
  /** What the room knows of it, as it is now. */
  readonly track: Track
  readonly mediaStreamTrack: MediaStreamTrack
  /** Of this track alone; for `srcObject`. */
  readonly stream: MediaStream
}

class ReceivedTrack implements RemoteTrack {
  track: Track
  mediaStreamTrack: MediaStreamTrack
  readonly stream: MediaStream

  constructor(track: Track, mediaStreamTrack: MediaStreamTrack) {
    this.track = track
    this.mediaStreamTrack = mediaStreamTrack
    this.stream = new MediaStream([mediaStreamTrack])
  }

  /** The same track by another connection. */
  swap(mediaStreamTrack: MediaStreamTrack): void {
    this.stream.removeTrack(this.mediaStreamTrack)
    this.stream.addTrack(mediaStreamTrack)
    this.mediaStreamTrack = mediaStreamTrack
  }
}

/** Joins what the room says of tracks with what the connections bring; either may come first. */
export class RemoteTracks {
  readonly #appeared: (remote: RemoteTrack) => void
  readonly #ended: (trackId: string) => void
  readonly #shown = new Map<string, ReceivedTrack>()
  /** Track id → what a connection brings. */
  #received = new Map<string, MediaStreamTrack>()
  #known = new Map<string, Track>()

  constructor(appeared: (remote: RemoteTrack) => void, ended: (trackId: string) => void) {
    this.#appeared = appeared
    this.#ended = ended
  }

  get all(): ReadonlyMap<string, RemoteTrack> {
    return this.#shown
  }

  /** The room's tracks, all of them. */
  setKnown(tracks: readonly Track[]): void {
    this.#known = new Map(tracks.map((track) => [track.id, track]))
    this.#join()
  }

  /** Tracks that come now, all of them. */
  setReceived(received: ReadonlyMap<string, MediaStreamTrack>): void {
    this.#received = new Map(received)
    this.#join()
  }

  #join(): void {
    for (const id of [...this.#shown.keys()]) {
      if (this.#received.has(id) && this.#known.has(id)) continue
      this.#shown.delete(id)
      this.#ended(id)
    }
    for (const [id, mediaStreamTrack] of this.#received) {
      const track = this.#known.get(id)
      if (track !== undefined) this.#show(track, mediaStreamTrack)
    }
  }

  #show(track: Track, mediaStreamTrack: MediaStreamTrack): void {
    const shown = this.#shown.get(track.id)
    if (shown === undefined) {
      const appeared = new ReceivedTrack(track, mediaStreamTrack)
      this.#shown.set(track.id, appeared)
      this.#appeared(appeared)
      return
    }
    shown.track = track
    if (shown.mediaStreamTrack !== mediaStreamTrack) {
      shown.swap(mediaStreamTrack)
      this.#appeared(shown)
    }
  }
}

import { PasserelleError } from './errors.js'
import type { LocalTrack } from './local_track.js'
import { MotionWatch } from './screen_motion.js'
import type { TrackSource } from './wire.js'

/** What sharing a screen needs of `Media`. */
interface Publisher {
  readonly localTracks: readonly LocalTrack[]
  publish(track: MediaStreamTrack, source: TrackSource): Promise<LocalTrack>
  unpublish(id: string): Promise<void>
  on(event: 'localTracks', listener: () => void): () => void
  peerConnectionStats(): Promise<{ report: RTCStatsReport }[]>
}

/** W3C screen-capture, as far as TypeScript does not know it. */
interface CaptureOptions extends DisplayMediaStreamOptions {
  audio: MediaTrackConstraints & { restrictOwnAudio: boolean }
  systemAudio: 'include'
  surfaceSwitching: 'include'
}

/** A film has up to thirty pictures a second; of slides come as many as change. Its sound comes as it is: what makes a
 * voice clear makes music thin. What this page itself plays, the others' voices, is left out of it where the browser can
 * (`restrictOwnAudio`): with the sound of the whole computer they would hear themselves. */
const CAPTURE: CaptureOptions = {
  video: { frameRate: { max: 30 } },
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 2, restrictOwnAudio: true },
  systemAudio: 'include',
  surfaceSwitching: 'include',
}

/** Capture a screen and publish it, with its sound where the browser gives it. When the picture ends, by whichever way
 * (unpublished here, or by the browser's own "stop sharing"), so does the sound. */
export async function shareScreen(media: Publisher): Promise<LocalTrack[]> {
  if (typeof navigator.mediaDevices?.getDisplayMedia !== 'function') {
    throw new PasserelleError('unsupported', 'This browser cannot share its screen.')
  }
  const stream = await navigator.mediaDevices.getDisplayMedia(CAPTURE)
  const [picture, sound] = [stream.getVideoTracks()[0], stream.getAudioTracks()[0]]
  const published: LocalTrack[] = []
  for (const track of [picture, sound]) {
    if (track === undefined) continue
    if (track.contentHint === '') track.contentHint = track === picture ? 'detail' : 'music'
    published.push(await media.publish(track, track === picture ? 'screen' : 'screen_audio'))
  }
  const motion = picture === undefined ? null : new MotionWatch(picture, media)
  const isPublished = ({ id }: LocalTrack) => media.localTracks.some((local) => local.id === id)
  const end = () => {
    stop()
    motion?.stop()
    for (const track of stream.getTracks()) track.stop()
    for (const local of published.filter(isPublished)) void media.unpublish(local.id)
  }
  const stop = media.on('localTracks', () => {
    if (published[0] === undefined || !isPublished(published[0])) end()
  })
  picture?.addEventListener('ended', end)
  sound?.addEventListener('ended', () => {
    for (const local of published) if (local.source === 'screen_audio' && isPublished(local)) void media.unpublish(local.id)
  })
  return published
}

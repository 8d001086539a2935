import { PasserelleError } from './errors.js'
import type { LocalTrack } from './local_track.js'
import type { TrackSource } from './wire.js'

/** What sharing a screen needs of `Media`. */
interface Publisher {
  readonly localTracks: readonly LocalTrack[]
  publish(track: MediaStreamTrack, source: TrackSource): Promise<LocalTrack>
  unpublish(id: string): Promise<void>
  on(event: 'localTracks', listener: () => void): () => void
}

/** Small print matters more than motion, and its bytes go into sharpness. */
const MAX_FRAMES_PER_SECOND = 15

/** Capture a screen and publish it, with its sound where the browser gives it. Picture and sound end
 * together, by whichever way: unpublished here, or by the browser's own "stop sharing". */
export async function shareScreen(media: Publisher): Promise<LocalTrack[]> {
  if (typeof navigator.mediaDevices?.getDisplayMedia !== 'function') {
    throw new PasserelleError('unsupported', 'This browser cannot share its screen.')
  }
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: MAX_FRAMES_PER_SECOND } }, audio: true })
  const published: LocalTrack[] = []
  for (const track of stream.getTracks()) {
    if (track.kind === 'video' && track.contentHint === '') track.contentHint = 'detail'
    published.push(await media.publish(track, track.kind === 'video' ? 'screen' : 'screen_audio'))
  }
  const isPublished = ({ id }: LocalTrack) => media.localTracks.some((local) => local.id === id)
  const end = () => {
    stop()
    for (const track of stream.getTracks()) track.stop()
    for (const local of published.filter(isPublished)) void media.unpublish(local.id)
  }
  const stop = media.on('localTracks', () => {
    if (!published.every(isPublished)) end()
  })
  for (const track of stream.getTracks()) track.addEventListener('ended', end)
  return published
}

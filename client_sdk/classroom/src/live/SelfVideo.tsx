import { useEffect, useRef } from 'preact/hooks'

/** One's own picture, mirrored as in a mirror. */
export function SelfVideo({ track }: { track: MediaStreamTrack }) {
  const video = useRef<HTMLVideoElement>(null)
  useEffect(() => {
    if (video.current) video.current.srcObject = new MediaStream([track])
  }, [track])
  return <video ref={video} class="mirror" autoplay playsinline muted aria-hidden="true" tabIndex={-1} />
}

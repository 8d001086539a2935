import type { Participant } from '@passerelle/client'
import { Hand, MicOff, Pin, PinOff, Signal, SignalLow, SignalMedium, Spotlight, UserPlus } from 'lucide-preact'
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks'
import { routeSound } from '../devices.js'
import { fill, t } from '../i18n.js'
import type { Session } from '../session.js'
import { othersHere } from './alone.js'
import { onePicture } from './thrift.js'
import { bestGrid, gridGap, orderTiles } from './grid.js'
import { placesOf, projected, type Placed } from './large_place.js'

interface Tile extends Placed {
  participant: Participant
  video: MediaStreamTrack | null
  /** Of a picture that the server sends: how large we show it, it is told. */
  remoteTrackId: string | null
  muted: boolean
}

/** Everybody who has, or may have, a picture; the large place is a screen's, or of whoever is pinned or in the light. */
export function Tiles({ session, onInvite }: { session: Session; onInvite: () => void }) {
  const box = useRef<HTMLDivElement>(null)
  const [size, setSize] = useState({ width: 960, height: 540 })
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: entry.contentRect.width, height: entry.contentRect.height })
    })
    if (box.current) observer.observe(box.current)
    return () => observer.disconnect()
  }, [])
  const shownPicture = useRef<string | null>(null)
  const everything = orderTiles(tilesOf(session))
  if (session.thrift.isOn.value) shownPicture.current = pictureToShow(session, everything, shownPicture.current)
  const tiles = session.thrift.isOn.value ? everything.map((tile) => withoutPicture(tile, shownPicture.current)) : everything
  const places = placesOf(tiles, session.pinned.value, session.view.value?.settings.spotlight ?? null)
  const isProjector = session.isProjector.value
  const projectedBefore = useRef<string | null>(null)
  const one = isProjector ? projected(tiles, places, projectedBefore.current) : null
  projectedBefore.current = one?.id ?? null
  const shown = one ? [one] : places.large.length ? places.large : tiles
  const grid = bestGrid(shown.length, size.width, size.height)
  const isAlone = !isProjector && tiles.every((tile) => tile.isSelf && !tile.isScreen)
  const strip = isProjector || !places.large.length ? [] : places.others
  return (
    <section class={`stage ${places.large.length ? 'with-screen' : ''} ${strip.length ? 'with-strip' : ''} ${isAlone ? 'is-alone' : ''}`} aria-label={t('people')}>
      <div class="grid-box" ref={box}>
        <ul class="grid" style={{ '--tile-width': `${grid.tileWidth}px`, maxWidth: `${grid.columns * (grid.tileWidth + gridGap)}px` }}>
          {shown.map((tile) => (
            <TileView key={tile.id} session={session} tile={tile} />
          ))}
        </ul>
      </div>
      {isAlone && <Alone session={session} onInvite={onInvite} />}
      {strip.length > 0 && (
        <ul class="strip">
          {strip.map((tile) => (
            <TileView key={tile.id} session={session} tile={tile} />
          ))}
        </ul>
      )}
      <Sounds session={session} />
    </section>
  )
}

/** Beside the one picture, not over it: whoever is there without one is not nobody. */
function Alone({ session, onInvite }: { session: Session; onInvite: () => void }) {
  const view = session.view.value
  const [first, ...others] = view ? othersHere(view.participants, view.self_id) : []
  return (
    <div class="alone">
      <p data-testid="alone">
        {!first ? t('alone') : others.length ? fill('manyWithoutPicture', { count: others.length + 1 }) : fill('oneWithoutPicture', { name: first.name })}
      </p>
      {session.can('invite') && (
        <button type="button" data-testid="invite-first" onClick={onInvite}>
          <UserPlus aria-hidden="true" /> {t(view?.room.kind === 'consultation' ? 'inviteFirstPrivate' : 'inviteFirst')}
        </button>
      )}
    </div>
  )
}

function pictureToShow(session: Session, tiles: readonly Tile[], before: string | null): string | null {
  const cameras = tiles.filter((tile) => tile.remoteTrackId && tile.hasVideo && !tile.isScreen).map((tile) => tile.id)
  return onePicture(cameras, session.speakers.value, before)
}

/** In « mode campagne » the server sends one picture of others; our own costs nothing to show. */
function withoutPicture(tile: Tile, shown: string | null): Tile {
  return tile.remoteTrackId && (tile.isScreen || tile.id !== shown) ? { ...tile, video: null, hasVideo: false } : tile
}

function tilesOf(session: Session): Tile[] {
  const view = session.view.value
  if (!view) return []
  void session.localVersion.value // local tracks are the SDK's list: follow its changes
  const speakers = new Set(session.speakers.value)
  const tiles: Tile[] = []
  for (const participant of view.participants) {
    const isSelf = participant.id === view.self_id
    const tracks = view.tracks.filter((track) => track.participant_id === participant.id)
    const onStage = participant.role === 'class' || participant.role === 'guest' || participant.role === 'host'
    if (!onStage && !tracks.length) continue
    const camera = tracks.find((track) => track.source === 'camera')
    const microphone = tracks.find((track) => track.source === 'microphone')
    const localCamera = session.media.localTracks.find((track) => track.source === 'camera')
    // One's own as it is here: between two browsers nobody is told of it before there is a second.
    const sound = isSelf ? session.media.localTracks.find((track) => track.source === 'microphone') : microphone
    const video = isSelf
      ? localCamera && !localCamera.muted
        ? localCamera.mediaStreamTrack
        : null
      : camera && !camera.muted
        ? (session.remote.value.get(camera.id)?.mediaStreamTrack ?? null)
        : null
    const base = { participant, ownerId: participant.id, isSelf, isSpeaking: speakers.has(participant.id), joinedAt: participant.joined_at }
    const remoteTrackId = isSelf ? null : (camera?.id ?? null)
    const hasVideo = video !== null
    tiles.push({ ...base, id: participant.id, isScreen: false, video, remoteTrackId, hasVideo, muted: !sound || sound.muted })
    for (const screen of tracks.filter((track) => track.source === 'screen')) {
      const local = session.media.localTracks.find((track) => track.id === screen.id)
      const shared = local?.mediaStreamTrack ?? session.remote.value.get(screen.id)?.mediaStreamTrack ?? null
      const ofScreen = { isScreen: true, video: shared, remoteTrackId: local ? null : screen.id, hasVideo: shared !== null, muted: false }
      tiles.push({ ...base, id: screen.id, ...ofScreen })
    }
  }
  return tiles
}

function TileView({ session, tile }: { session: Session; tile: Tile }) {
  const { participant } = tile
  const quality = tile.isSelf ? 'good' : (session.qualities.value.get(tile.id) ?? 'good')
  const isShownToAll = !tile.isScreen && session.view.value?.settings.spotlight === participant.id
  const states = [
    tile.isSpeaking && t('speaking'),
    tile.muted && t('muted'),
    participant.hand_raised_at !== null && t('handRaised'),
    !participant.connected && t('away'),
    isShownToAll && t('shownToAll'),
    quality !== 'good' && t(`quality_${quality}`),
  ].filter(Boolean)
  return (
    <li
      class={`tile ${tile.isSpeaking && !tile.isScreen ? 'speaking' : ''} ${participant.connected ? '' : 'away'}`}
      data-testid="tile"
      data-participant={participant.id}
      data-name={participant.name}
    >
      {!tile.isScreen && (
        <span class="initials" aria-hidden="true">
          {initials(participant.name)}
        </span>
      )}
      {tile.video && <Picture session={session} track={tile.video} remoteTrackId={tile.remoteTrackId} mirror={tile.isSelf && !tile.isScreen} />}
      <span class="tile-name">
        {participant.hand_raised_at !== null && <Hand class="hand" aria-hidden="true" />}
        {tile.muted && !tile.isScreen && <MicOff aria-hidden="true" />}
        {isShownToAll && <Spotlight aria-hidden="true" />}
        <span class="tile-text">
          {tile.isScreen && `${t('screenOf')} `}
          {participant.name} {tile.isSelf && t('you')}
        </span>
        {tile.isSpeaking && !tile.isScreen && <span class="speaking-word">{t('speaking')}</span>}
        {quality !== 'good' && (
          <span class="quality" data-testid="quality" data-quality={quality} title={t(`quality_${quality}`)} aria-hidden="true">
            <span class="bars">
              <Signal class="full" />
              {quality === 'poor' ? <SignalLow /> : <SignalMedium />}
            </span>
            {quality === 'poor' && <span class="quality-word">{t('qualityShort')}</span>}
          </span>
        )}
        <span class="visually-hidden">{states.join(', ')}</span>
      </span>
      {!session.isProjector.value && <TileActions session={session} tile={tile} />}
    </li>
  )
}

/** Large for oneself, or, by a host, for everyone. */
function TileActions({ session, tile }: { session: Session; tile: Tile }) {
  const { participant } = tile
  const name = tile.isScreen ? `${t('screenOf')} ${participant.name}` : participant.name
  const isPinned = session.pinned.value === tile.id
  const isInLight = session.view.value?.settings.spotlight === participant.id
  const pin = isPinned ? t('unpin') : fill('pinThis', { name })
  const light = isInLight ? t('spotlightOff') : fill('spotlightThis', { name: participant.name })
  return (
    <span class={`tile-actions ${isPinned || (isInLight && !tile.isScreen) ? 'held' : ''}`}>
      {session.can('configure_room') && !tile.isScreen && (
        <button type="button" class="tile-button" data-testid="spotlight" aria-pressed={isInLight} aria-label={light} title={light} onClick={() => void session.attempt(() => session.room.spotlight(isInLight ? null : participant.id))}>
          <Spotlight aria-hidden="true" />
        </button>
      )}
      <button type="button" class="tile-button" data-testid="pin" aria-pressed={isPinned} aria-label={pin} title={pin} onClick={() => (session.pinned.value = isPinned ? null : tile.id)}>
        {isPinned ? <PinOff aria-hidden="true" /> : <Pin aria-hidden="true" />}
      </button>
    </span>
  )
}

interface PictureProps {
  session: Session
  track: MediaStreamTrack
  remoteTrackId: string | null
  mirror: boolean
}

function Picture({ session, track, remoteTrackId, mirror }: PictureProps) {
  const video = useRef<HTMLVideoElement>(null)
  useEffect(() => {
    if (video.current && remoteTrackId) return session.pictures.show(video.current, remoteTrackId)
  }, [session, remoteTrackId])
  useEffect(() => {
    if (video.current) video.current.srcObject = new MediaStream([track])
  }, [track])
  return <video ref={video} class={mirror ? 'mirror' : ''} autoplay playsinline muted tabIndex={-1} />
}

/** Every sound of the room; pictures are silent, so that nothing is heard twice. */
function Sounds({ session }: { session: Session }) {
  if (session.withoutSound.value) return null
  const sounds = [...session.remote.value.values()].filter((remote) => remote.track.kind === 'audio')
  return (
    <>
      {sounds.map((remote) => (
        <Sound key={remote.track.id} session={session} track={remote.mediaStreamTrack} participant={remote.track.participant_id} />
      ))}
    </>
  )
}

function Sound({ session, track, participant }: { session: Session; track: MediaStreamTrack; participant: string }) {
  const audio = useRef<HTMLAudioElement>(null)
  const speaker = session.speaker.value
  useEffect(() => {
    const element = audio.current
    if (!element) return
    element.srcObject = new MediaStream([track])
    // Refused until the page was touched once: the entrance is a button, so it has been; after a reload
    // the next touch starts it.
    const play = () => void element.play().catch((error: unknown) => isRefusal(error) && session.soundHeldBack(play))
    play()
    return () => session.soundGone(play)
  }, [session, track])
  useEffect(() => {
    if (audio.current) void routeSound(audio.current, speaker)
  }, [speaker])
  return <audio ref={audio} data-participant={participant} />
}

function isRefusal(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'NotAllowedError'
}

function initials(name: string): string {
  const words = name.split(/\s+/).filter(Boolean)
  return [words[0], words.length > 1 ? words.at(-1) : '']
    .map((word) => [...(word ?? '')][0] ?? '')
    .join('')
    .toUpperCase()
}

import { useEffect, useMemo, useState } from 'preact/hooks'
import { choiceFor, keepChoice } from '../device_memory.js'
import { errorText, t } from '../i18n.js'
import { Live } from '../live/Live.js'
import { forgetPlace, keepPlace, needsDevices, placeOf, type Place } from '../places.js'
import { go } from '../router.js'
import { Session } from '../session.js'
import { DeviceCheck } from './DeviceCheck.js'
import { Connecting, Message } from './Shell.js'
import { Waiting } from './Waiting.js'

/** A room's address: with a place kept here, or with the host's token from the link. */
export function RoomPage({ room, token }: { room: string; token: string | null }) {
  const [visit, setVisit] = useState(0)
  const place = useMemo(() => placeFrom(room, visit ? null : token), [room, token, visit])
  if (!place) return <Message title={t('noPlaceTitle')} />
  const comeBack = (left: Place) => {
    keepPlace(left)
    setVisit(visit + 1)
  }
  return <Stay key={visit} place={place} comeBack={comeBack} />
}

function placeFrom(room: string, token: string | null): Place | undefined {
  const known = placeOf(room)
  if (!token) return known
  // The host's own link, on this or another device: the room says the rest.
  const place: Place = known
    ? { ...known, token, role: 'host', at: Date.now() }
    : {
        room,
        roomName: 'Passerelle',
        kind: 'interclass',
        token,
        participantId: '',
        role: 'host',
        name: '',
        invitation: null,
        wasInside: false,
        canWrite: false,
        at: Date.now(),
      }
  keepPlace(place)
  return place
}

function Stay({ place, comeBack }: { place: Place; comeBack: (place: Place) => void }) {
  const session = useMemo(() => new Session(place), [place])
  const [checked, setChecked] = useState(() => !needsDevices(place) || choiceFor(place.room) !== null)
  useEffect(() => {
    const close = () => session.close()
    // Back from the browser's memory of pages this one would be a picture of itself.
    const wake = (event: PageTransitionEvent) => event.persisted && location.reload()
    addEventListener('pagehide', close)
    addEventListener('pageshow', wake)
    return () => {
      removeEventListener('pagehide', close)
      removeEventListener('pageshow', wake)
      close()
    }
  }, [session])
  useEffect(() => {
    if (checked) void session.enter(choiceFor(place.room))
  }, [session, checked])
  if (!checked) {
    return (
      <DeviceCheck
        session={session}
        onReady={(choice) => {
          keepChoice(place.room, choice)
          setChecked(true)
        }}
      />
    )
  }
  switch (session.stage.value) {
    case 'entering':
      // Whoever was inside goes on at once: their text is on this device.
      return place.wasInside ? <Live session={session} /> : <Connecting />
    case 'inside':
      return <Live session={session} />
    case 'waiting':
      return <Waiting session={session} />
    case 'denied':
      return <Message title={t('deniedTitle')} text={t('deniedHelp')} />
    case 'removed':
      return <Message title={t('removedTitle')} text={t('removedHelp')} />
    case 'left':
      return (
        <Message title={t('leftTitle')} text={t('leftHelp')}>
          <button type="button" class="primary" data-testid="come-back" onClick={() => comeBack(session.place)}>
            {t('rejoin')}
          </button>
        </Message>
      )
    case 'refused':
      return <Refused session={session} />
  }
}

/** The token is not good (any more): the place is gone, the invitation may open another. */
const lost = new Set(['token-missing', 'token-invalid', 'token-expired', 'not-found', 'permission-denied'])

function Refused({ session }: { session: Session }) {
  const code = session.refusal.value
  const { place } = session
  const isLost = lost.has(code)
  useEffect(() => {
    if (isLost) forgetPlace(place.room)
  }, [isLost, place.room])
  if (!isLost) {
    return (
      <Message title={t('notNowTitle')} text={errorText(code)}>
        <button type="button" class="primary" onClick={() => location.reload()}>
          {t('tryAgain')}
        </button>
      </Message>
    )
  }
  return (
    <Message title={t('expiredTitle')} text={t('expiredHelp')}>
      {place.invitation && (
        <button type="button" class="primary" onClick={() => go(`/entrer#${place.invitation}`)}>
          {t('rejoin')}
        </button>
      )}
    </Message>
  )
}

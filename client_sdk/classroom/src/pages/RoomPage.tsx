import { useEffect, useMemo, useState } from 'preact/hooks'
import type { DeviceChoice } from '../devices.js'
import { errorText, t } from '../i18n.js'
import { Live } from '../live/Live.js'
import { forgetPlace, keepPlace, placeOf, type Place } from '../places.js'
import { go } from '../router.js'
import { Session } from '../session.js'
import { DeviceCheck } from './DeviceCheck.js'
import { Message } from './Shell.js'
import { Waiting } from './Waiting.js'

/** A room's address: with a place kept here, or with the host's token from the link. */
export function RoomPage({ room, token }: { room: string; token: string | null }) {
  const place = useMemo(() => placeFrom(room, token), [room, token])
  if (!place) return <Message title={t('noPlaceTitle')} />
  return <Stay place={place} />
}

function placeFrom(room: string, token: string | null): Place | undefined {
  if (token) {
    // The host's own link, on another device: the name comes with the room.
    keepPlace({ room, roomName: 'Passerelle', token, participantId: '', role: 'host', name: '', invitation: null, at: Date.now() })
  }
  return placeOf(room)
}

function Stay({ place }: { place: Place }) {
  const session = useMemo(() => new Session(place), [place])
  const [checked, setChecked] = useState(() => place.role === 'pupil' || place.role === 'observer' || keptChoice(place.room) !== null)
  useEffect(() => {
    const close = () => session.close()
    addEventListener('pagehide', close)
    return () => {
      removeEventListener('pagehide', close)
      close()
    }
  }, [session])
  useEffect(() => {
    if (checked) void session.enter(keptChoice(place.room))
  }, [session, checked])
  if (!checked) {
    return (
      <DeviceCheck
        session={session}
        onReady={(choice) => {
          sessionStorage.setItem(choiceKey(place.room), JSON.stringify(choice))
          setChecked(true)
        }}
      />
    )
  }
  switch (session.stage.value) {
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
          {place.invitation && (
            <button type="button" class="primary" onClick={() => go(`/entrer#${place.invitation}`)}>
              {t('rejoin')}
            </button>
          )}
        </Message>
      )
    case 'refused':
      return <Refused session={session} />
    default:
      return <Live session={session} />
  }
}

function choiceKey(room: string): string {
  return `passerelle.devices.${room}`
}

/** What was chosen before a reload of this tab. */
function keptChoice(room: string): DeviceChoice | null {
  const kept = sessionStorage.getItem(choiceKey(room))
  return kept === null ? null : (JSON.parse(kept) as DeviceChoice)
}

function Refused({ session }: { session: Session }) {
  const code = session.refusal.value
  const final = code !== 'network' && code !== 'draining' && code !== 'store-unavailable'
  useEffect(() => {
    if (final) forgetPlace(session.place.room)
  }, [final, session])
  return (
    <Message title={final ? t('expiredTitle') : t('connecting')} text={final ? t('expiredHelp') : errorText(code)}>
      {!final && (
        <button type="button" class="primary" onClick={() => void session.enter(keptChoice(session.place.room))}>
          {t('tryAgain')}
        </button>
      )}
    </Message>
  )
}

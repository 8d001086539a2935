import type { Configure, Participant, RoomView } from '@passerelle/client'
import { Hand, MicOff, Spotlight, UserX, VideoOff } from 'lucide-preact'
import { fill, t } from '../i18n.js'
import type { Session } from '../session.js'
import { raisedHands } from './hands.js'
import { PanelHeader } from './PanelHeader.js'

type Lobbied = RoomView['settings']['lobby_roles'][number]

export function PeoplePanel({ session, onClose }: { session: Session; onClose: () => void }) {
  const view = session.view.value
  if (!view) return null
  const hands = raisedHands(view.participants)
  return (
    <>
      <PanelHeader title={t('people')} onClose={onClose} />
      <div class="panel-body">
        {view.lobby.length > 0 && <Lobby session={session} view={view} />}
        {hands.length > 0 && (
          <section>
            <h3>{t('hands')}</h3>
            <ol class="people" data-testid="hands">
              {hands.map((one) => (
                <li key={one.id}>
                  <Hand class="hand" aria-hidden="true" /> <span class="person">{one.name}</span>
                  {session.can('lower_hands') && one.id !== view.self_id && (
                    <button
                      type="button"
                      class="small"
                      aria-label={`${t('lowerHandOf')} ${one.name}`}
                      onClick={() => void session.attempt(() => session.room.setHand(false, one.id))}
                    >
                      {t('lowerHand')}
                    </button>
                  )}
                </li>
              ))}
            </ol>
          </section>
        )}
        <section>
          <h3>
            {t('inRoom')} ({view.participants.length})
          </h3>
          <ul class="people" data-testid="roster">
            {view.participants.map((one) => (
              <Person key={one.id} session={session} view={view} one={one} />
            ))}
          </ul>
        </section>
        {session.can('configure_room') && <SettingsForm session={session} view={view} />}
      </div>
    </>
  )
}

function Lobby({ session, view }: { session: Session; view: RoomView }) {
  const { room } = session
  return (
    <section class="lobby-list">
      <h3>{t('inLobby')}</h3>
      <ul class="people" data-testid="lobby">
        {view.lobby.map((one) => (
          <li key={one.id} class="waiting-person">
            <span class="person">
              {one.name}
              <small>{one.label || t(`role_${one.role}`)}</small>
            </span>
            <button type="button" class="small primary" data-testid="admit" aria-label={`${t('admit')} : ${one.name}`} onClick={() => void session.attempt(() => room.admit(one.id))}>
              {t('admit')}
            </button>
            <button type="button" class="small" data-testid="deny" aria-label={`${t('deny')} : ${one.name}`} onClick={() => void session.attempt(() => room.deny(one.id))}>
              {t('deny')}
            </button>
          </li>
        ))}
      </ul>
      {view.lobby.length > 1 && (
        <button type="button" class="primary" data-testid="admit-all" onClick={() => void session.attempt(() => Promise.all(view.lobby.map((one) => room.admit(one.id))))}>
          {t('admitAll')}
        </button>
      )}
    </section>
  )
}

function Person({ session, view, one }: { session: Session; view: RoomView; one: Participant }) {
  const isSelf = one.id === view.self_id
  const tracks = view.tracks.filter((track) => track.participant_id === one.id && !track.muted)
  const microphone = tracks.find((track) => track.source === 'microphone')
  const camera = tracks.find((track) => track.source === 'camera')
  const isInLight = view.settings.spotlight === one.id
  const hasPicture = view.tracks.some((track) => track.participant_id === one.id && track.kind === 'video')
  const light = isInLight ? t('spotlightOff') : fill('spotlightThis', { name: one.name })
  return (
    <li class={one.connected ? '' : 'away'}>
      <span class="person">
        {one.name} {isSelf && t('you')}
        <small>
          {one.label || t(`role_${one.role}`)}
          {!one.connected && ` · ${t('away')}`}
        </small>
      </span>
      {session.can('configure_room') && (isInLight || hasPicture) && (
        <button type="button" class="icon-button" data-testid="spotlight-person" aria-pressed={isInLight} aria-label={light} title={light} onClick={() => void session.attempt(() => session.room.spotlight(isInLight ? null : one.id))}>
          <Spotlight aria-hidden="true" />
        </button>
      )}
      {session.can('mute_others') && !isSelf && microphone && (
        <button type="button" class="icon-button" data-testid="mute-other" aria-label={`${t('muteThis')} ${one.name}`} title={`${t('muteThis')} ${one.name}`} onClick={() => void muteOne(session, microphone.id)}>
          <MicOff aria-hidden="true" />
        </button>
      )}
      {session.can('mute_others') && !isSelf && camera && (
        <button type="button" class="icon-button" data-testid="stop-camera" aria-label={`${t('stopThisCamera')} ${one.name}`} title={`${t('stopThisCamera')} ${one.name}`} onClick={() => void muteOne(session, camera.id)}>
          <VideoOff aria-hidden="true" />
        </button>
      )}
      {session.can('remove') && !isSelf && (
        <button
          type="button"
          class="icon-button"
          data-testid="remove"
          aria-label={`${t('removeThis')} ${one.name}`}
          title={`${t('removeThis')} ${one.name}`}
          onClick={() => {
            void session.ask(fill('removeQuestion', { name: one.name }), t('removeThis')).then((yes) => (yes ? removeOne(session, one.id) : undefined))
          }}
        >
          <UserX aria-hidden="true" />
        </button>
      )}
    </li>
  )
}

async function muteOne(session: Session, trackId: string) {
  await session.attempt(async () => {
    if (!(await session.room.muteOther(trackId))) session.notify(t('muteNotConfirmed'))
  })
}

async function removeOne(session: Session, id: string) {
  await session.attempt(async () => {
    if (!(await session.room.remove(id))) session.notify(t('notConfirmed'))
  })
}

function SettingsForm({ session, view }: { session: Session; view: RoomView }) {
  const { settings } = view
  const change = (configure: Configure) => session.configure(() => configure)
  const waits = (role: Lobbied) => settings.lobby_roles.includes(role)
  const setWaits = (role: Lobbied, wait: boolean) =>
    session.configure(({ lobby_roles: roles }) => ({ lobby_roles: [...roles.filter((other) => other !== role), ...(wait ? [role] : [])] }))
  return (
    <fieldset class="room-settings">
      <legend>{t('settings')}</legend>
      <Toggle test="writing" label={t('writingOpen')} on={settings.writing_enabled} set={(on) => change({ writing_enabled: on })} />
      <Toggle test="chat-open" label={t('chatOpen')} on={settings.chat_enabled} set={(on) => change({ chat_enabled: on })} />
      {view.room.kind !== 'community' && (
        <Toggle test="needs-adult" label={t('adultNeeded')} on={settings.needs_adult !== false} set={(on) => change({ needs_adult: on })} />
      )}
      <Toggle test="guests-wait" label={t('guestsWait')} on={waits('guest')} set={(on) => setWaits('guest', on)} />
      {view.room.kind !== 'consultation' && (
        <Toggle test="classes-wait" label={t('classesWait')} on={waits('class')} set={(on) => setWaits('class', on)} />
      )}
      <Toggle test="pupils-wait" label={t('pupilsWait')} on={waits('pupil')} set={(on) => setWaits('pupil', on)} />
    </fieldset>
  )
}

interface ToggleProps {
  test: string
  label: string
  on: boolean
  set: (on: boolean) => Promise<boolean>
}

/** Back where it was when it is refused. */
function Toggle({ test, label, on, set }: ToggleProps) {
  const change = async (box: HTMLInputElement) => {
    if (!(await set(box.checked))) box.checked = on
  }
  return (
    <label class="check">
      <input type="checkbox" role="switch" data-testid={test} checked={on} onChange={(event) => void change(event.currentTarget)} />
      <span>{label}</span>
    </label>
  )
}

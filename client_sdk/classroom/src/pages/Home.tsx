import { PasserelleApi, PasserelleError, randomId } from '@passerelle/client'
import { DoorOpen, KeyRound, Network } from 'lucide-preact'
import { useState } from 'preact/hooks'
import { errorText, t } from '../i18n.js'
import { onDevice } from '../keeping.js'
import { places } from '../places.js'
import { go } from '../router.js'
import { BridgePicture } from './BridgePicture.js'
import { enterCreated, enterJoined } from './entering.js'
import { Shell } from './Shell.js'

const rememberedName = 'passerelle.host-name'

export function Home() {
  return (
    <Shell title="Passerelle">
      <div class="hero">
        <h1 class="tagline">{t('appTagline')}</h1>
        <BridgePicture />
      </div>
      <div class="two-ways">
        <CodeForm />
        <OpenForm />
      </div>
      <BeforeTheVisit />
      <RecentRooms />
    </Shell>
  )
}

function BeforeTheVisit() {
  return (
    <p class="before-visit">
      <a
        href="/controle"
        data-testid="network-check"
        onClick={(event) => {
          event.preventDefault()
          go('/controle')
        }}
      >
        <Network aria-hidden="true" />
        <span>
          <strong>{t('networkTitle')}</strong>
          <small>{t('networkInvite')}</small>
        </span>
      </a>
    </p>
  )
}

function CodeForm() {
  const [code, setCode] = useState('')
  const [name, setName] = useState('')
  const [error, setError] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [request_id] = useState(randomId)
  const submit = async (event: Event) => {
    event.preventDefault()
    if (busy) return
    setBusy(true)
    setError(null)
    try {
      const joined = await new PasserelleApi().join({ code, name, request_id })
      enterJoined(joined, name, null)
    } catch (problem) {
      setError(errorText(problem instanceof PasserelleError ? problem.code : 'other'))
      setBusy(false)
    }
  }
  return (
    <form class="card way way-code" onSubmit={submit} aria-labelledby="code-title">
      <h2 id="code-title">
        <KeyRound aria-hidden="true" /> {t('haveCode')}
      </h2>
      <p id="code-help">{t('haveCodeHelp')}</p>
      <label>
        {t('code')}
        <input
          class="code-input"
          data-testid="code"
          value={code}
          onInput={(event) => setCode(event.currentTarget.value)}
          required
          maxLength={64}
          autocomplete="off"
          autocapitalize="none"
          spellcheck={false}
          enterkeyhint="next"
          aria-describedby={error ? 'code-help code-error' : 'code-help'}
        />
      </label>
      <label>
        {t('yourFirstName')}
        <input
          data-testid="code-name"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
          required
          maxLength={60}
          autocomplete="given-name"
          enterkeyhint="go"
        />
      </label>
      {error && (
        <p class="problem" role="alert" id="code-error">
          {error}
        </p>
      )}
      <button type="submit" class="primary" data-testid="enter-by-code" aria-disabled={busy}>
        {t(busy ? 'connecting' : 'enter')}
      </button>
    </form>
  )
}

function OpenForm() {
  const [room, setRoom] = useState('')
  const [name, setName] = useState(onDevice.getItem(rememberedName) ?? '')
  const [key, setKey] = useState('')
  const [keyWanted, setKeyWanted] = useState(false)
  const [error, setError] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [request_id] = useState(randomId)
  const submit = async (event: SubmitEvent) => {
    event.preventDefault()
    if (busy) return
    setBusy(true)
    setError(null)
    const isPrivate = new FormData(event.currentTarget as HTMLFormElement).get('private') === 'on'
    try {
      const created = await new PasserelleApi().createRoom(
        { name: room, host_name: name, kind: isPrivate ? 'consultation' : 'interclass', request_id },
        key || undefined,
      )
      onDevice.setItem(rememberedName, name)
      enterCreated(created, name)
    } catch (problem) {
      const code = problem instanceof PasserelleError ? problem.code : 'other'
      if (code === 'api-key-required') setKeyWanted(true)
      setError(errorText(code))
      setBusy(false)
    }
  }
  return (
    <form class="card way way-open" onSubmit={submit} aria-labelledby="open-title">
      <h2 id="open-title">
        <DoorOpen aria-hidden="true" /> {t('openRoom')}
      </h2>
      <p>{t('openRoomHelp')}</p>
      <label>
        {t('roomName')}
        <input
          data-testid="room-name"
          value={room}
          onInput={(event) => setRoom(event.currentTarget.value)}
          placeholder={t('roomNameExample')}
          required
          maxLength={60}
          autocomplete="off"
        />
      </label>
      <label>
        {t('yourName')}
        <input
          data-testid="host-name"
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
          required
          maxLength={60}
          autocomplete="name"
        />
      </label>
      {keyWanted && (
        <label>
          {t('apiKey')}
          <input
            type="password"
            data-testid="api-key"
            value={key}
            onInput={(event) => setKey(event.currentTarget.value)}
            required
            autocomplete="off"
            aria-describedby="key-help"
          />
          <small id="key-help">{t('apiKeyHelp')}</small>
        </label>
      )}
      <label class="check">
        <input type="checkbox" name="private" data-testid="private-room" />
        <span>
          {t('privateRoom')}
          <small>{t('privateRoomHelp')}</small>
        </span>
      </label>
      {error && (
        <p class="problem" role="alert">
          {error}
        </p>
      )}
      <button type="submit" class="primary" data-testid="open-room" aria-disabled={busy}>
        {t(busy ? 'connecting' : 'open')}
      </button>
    </form>
  )
}

function RecentRooms() {
  const recent = places()
  if (!recent.length) return null
  return (
    <nav class="recent" aria-label={t('recentRooms')}>
      <h2>{t('recentRooms')}</h2>
      <ul>
        {recent.map((place) => (
          <li key={place.room}>
            <a
              href={`/salle/${place.room}`}
              onClick={(event) => {
                event.preventDefault()
                go(`/salle/${place.room}`)
              }}
            >
              {place.roomName} <small>{t(`role_${place.role}`)}</small>
            </a>
          </li>
        ))}
      </ul>
    </nav>
  )
}

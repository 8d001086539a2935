import { PasserelleApi, PasserelleError, randomId } from '@passerelle/client'
import { useState } from 'preact/hooks'
import { errorText, t } from '../i18n.js'
import { places } from '../places.js'
import { enterJoined } from './entering.js'
import { Message, Shell } from './Shell.js'

/** Somebody came by a link: a name, and they are at the door. */
export function JoinByLink({ invitation }: { invitation: string }) {
  const before = places().find((place) => place.invitation === invitation)
  const [name, setName] = useState(before?.name ?? '')
  const [error, setError] = useState<string | null>(null)
  const [gone, setGone] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [request_id] = useState(randomId)
  if (!invitation) return <Message title={t('noPlaceTitle')} />
  if (gone) return <Message title={t('expiredTitle')} text={t(gone === 'invitation-unknown' ? 'unknownHelp' : 'expiredHelp')} />
  const submit = async (event: Event) => {
    event.preventDefault()
    if (busy) return
    setBusy(true)
    setError(null)
    try {
      const joined = await new PasserelleApi().join({ invitation, name, request_id, ...(before ? { resume: before.token } : {}) })
      enterJoined(joined, name, invitation)
    } catch (problem) {
      const code = problem instanceof PasserelleError ? problem.code : 'other'
      setGone(code.startsWith('invitation-') || code === 'not-found' ? code : null)
      setError(errorText(code))
      setBusy(false)
    }
  }
  return (
    <Shell title={t('joinTitle')} narrow>
      <form class="card" onSubmit={submit} aria-labelledby="join-title">
        <h1 id="join-title">{t('joinTitle')}</h1>
        <p id="join-help">{t('joinHelpGuest')}</p>
        <label>
          {t('yourName')}
          <input
            data-testid="join-name"
            value={name}
            onInput={(event) => setName(event.currentTarget.value)}
            required
            maxLength={60}
            autocomplete="name"
            aria-describedby="join-help"
            autofocus
          />
        </label>
        {error && (
          <p class="problem" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="primary wide" data-testid="join" aria-disabled={busy}>
          {t(busy ? 'connecting' : 'enter')}
        </button>
      </form>
    </Shell>
  )
}

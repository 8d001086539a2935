import { SelfVideo } from '../live/SelfVideo.js'
import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { Shell } from './Shell.js'

/** The lobby, from the other side of the door: it says that one waits, and nothing of who is inside. */
export function Waiting({ session }: { session: Session }) {
  return (
    <Shell title={t('waitingTitle')} narrow>
      <section class="card message waiting" data-testid="waiting">
        <div role="status">
          <h1>{t('waitingTitle')}</h1>
          <p>{t('waitingHelp')}</p>
        </div>
        <div class="waiting-picture">{session.camera ? <SelfVideo track={session.camera} /> : <div class="bridge" aria-hidden="true" />}</div>
        {session.place.name && (
          <p class="waiting-name">
            {t('youAre')} <strong>{session.place.name}</strong>
          </p>
        )}
        {!session.connected.value && <p class="quiet-text">{t('reconnectingLobby')}</p>}
        <div class="actions">
          <button type="button" class="secondary" data-testid="leave-door" onClick={() => void session.leave()}>
            {t('leaveDoor')}
          </button>
        </div>
      </section>
    </Shell>
  )
}

import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { SelfVideo } from '../live/SelfVideo.js'
import { Shell } from './Shell.js'

export function Waiting({ session }: { session: Session }) {
  return (
    <Shell title={t('waitingTitle')} narrow>
      <section class="card message waiting" data-testid="waiting" aria-live="polite">
        <h1>{t('waitingTitle')}</h1>
        <p>{t('waitingHelp')}</p>
        {session.camera ? <SelfVideo track={session.camera} /> : <div class="bridge" aria-hidden="true" />}
        <p class="quiet-text">{session.place.name}</p>
      </section>
    </Shell>
  )
}

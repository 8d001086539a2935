/** Where the browser keeps nothing (all cookies blocked, a policy): what that means in a room, said once. */

import { signal } from '@preact/signals'
import { t } from '../i18n.js'
import { placeLasts } from '../places.js'
import type { Session } from '../session.js'

/** By this page: what it is told stays told for as long as it is open, in any room. */
const isRead = signal(false)

export function NothingKept({ session, onInvite }: { session: Session; onInvite: () => void }) {
  const { role } = session.place
  if (isRead.value || placeLasts(role)) return null
  const isHost = role === 'host'
  return (
    <div class="nothing-kept" role="status" data-testid="nothing-kept">
      <p>
        <strong>{t('nothingKept')}</strong> {t(isHost ? 'nothingKeptHost' : 'nothingKeptOthers')}
      </p>
      {isHost && (
        <button type="button" class="secondary" onClick={onInvite}>
          {t('invite')}
        </button>
      )}
      <button type="button" class="primary" data-testid="nothing-kept-read" onClick={() => (isRead.value = true)}>
        {t('pauseRead')}
      </button>
    </div>
  )
}

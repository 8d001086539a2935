/** What the host must not miss, whatever panel is open: who is at the door, whose hand is up. */

import { Hand } from 'lucide-preact'
import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { raisedHands } from './hands.js'

/** Heard by a screen reader too. */
export function Door({ session, onOpen }: { session: Session; onOpen: () => void }) {
  const lobby = session.view.value?.lobby ?? []
  const first = lobby[0]
  return (
    <div class={`door ${first ? 'shown' : ''}`} role="status" data-testid="door">
      {first && (
        <>
          <span>
            {lobby.length === 1 ? (
              <>
                <strong>{first.name}</strong>
                {first.label && ` (${first.label})`} {t('someoneWaits')}
              </>
            ) : (
              `${lobby.length} ${t('peopleWait')}`
            )}
          </span>
          {lobby.length === 1 && (
            <button type="button" class="primary" data-testid="admit-first" onClick={() => void session.attempt(() => session.room.admit(first.id))}>
              {t('admit')}
            </button>
          )}
          <button type="button" class="secondary" onClick={onOpen}>
            {t('people')}
          </button>
        </>
      )}
    </div>
  )
}

/** In the order in which they went up; a press on one lowers it. */
export function Hands({ session }: { session: Session }) {
  const view = session.view.value
  if (!view || !session.can('lower_hands')) return null
  const hands = raisedHands(view.participants).filter((one) => one.id !== view.self_id)
  if (!hands.length) return null
  return (
    <section class="hands-strip" aria-label={t('handsUp')} data-testid="hands-strip">
      <Hand aria-hidden="true" />
      <ol>
        {hands.map((one) => (
          <li key={one.id}>
            <button
              type="button"
              class="hand-chip"
              title={t('lowerHand')}
              aria-label={`${t('lowerHandOf')} ${one.name}`}
              onClick={() => void session.attempt(() => session.room.setHand(false, one.id))}
            >
              {one.name}
            </button>
          </li>
        ))}
      </ol>
    </section>
  )
}

/** No adult is there: what pupils read until one is back, and what the one who comes back is told. */

import { CirclePause } from 'lucide-preact'
import { fill, language, t } from '../i18n.js'
import type { Session } from '../session.js'

/** Always there, so that a screen reader hears what comes into it, once. */
export function Pause({ session }: { session: Session }) {
  const isFrozen = session.isFrozen.value
  const report = session.pauseReport.value
  const time = new Intl.DateTimeFormat(language.value === 'fr' ? 'fr-CA' : 'en-CA', { hour: 'numeric', minute: '2-digit' })
  return (
    <div class={`pause ${isFrozen || report ? 'shown' : ''}`} role="status" data-testid="pause">
      {isFrozen && (
        <>
          <CirclePause aria-hidden="true" />
          <p>
            <strong>{t('pauseTitle')}</strong> {t(session.can('write_document') ? 'pauseHelpHost' : 'pauseHelp')}
          </p>
        </>
      )}
      {!isFrozen && report && (
        <>
          <p>
            <strong>{fill('pauseReport', { from: time.format(report.since * 1_000), to: time.format(report.until * 1_000) })}</strong> {t('pauseReportHelp')}
          </p>
          <button type="button" class="primary" data-testid="pause-read" onClick={() => (session.pauseReport.value = null)}>
            {t('pauseRead')}
          </button>
        </>
      )}
    </div>
  )
}

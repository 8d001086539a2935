/** No adult is there: what pupils read until one is back, and what the one who comes back is told. */

import { CirclePause } from 'lucide-preact'
import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { reportText } from './pause_report.js'

/** Always there, so that a screen reader hears what comes into it, once. */
export function Pause({ session }: { session: Session }) {
  const isFrozen = session.isFrozen.value
  const report = session.pauseReport.value
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
            <strong>{reportText(report)}</strong> {t('pauseReportHelp')}
          </p>
          <button type="button" class="primary" data-testid="pause-read" onClick={() => (session.pauseReport.value = null)}>
            {t('pauseRead')}
          </button>
        </>
      )}
    </div>
  )
}

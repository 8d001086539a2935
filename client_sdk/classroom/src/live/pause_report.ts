/** What the host who comes back is told of a pause. */

import { fill, language } from '../i18n.js'
import type { Pause } from '../session.js'

/** From when to when; within one minute both are the same. */
export function reportText({ since, until }: Pause): string {
  const time = new Intl.DateTimeFormat(language.value === 'fr' ? 'fr-CA' : 'en-CA', { hour: 'numeric', minute: '2-digit' })
  const [from, to] = [time.format(since * 1_000), time.format(until * 1_000)]
  return from === to ? fill('pauseReportBrief', { from }) : fill('pauseReport', { from, to })
}

import { expect, test } from 'vitest'
import { reportText } from '../src/live/pause_report.js'

const at = (text: string) => new Date(text).getTime() / 1_000

test('a pause is told from when to when, and one within a minute as a moment', () => {
  const long = reportText({ since: at('2026-11-28T15:51:40'), until: at('2026-11-28T15:53:02') })
  expect(long).toMatch(/de 15.h.51 à 15.h.53/)
  const brief = reportText({ since: at('2026-11-28T15:52:03'), until: at('2026-11-28T15:52:40') })
  expect(brief.match(/15.h.52/g)).toHaveLength(1)
})

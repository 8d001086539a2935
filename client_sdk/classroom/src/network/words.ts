/** What a network check found, in sentences. Pure but for the page's language. */

import { bestWay, mustBeOpened, outcomeOf, type NetworkReport, type NetworkResult, type NetworkTarget, type NetworkTest } from '@passerelle/client'
import { fill, language, t } from '../i18n.js'

export const networkTests: readonly NetworkTest[] = ['websocket', 'polling', 'udp', 'relay_udp', 'relay_tcp', 'relay_tls', 'delay', 'download', 'upload']

/** What was measured, or whether it passes, in a few words. */
export function outcomeText({ outcome, roundTripMs, bitsPerSecond }: NetworkResult): string {
  if (outcome !== 'passes' && outcome !== 'partly') return t(`network_${outcome}`)
  if (bitsPerSecond !== null) return speedText(bitsPerSecond)
  if (roundTripMs === null) return t(`network_${outcome}`)
  const delay = fill('network_ms', { ms: Math.max(1, Math.round(roundTripMs)) })
  return outcome === 'passes' ? delay : `${t('network_partly')}, ${delay}`
}

/** Beyond twenty the measure says little, and nobody needs more. */
const enoughMbps = 20

function speedText(bitsPerSecond: number): string {
  const mbps = bitsPerSecond / 1e6
  if (mbps > enoughMbps) return fill('network_moreThan', { mbps: enoughMbps })
  const digits = mbps < 10 ? 1 : 0
  return fill('network_mbps', { mbps: mbps.toLocaleString(language.value === 'fr' ? 'fr-CA' : 'en-CA', { maximumFractionDigits: digits }) })
}

/** What may be the reason, and who can do something about it. */
export function problemText({ test, outcome, problem }: NetworkResult): string | null {
  if (problem !== null && (outcome === 'blocked' || outcome === 'unknown')) return t(`networkProblem_${problem}`)
  if (outcome === 'partly') return t('network_somePorts')
  if (test === 'websocket' && outcome === 'blocked') return t('network_slowWay')
  return null
}

/** How sound and picture would go, where it is not the straight way. */
export function wayText(report: NetworkReport): string | null {
  const way = bestWay(report)
  if (way === null) return t('networkWay_none')
  return way === 'udp' ? null : t(`networkWay_${way}`)
}

export function transportText({ transport }: NetworkTarget): string {
  return { udp: 'UDP', tcp: 'TCP', tls: 'TCP (TLS)' }[transport]
}

/** The sheet for the technicians as plain text, to be sent by mail. `when`: of the check. */
export function sheetText(report: NetworkReport, page: string, when: Date, browser: string): string {
  const line = (target: NetworkTarget) => {
    const { host, port, purpose } = target
    return `- ${host} : ${port} ${transportText(target)} — ${t(`networkPurpose_${purpose}`)} — ${t(`network_${outcomeOf(target, report)}`)}`
  }
  const results = networkTests.flatMap((test) => {
    const result = report.results.get(test)
    return result ? [`- ${t(`networkTest_${test}`)} ${t('network_colon')} ${outcomeText(result)}`] : []
  })
  const shut = mustBeOpened(report)
  return [
    `${t('sheetTitle')} — ${page}`,
    '',
    t('sheetIntro'),
    ...report.targets.map(line),
    ...sheetNotes(report),
    '',
    t('sheetRules'),
    '',
    `${t('sheetHere')} (${whenText(when)}, ${browser})`,
    ...results,
    ...(shut.length ? ['', t('sheetToOpen'), ...shut.map(line)] : []),
  ].join('\n')
}

/** What the list cannot say. */
export function sheetNotes({ targets, byJanus }: NetworkReport): string[] {
  return [
    ...(targets.some(({ lasts }) => lasts === false) ? [t('sheetPortChanges')] : []),
    ...(byJanus ? [t('sheetJanus')] : []),
    ...(targets.some(({ purpose }) => purpose === 'relay') ? [] : [t('sheetNoRelay')]),
  ]
}

export function whenText(when: Date): string {
  return when.toLocaleString(language.value === 'fr' ? 'fr-CA' : 'en-CA', { dateStyle: 'long', timeStyle: 'short' })
}

/** Name and version, as far as the browser says them: what a technician asks first. */
export function browserText(userAgent: string): string {
  const found = /(Edg|OPR|Firefox|Chrome)\/(\d+)/.exec(userAgent) ?? /(Version)\/(\d+).*Safari/.exec(userAgent)
  const system = /\(([^;)]+)/.exec(userAgent)?.[1] ?? ''
  const name = { Edg: 'Edge', OPR: 'Opera', Version: 'Safari' }[found?.[1] ?? ''] ?? found?.[1] ?? ''
  return [name, found?.[2], system && `(${system})`].filter(Boolean).join(' ')
}

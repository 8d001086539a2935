/** What a network check means for a visit. Pure; the limits stand in docs/operations.md too. */

import type { NetworkOutcome, NetworkReport, NetworkResult, NetworkTest } from './network_check.js'
import type { NetworkTarget } from './wire.js'

/** A picture on a projector (1.5 Mbit/s), some small ones, and the sound of four. */
export const PICTURE_DOWN_BPS = 2_500_000
/** A camera in its two smaller sizes, and a microphone. */
export const PICTURE_UP_BPS = 1_000_000
/** The sound of four, as RTP with all its headers. */
export const VOICE_DOWN_BPS = 250_000
export const VOICE_UP_BPS = 80_000
/** Beyond, people talk at the same time. */
export const PICTURE_DELAY_MS = 400
export const VOICE_DELAY_MS = 1_000

/**
 * - `good`: sound and picture;
 * - `voice`: the sound gets through, the picture may not;
 * - `text`: neither does; people meet and write.
 */
export type NetworkVerdict = 'good' | 'voice' | 'text'

/** How media would go. */
export type MediaWay = 'udp' | 'relay_udp' | 'relay_tcp' | 'relay_tls'

const WAYS: readonly MediaWay[] = ['udp', 'relay_udp', 'relay_tcp', 'relay_tls']

/** The best way that is open; null: there is none. */
export function bestWay({ results }: Pick<NetworkReport, 'results'>): MediaWay | null {
  return WAYS.find((way) => isOpen(results.get(way))) ?? null
}

export function verdictOf({ results, voiceBySignaling }: Pick<NetworkReport, 'results' | 'voiceBySignaling'>): NetworkVerdict {
  const hasWay = bestWay({ results }) !== null
  if (!hasWay && !voiceBySignaling) return 'text'
  if (results.get('websocket')?.outcome !== 'passes' && results.get('polling')?.outcome !== 'passes') return 'text'
  // What could not be measured does not stand in the way.
  const delay = results.get('delay')?.roundTripMs ?? 0
  const down = results.get('download')?.bitsPerSecond ?? Number.POSITIVE_INFINITY
  const up = results.get('upload')?.bitsPerSecond ?? Number.POSITIVE_INFINITY
  if (delay > VOICE_DELAY_MS || down < VOICE_DOWN_BPS || up < VOICE_UP_BPS) return 'text'
  return !hasWay || delay > PICTURE_DELAY_MS || down < PICTURE_DOWN_BPS || up < PICTURE_UP_BPS ? 'voice' : 'good'
}

/** What this machine found of something that is to be opened. */
export function outcomeOf(target: NetworkTarget, { results }: Pick<NetworkReport, 'results'>): NetworkOutcome {
  const outcome = (test: NetworkTest) => results.get(test)?.outcome ?? 'unknown'
  if (target.purpose === 'page') return outcome('websocket') === 'passes' ? 'passes' : outcome('polling') === 'passes' ? 'partly' : 'blocked'
  if (target.purpose === 'media') return outcome('udp')
  return outcome(`relay_${target.transport}`)
}

/** What the network does not let through, or not all of it. */
export function mustBeOpened(report: NetworkReport): NetworkTarget[] {
  const shut = (target: NetworkTarget) => ['blocked', 'partly'].includes(outcomeOf(target, report))
  return report.targets.filter(shut)
}

function isOpen(result: NetworkResult | undefined): boolean {
  return result?.outcome === 'passes' || result?.outcome === 'partly'
}

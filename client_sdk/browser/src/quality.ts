/** How well the network brings what others send. What decides is pure; its limits stand in docs/operations.md too.
 *
 * A busy computer also makes sound and picture falter, here or at the other end, and the network is not to be blamed for
 * it. Measured on two cores with six busy processes: up to a fifth of the sound made up, pictures that stood still for 2 of
 * 4.7 s, 0.9 s in the jitter buffer; and not one packet lost, and 66 ms there and back. So what faltered counts only
 * together with packets that were lost, the wait in the buffer not at all, and a page that was itself held up says nothing.
 */

/** From `getStats`, of one track, since it began; what a browser does not say is 0. */
export interface Arrival {
  packets: number
  lost: number
  /** Sound: samples played, and those made up where packets were missing (not in a silence). */
  samples: number
  concealed: number
  /** Pictures: how long they stood still, in seconds. */
  frozenS: number
  /** Of its connection; null: not known. */
  roundTripMs: number | null
}

/**
 * - `good`: nothing to say;
 * - `fair`: a syllable, a jerk now and then;
 * - `poor`: hard to follow.
 */
export type Quality = 'good' | 'fair' | 'poor'

export const SAMPLE_MS = 2_000
/** A sample that comes later than this by so much: the page was held up, and so was all that it looks at. */
export const HELD_UP_MS = 400
/** Samples that are judged together: one lost packet in a second of calm is nothing. */
const WINDOW = 3
/** Judgements that must agree before the sign changes: it must not flicker. */
const AGREEING = 2
/** Less than this in a window (of six seconds) says nothing: a track that is paused, or has just begun. */
const LEAST_PACKETS = 20

/** From which on it is fair, and poor. `faltered`: made up sound, or a picture that stands, where packets are missing. */
export const LIMITS = {
  lost: [0.03, 0.1],
  roundTripMs: [400, 1_000],
  faltered: [0.03, 0.12],
} as const
/** Share of lost packets from which on the network is what makes it falter. */
export const EVIDENT_LOSS = 0.01

const ORDER: readonly Quality[] = ['good', 'fair', 'poor']

interface Known {
  samples: Arrival[]
  shown: Quality
  /** What was found the last times, newest last. */
  found: Quality[]
}

/** Judges by the last `WINDOW` samples of each track. */
export class QualityJudge {
  readonly #tracks = new Map<string, Known>()
  #at: number | null = null

  /** All that arrives now, by track; to be called every `SAMPLE_MS`. */
  judge(arrivals: ReadonlyMap<string, Arrival>, nowMs: number): Map<string, Quality> {
    const isHeldUp = this.#at !== null && nowMs - this.#at > SAMPLE_MS + HELD_UP_MS
    this.#at = nowMs
    for (const id of [...this.#tracks.keys()]) if (!arrivals.has(id)) this.#tracks.delete(id)
    for (const [id, arrival] of arrivals) {
      const known = this.#tracks.get(id) ?? { samples: [], shown: 'good', found: [] }
      this.#tracks.set(id, known)
      // Of a new connection the counts begin anew.
      if (isHeldUp || arrival.packets < (known.samples.at(-1)?.packets ?? 0)) known.samples = []
      known.samples = [...known.samples, arrival].slice(-WINDOW - 1)
      if (known.samples.length > 1) show(known, qualityOf(known.samples[0]!, arrival, (known.samples.length - 1) * (SAMPLE_MS / 1_000)))
    }
    return new Map([...this.#tracks].map(([id, { shown }]) => [id, shown]))
  }
}

/** As much worse, or better, as the last judgements agree on. */
function show(known: Known, found: Quality): void {
  known.found = [...known.found, found].slice(-AGREEING)
  if (known.found.length < AGREEING) return
  const ranks = known.found.map((each) => ORDER.indexOf(each))
  const rank = Math.min(Math.max(ORDER.indexOf(known.shown), Math.min(...ranks)), Math.max(...ranks))
  known.shown = ORDER[rank] ?? 'good'
}

/** Of what arrived between two moments that lie so far apart. */
export function qualityOf(before: Arrival, after: Arrival, elapsedS: number): Quality {
  const packets = after.packets - before.packets
  const lost = Math.max(0, after.lost - before.lost) // what comes late after all is taken off again
  if (elapsedS <= 0 || packets + lost < LEAST_PACKETS) return 'good'
  const lostShare = lost / (packets + lost)
  const faltered = Math.max(share(after.concealed - before.concealed, after.samples - before.samples), share(after.frozenS - before.frozenS, elapsedS))
  const found: [number, readonly [number, number]][] = [
    [lostShare, LIMITS.lost],
    [Math.min(before.roundTripMs ?? 0, after.roundTripMs ?? 0), LIMITS.roundTripMs],
    [lostShare >= EVIDENT_LOSS ? faltered : 0, LIMITS.faltered],
  ]
  if (found.some(([value, [, poor]]) => value >= poor)) return 'poor'
  return found.some(([value, [fair]]) => value >= fair) ? 'fair' : 'good'
}

function share(part: number, whole: number): number {
  return whole > 0 ? part / whole : 0
}

/** Browser's track id → what of it has arrived over this connection. */
export function arrivalsIn(report: RTCStatsReport): Map<string, Arrival> {
  const all = [...(report.values() as Iterable<Record<string, unknown>>)]
  const number = (value: unknown) => (typeof value === 'number' ? value : 0)
  const pairs = all.filter(({ type, nominated }) => type === 'candidate-pair' && nominated === true)
  const trips = pairs.map(({ currentRoundTripTime }) => number(currentRoundTripTime) * 1_000).filter((ms) => ms > 0)
  const roundTripMs = trips.length > 0 ? Math.min(...trips) : null
  const found = new Map<string, Arrival>()
  for (const stats of all) {
    if (stats.type !== 'inbound-rtp' || typeof stats.trackIdentifier !== 'string') continue
    found.set(stats.trackIdentifier, {
      packets: number(stats.packetsReceived),
      lost: number(stats.packetsLost),
      samples: number(stats.totalSamplesReceived),
      concealed: Math.max(0, number(stats.concealedSamples) - number(stats.silentConcealedSamples)),
      frozenS: number(stats.totalFreezesDuration),
      roundTripMs,
    })
  }
  return found
}

export function isSame(one: ReadonlyMap<string, Quality>, other: ReadonlyMap<string, Quality>): boolean {
  return one.size === other.size && [...one].every(([id, quality]) => other.get(id) === quality)
}

import { expect, it } from 'vitest'
import { QualityJudge, SAMPLE_MS, arrivalsIn, qualityOf, type Arrival } from '../src/quality.js'

const nothing: Arrival = { packets: 0, lost: 0, samples: 0, concealed: 0, frozenS: 0, roundTripMs: 20 }
const after = (more: Partial<Arrival>): Arrival => ({ ...nothing, packets: 1_000, ...more })

it.each([
  ['nothing lost', after({}), 'good'],
  ['one in fifty lost', after({ packets: 980, lost: 20 }), 'good'],
  ['one in twenty lost', after({ packets: 950, lost: 50 }), 'fair'],
  ['one in eight lost', after({ packets: 875, lost: 125 }), 'poor'],
  ['sound made up where packets were lost', after({ packets: 980, lost: 20, samples: 48_000, concealed: 2_400 }), 'fair'],
  ['sound torn where packets were lost', after({ packets: 980, lost: 20, samples: 48_000, concealed: 9_600 }), 'poor'],
  ['sound torn by a busy computer', after({ samples: 48_000, concealed: 9_600 }), 'good'],
  ['a picture that jerks, with packets lost', after({ packets: 980, lost: 20, frozenS: 0.5 }), 'fair'],
  ['a picture that stands, with packets lost', after({ packets: 980, lost: 20, frozenS: 2 }), 'poor'],
  ['a picture that stands, of a busy computer', after({ frozenS: 4 }), 'good'],
  ['a way that is not known', after({ roundTripMs: null }), 'good'],
  ['a paused track, however bad', { ...nothing, packets: 5, lost: 10 }, 'good'],
  ['more came than was missed', after({ lost: -3 }), 'good'],
] as const)('%s', (_name, now, quality) => {
  expect(qualityOf(nothing, now, 8)).toBe(quality)
})

it.each([
  [500, 'fair'],
  [1_200, 'poor'],
])('a long way of %i ms is %s, once it lasts', (roundTripMs, quality) => {
  expect(qualityOf(nothing, after({ roundTripMs }), 8)).toBe('good')
  expect(qualityOf({ ...nothing, roundTripMs }, after({ roundTripMs }), 8)).toBe(quality)
})

class Track {
  readonly #judge = new QualityJudge()
  #now = 0
  #arrival = nothing

  /** What is shown after two more seconds in which of 100 packets so many were lost. */
  sees(lost: number, laterMs = 0): string | undefined {
    this.#now += SAMPLE_MS + laterMs
    this.#arrival = { ...this.#arrival, packets: this.#arrival.packets + 100 - lost, lost: this.#arrival.lost + lost }
    return this.#judge.judge(new Map([['a', this.#arrival]]), this.#now).get('a')
  }

  beginsAnew(): void {
    this.#arrival = nothing
  }
}

it('changes the sign when two judgements agree, both ways', () => {
  const track = new Track()
  expect([0, 0, 0].map((lost) => track.sees(lost))).toEqual(['good', 'good', 'good'])
  expect(track.sees(50)).toBe('good')
  expect(track.sees(20)).toBe('poor')
  expect([0, 0, 0, 0].map((lost) => track.sees(lost))).toEqual(['poor', 'poor', 'fair', 'good'])
})

it('says nothing of what came while the page was held up, nor of another connection', () => {
  const track = new Track()
  for (let turn = 0; turn < 6; turn += 1) expect(track.sees(40, 1_000)).toBe('good')
  track.beginsAnew()
  expect(track.sees(0)).toBe('good')
  expect(track.sees(40)).toBe('good')
  expect(track.sees(40)).toBe('poor')
})

it('reads a report as Chromium writes it', () => {
  const report = new Map<string, object>([
    ['1', { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.12 }],
    ['2', { type: 'candidate-pair', nominated: false, currentRoundTripTime: 0.01 }],
    ['3', { type: 'inbound-rtp', trackIdentifier: 't1', packetsReceived: 10, packetsLost: 1, totalSamplesReceived: 960, concealedSamples: 90, silentConcealedSamples: 40 }],
    ['4', { type: 'inbound-rtp', trackIdentifier: 't2', packetsReceived: 20, packetsLost: 0, totalFreezesDuration: 1.5 }],
    ['5', { type: 'outbound-rtp', packetsSent: 5 }],
  ])
  const found = arrivalsIn(report as unknown as RTCStatsReport)
  expect([...found.keys()]).toEqual(['t1', 't2'])
  expect(found.get('t1')).toEqual({ packets: 10, lost: 1, samples: 960, concealed: 50, frozenS: 0, roundTripMs: 120 })
  expect(found.get('t2')?.frozenS).toBe(1.5)
})

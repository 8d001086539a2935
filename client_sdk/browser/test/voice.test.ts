import { describe, expect, test } from 'vitest'
import { FallbackWatch } from '../src/fallback_watch.js'
import { VoiceChannel } from '../src/voice_channel.js'
import { LONGEST_DELAY_S, VoiceClock } from '../src/voice_clock.js'
import { VoiceGate, levelOf } from '../src/voice_gate.js'
import { FRAME_TICKS, encodePacket, parsePacket, type VoiceRun } from '../src/voice_packet.js'
import { seeded } from './support/random.js'

const bytes = (...values: number[]) => new Uint8Array(values)
const run = (trackId: string, ...timestamps: number[]): VoiceRun => ({
  trackId,
  frames: timestamps.map((timestamp) => ({ timestamp, level: 30, payload: bytes(1, 2, timestamp % 256) })),
})

describe('packets', () => {
  test('are read as they were written, over the end of the clock too', () => {
    const packet = { number: 2 ** 32 - 1, heard: 7, runs: [run('a-b_C', 2 ** 32 - 960, 0, 960), run('x', 5)] }
    // What follows the clock's end is written as ticks after the first.
    packet.runs[0]?.frames.forEach((frame, n) => (frame.timestamp = (2 ** 32 - 960 + n * 960) % 2 ** 32))
    expect(parsePacket(encodePacket(packet))).toEqual(packet)
  })

  test('are the bytes of the protocol', () => {
    const packet = encodePacket({ number: 1, heard: 2, runs: [{ trackId: 'ab', frames: [{ timestamp: 258, level: 9, payload: bytes(7) }] }] })
    expect([...packet]).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 2, 2, 97, 98, 0, 0, 1, 2, 1, 0, 0, 9, 0, 1, 7])
  })

  test('cut off or broken, are dropped', () => {
    const whole = encodePacket({ number: 1, heard: 0, runs: [run('abc', 0, 960)] })
    for (let length = 0; length < whole.length; length += 1) {
      const parsed = parsePacket(whole.subarray(0, length))
      expect(parsed === null || parsed.runs.length === 0).toBe(true)
    }
    const random = seeded(20_261_128)
    for (let n = 0; n < 2_000; n += 1) {
      const broken = whole.slice()
      broken[Math.floor(random() * broken.length)] = Math.floor(random() * 256)
      parsePacket(broken) // whatever it is, it does not throw
    }
  })
})

describe('what is under way', () => {
  test('is a second at most; then the oldest that waits is dropped', () => {
    const channel = new VoiceChannel()
    const sent: Uint8Array[] = []
    for (let n = 0; n < 100; n += 1) {
      channel.put(run('t', n * 960))
      sent.push(...channel.packetsToSend())
    }
    expect(sent.length).toBe(25)
    channel.receive(encodePacket({ number: 0, heard: 25, runs: [] }))
    const fresh = channel.packetsToSend().map((packet) => parsePacket(packet)?.runs[0]?.frames[0]?.timestamp)
    expect(fresh).toEqual([94, 95, 96, 97, 98, 99].map((n) => n * 960))
    expect(channel.dropped).toBe(100 - 25 - 6)
  })

  test('is said to be heard, once, by itself where nothing else is said', () => {
    const channel = new VoiceChannel()
    expect(channel.acknowledgementToSend()).toBeNull()
    const packet = encodePacket({ number: 1, heard: 0, runs: [run('t', 0)] })
    expect(channel.receive(packet).length).toBe(1)
    expect(channel.receive(packet).length).toBe(0)
    const said = channel.acknowledgementToSend()
    expect(said === null ? null : parsePacket(said)).toEqual({ number: 0, heard: 1, runs: [] })
    expect(channel.acknowledgementToSend()).toBeNull()
  })
})

describe('when it is played', () => {
  /** Frames of one stretch of speech that arrive when `arrival` says. */
  function play(clock: VoiceClock, count: number, arrival: (n: number) => number, first = 0): (number | null)[] {
    return Array.from({ length: count }, (_, n) => clock.schedule(first + n * FRAME_TICKS, FRAME_TICKS, arrival(n)))
  }

  test('one frame follows the other without a gap, however unevenly they come', () => {
    const clock = new VoiceClock()
    // Three at a time, each 60 ms.
    const times = play(clock, 300, (n) => 10 + Math.floor(n / 3) * 0.06) as number[]
    for (let n = 1; n < times.length; n += 1) expect((times[n] as number) - (times[n - 1] as number)).toBeCloseTo(0.02, 9)
    expect(clock.late).toBe(0)
  })

  test('a line that falters makes the delay longer, within bounds', () => {
    const clock = new VoiceClock()
    const before = clock.delayS
    play(clock, 500, (n) => 10 + n * 0.02 + (Math.floor(n / 50) % 2) * 0.25)
    expect(clock.delayS).toBeGreaterThan(before)
    expect(clock.delayS).toBeLessThanOrEqual(LONGEST_DELAY_S)
    const late = clock.late
    play(clock, 500, (n) => 30 + n * 0.02 + (Math.floor(n / 50) % 2) * 0.25, 480_000 * 10)
    expect(clock.late - late).toBeLessThanOrEqual(2)
  })

  test('what was stuck is left out: nothing is ever played later than the longest delay', () => {
    const clock = new VoiceClock()
    play(clock, 50, (n) => 10 + n * 0.02)
    // Three seconds of speech at once.
    const stuck = play(clock, 150, () => 14, 50 * FRAME_TICKS)
    expect(stuck.filter((at) => at !== null).length).toBeLessThan(60)
    for (const at of stuck) if (at !== null) expect(at - 14).toBeLessThanOrEqual(LONGEST_DELAY_S)
    const after = play(clock, 50, (n) => 14.02 + n * 0.02, 200 * FRAME_TICKS) as number[]
    expect(after.filter((at) => at !== null).length).toBeGreaterThan(30)
    expect((after[49] as number) - (14.02 + 49 * 0.02)).toBeLessThanOrEqual(LONGEST_DELAY_S)
  })

  test('after a silence the next word is neither late nor upon the last one', () => {
    const clock = new VoiceClock()
    const [last] = play(clock, 10, (n) => 10 + n * 0.02).slice(-1) as number[]
    const next = clock.schedule(48_000 * 7, FRAME_TICKS, 17) as number
    expect(next).toBeGreaterThanOrEqual((last as number) + 0.02)
    expect(next - 17).toBeLessThanOrEqual(LONGEST_DELAY_S)
    expect(next).toBeGreaterThan(17)
  })

  test('a calm line is played sooner and sooner', () => {
    const clock = new VoiceClock()
    const before = clock.delayS
    for (let word = 0; word < 60; word += 1) play(clock, 20, (n) => 10 + word + n * 0.02, word * 48_000)
    expect(clock.delayS).toBeLessThan(before)
  })
})

describe('what is sent', () => {
  test('the level is that of RFC 6464', () => {
    expect(levelOf(new Float32Array(960))).toBe(127)
    expect(levelOf(new Float32Array(960).fill(1)) & 0x7f).toBe(0)
    expect(levelOf(new Float32Array(960).fill(0.1))).toBe(20 | 0x80)
    expect(levelOf(new Float32Array(960).fill(0.0001))).toBe(80)
  })

  test('speech and the end of a word; not silence', () => {
    const gate = new VoiceGate()
    expect(gate.opens(90)).toBe(false)
    expect(gate.opens(20 | 0x80)).toBe(true)
    const after = Array.from({ length: 40 }, () => gate.opens(90))
    expect(after.indexOf(false)).toBeGreaterThan(15)
    expect(after.at(-1)).toBe(false)
  })
})

describe('when voice takes another way', () => {
  test('four seconds after the connection should have stood, and not before', () => {
    const watch = new FallbackWatch(false)
    watch.update('connecting', 0)
    watch.update('connecting', 2_000)
    expect(watch.nextTimer).toBe(4_000)
    expect(watch.handleTimer(3_999)).toBe(false)
    expect(watch.handleTimer(4_000)).toBe(true)
    expect(watch.isOn).toBe(true)
  })

  test('not where it stands in time, or where there is nothing to carry', () => {
    for (const good of ['connected', 'new'] as const) {
      const watch = new FallbackWatch(false)
      watch.update('connecting', 0)
      watch.update(good, 3_000)
      expect(watch.nextTimer).toBeNull()
      expect(watch.handleTimer(10_000)).toBe(false)
    }
  })

  test('back when it stands again, after both have gone for a moment', () => {
    const watch = new FallbackWatch(false)
    watch.update('interrupted', 0)
    watch.handleTimer(4_000)
    watch.update('connected', 9_000)
    expect(watch.isOn).toBe(true)
    expect(watch.handleTimer(9_500)).toBe(true)
    expect(watch.isOn).toBe(false)
  })

  test('a connection that fails again at once changes nothing', () => {
    const watch = new FallbackWatch(false)
    watch.update('connecting', 0)
    watch.handleTimer(4_000)
    watch.update('connected', 9_000)
    watch.update('interrupted', 9_100)
    expect(watch.nextTimer).toBeNull()
    expect(watch.isOn).toBe(true)
  })

  test('sooner where it led nowhere before', () => {
    const remembered = new FallbackWatch(true)
    remembered.update('connecting', 0)
    expect(remembered.nextTimer).toBe(500)
    const learned = new FallbackWatch(false)
    learned.update('connecting', 0)
    learned.handleTimer(4_000)
    learned.update('new', 5_000)
    learned.handleTimer(5_500)
    learned.update('connecting', 60_000)
    expect(learned.nextTimer).toBe(60_500)
    learned.update('connected', 60_100)
    learned.update('interrupted', 90_000)
    expect(learned.nextTimer).toBe(94_000)
  })
})

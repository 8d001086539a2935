import { expect, test } from 'vitest'
import { DataMeter } from '../src/live/data_meter.js'

/** A sample a second at so many bytes a second; the count at the end. */
function run(meter: DataMeter, from: { at: number; bytes: number }, seconds: number, rate: number, isSparing: boolean) {
  for (let second = 0; second < seconds; second += 1) {
    from = { at: from.at + 1_000, bytes: from.bytes + rate }
    meter.sample(from.bytes, from.at, isSparing)
  }
  return from
}

test('what is spared is the difference to what passed before', () => {
  const meter = new DataMeter()
  meter.sample(0, 0, false)
  const now = run(meter, { at: 0, bytes: 0 }, 10, 200_000, false)
  expect(meter.sparedBytes).toBe(0)
  run(meter, now, 10, 20_000, true)
  expect(meter.sparedBytes).toBeCloseTo(1_800_000)
  expect(meter.usedBytes).toBe(2_200_000)
})

test('without anything to compare with nothing is claimed', () => {
  const meter = new DataMeter()
  meter.sample(0, 0, true)
  const now = run(meter, { at: 0, bytes: 0 }, 60, 20_000, true)
  expect(meter.sparedBytes).toBeNull()
  expect(meter.usedBytes).toBe(1_200_000)
  run(meter, now, 3, 200_000, false)
  expect(meter.sparedBytes).toBeNull()
})

test('a connection that is built anew counts from its beginning', () => {
  const meter = new DataMeter()
  meter.sample(5_000, 0, false)
  meter.sample(9_000, 1_000, false)
  meter.sample(1_000, 2_000, false)
  expect(meter.usedBytes).toBe(5_000)
})

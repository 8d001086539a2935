import { describe, expect, test } from 'vitest'
import { SilenceWatch } from '../src/silence_watch.js'

/** What it says at each look, of a count that goes through these values while something is due. */
function said(watch: SilenceWatch, ...counts: number[]): string[] {
  return counts.map((count) => watch.look(count, true))
}

describe('a path', () => {
  test('on which a report comes each second is in doubt after more than that', () => {
    const watch = new SilenceWatch()
    // Looks come 0.4 s apart: two in a row find nothing now and then.
    expect(said(watch, 1, 1, 1, 2, 2, 3, 3, 3)).not.toContain('doubtful')
    expect(said(watch, 4, 4, 4, 4, 4)).toEqual(['well', 'silent', 'silent', 'doubtful', 'silent'])
    expect(watch.isDoubtful).toBe(true)
  })

  test('that never paused is in doubt sooner', () => {
    const watch = new SilenceWatch()
    said(watch, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    expect(said(watch, 10, 10)).toEqual(['silent', 'doubtful'])
    expect(watch.look(11, true)).toBe('well')
    expect(watch.isDoubtful).toBe(false)
    // One that has just paused is given longer again.
    expect(said(watch, 11, 11)).toEqual(['silent', 'silent'])
  })

  test('does not live because its count sinks', () => {
    const watch = new SilenceWatch()
    said(watch, 100)
    expect(said(watch, 100, 80, 80)).toEqual(['silent', 'silent', 'doubtful'])
    expect(watch.look(81, true)).toBe('well')
  })

  test('that stays silent is dead, and says it doubts only once', () => {
    const watch = new SilenceWatch()
    const words = said(watch, ...Array.from({ length: 10 }, () => 0))
    expect(words.filter((word) => word === 'doubtful')).toHaveLength(1)
    expect(words.indexOf('dead')).toBe(9)
  })

  test('is never in doubt while nothing is due', () => {
    const watch = new SilenceWatch()
    for (let look = 0; look < 20; look += 1) expect(watch.look(5, false)).toBe('well')
    expect(watch.isDoubtful).toBe(false)
  })
})

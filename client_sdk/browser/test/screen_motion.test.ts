import { expect, it } from 'vitest'
import { MotionJudge } from '../src/screen_motion.js'

const hints = (judge: MotionJudge, ...perSecond: number[]) => perSecond.map((each) => judge.judge(each))

it('takes for a film what moves for three seconds, and for a text again what rests as long', () => {
  const judge = new MotionJudge()
  expect(hints(judge, 1, 25, 25, 25, 25, 24)).toEqual(['detail', 'detail', 'detail', 'motion', 'motion', 'motion'])
  expect(hints(judge, 0, 1, 2)).toEqual(['motion', 'motion', 'detail'])
})

it('a text that is scrolled for a moment stays one, a film that pauses for a moment too', () => {
  const judge = new MotionJudge()
  expect(hints(judge, 30, 30, 3, 30, 30, 0)).not.toContain('motion')
  expect(hints(judge, 25, 25, 25, 0, 0, 25, 0, 0, 8)).toEqual(['detail', 'detail', ...Array(7).fill('motion')])
})

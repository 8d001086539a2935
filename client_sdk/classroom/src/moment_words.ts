import type { MomentWords } from './announcements.js'
import { fill } from './i18n.js'

/** What happens in the room, in the language of the page. */
export const momentWords: MomentWords = {
  arrived: (name) => fill('sayArrived', { name }),
  manyArrived: (count) => fill('sayManyArrived', { count }),
  left: (name) => fill('sayLeft', { name }),
  manyLeft: (count) => fill('sayManyLeft', { count }),
  hand: (name) => fill('sayHand', { name }),
  manyHands: (count) => fill('sayManyHands', { count }),
  wrote: (name) => fill('sayWrote', { name }),
  manyWrote: (count) => fill('sayManyWrote', { count }),
  text: (title) => fill('sayText', { title }),
  manyTexts: (count) => fill('sayManyTexts', { count }),
}

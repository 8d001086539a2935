import type { Participant } from '@passerelle/client'

/** Whose hand is up, first raised first. Pure. */
export function raisedHands(participants: readonly Participant[]): Participant[] {
  return participants
    .filter((one) => one.hand_raised_at !== null)
    .sort((a, b) => (a.hand_raised_at ?? 0) - (b.hand_raised_at ?? 0) || a.id.localeCompare(b.id))
}

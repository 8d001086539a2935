/** What is said where nobody else has a picture. Pure. */

interface Present {
  id: string
  name: string
  connected: boolean
}

/** Who else is there: pupils write without a camera. */
export function othersHere<T extends Present>(participants: readonly T[], selfId: string): T[] {
  return participants.filter(({ id, connected }) => connected && id !== selfId)
}

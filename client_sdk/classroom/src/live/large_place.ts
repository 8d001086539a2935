/** Who has the large place on this page. Pure. */

import type { TileOrder } from './grid.js'

export interface Placed extends TileOrder {
  /** Whose camera or screen it is. */
  ownerId: string
}

export interface Places<T> {
  /** Side by side in the large place; empty: everyone is as large as everyone else. */
  large: T[]
  others: T[]
}

/** What one has pinned for oneself goes before what a host shows to everyone, and both before screens, but for a screen
 * of whoever is shown: then it is that. One's own screen is before one's eyes already, and large in itself a hall of
 * mirrors: it comes here only when it is asked for. */
export function placesOf<T extends Placed>(tiles: readonly T[], pinned: string | null, spotlight: string | null): Places<T> {
  const large = largeOf(tiles, pinned, spotlight)
  return { large, others: tiles.filter((tile) => !large.includes(tile)) }
}

function largeOf<T extends Placed>(tiles: readonly T[], pinned: string | null, spotlight: string | null): T[] {
  const own = tiles.filter(({ id }) => id === pinned)
  if (own.length) return own
  const shown = tiles.filter(({ ownerId }) => ownerId === spotlight)
  const screens = (among: readonly T[]) => among.filter(({ isScreen }) => isScreen)
  if (shown.length) return screens(shown).length ? screens(shown) : shown
  return screens(tiles).filter(({ isSelf }) => !isSelf)
}

/** The one picture of a projector: what has the large place, else who speaks, spoke last (`before`), or the first that
 * is somebody else's. */
export function projected<T extends Placed>(tiles: readonly T[], { large }: Places<T>, before: string | null): T | null {
  if (large[0]) return large[0]
  const others = tiles.filter(({ isSelf }) => !isSelf)
  const pictures = others.filter(({ hasVideo }) => hasVideo)
  const among = pictures.length ? pictures : others
  return among.find(({ isSpeaking }) => isSpeaking) ?? among.find(({ id }) => id === before) ?? among[0] ?? tiles[0] ?? null
}

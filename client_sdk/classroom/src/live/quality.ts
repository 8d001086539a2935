/** How well a tile arrives: from tracks to tiles. Pure. */

import type { Quality, Track } from '@passerelle/client'

const order: readonly Quality[] = ['good', 'fair', 'poor']

/** By participant, the worse of picture and sound; by track for screens, with their sound. */
export function byTile(tracks: readonly Track[], found: ReadonlyMap<string, Quality>): Map<string, Quality> {
  const tiles = new Map<string, Quality>()
  for (const track of tracks) {
    const quality = found.get(track.id)
    if (quality === undefined || track.source === 'screen_audio') continue
    const id = track.source === 'screen' ? track.id : track.participant_id
    const known = tiles.get(id) ?? 'good'
    tiles.set(id, order.indexOf(quality) > order.indexOf(known) ? quality : known)
  }
  return tiles
}

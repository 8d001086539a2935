/** The best grid for tiles of 16:9 in a given space. Pure. */

export interface Grid {
  columns: number
  rows: number
  /** Width of one tile, in CSS pixels. */
  tileWidth: number
}

/** Between two tiles, in CSS pixels; as in live.css. */
export const gridGap = 12

export function bestGrid(count: number, width: number, height: number, gap = gridGap, ratio = 16 / 9): Grid {
  let best: Grid = { columns: 1, rows: Math.max(1, count), tileWidth: 0 }
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.ceil(count / columns)
    const byWidth = (width - gap * (columns - 1)) / columns
    const byHeight = ((height - gap * (rows - 1)) / rows) * ratio
    const tileWidth = Math.floor(Math.min(byWidth, byHeight))
    if (tileWidth > best.tileWidth) best = { columns, rows, tileWidth }
  }
  return best
}

/** What a tile stands for: a person's camera, or a screen. */
export interface TileOrder {
  id: string
  isScreen: boolean
  isSelf: boolean
  isSpeaking: boolean
  hasVideo: boolean
  joinedAt: number
}

/** Screens of others first, then who has a picture, then first come first; oneself last. Speaking moves nobody:
 * a picture that jumps is lost to a class. */
export function orderTiles<T extends TileOrder>(tiles: readonly T[]): T[] {
  return [...tiles].sort(
    (a, b) =>
      Number(b.isScreen && !b.isSelf) - Number(a.isScreen && !a.isSelf) ||
      Number(a.isSelf) - Number(b.isSelf) ||
      Number(b.hasVideo) - Number(a.hasVideo) ||
      a.joinedAt - b.joinedAt ||
      a.id.localeCompare(b.id),
  )
}

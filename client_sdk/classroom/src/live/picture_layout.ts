/** Which pictures are on the page, and how large: what the server need not send saves a school's line. */

import type { ShownTrack } from '@passerelle/client'

/** A window being dragged larger is one change, not a hundred; a new tile waits this long for its picture. */
const settleMs = 120
/** Of the server (`MAX_PICTURE_PIXELS`). */
const maxPixels = 8_192

/** In device pixels. */
export interface Size {
  width: number
  height: number
}

interface Shown {
  trackId: string
  width: number
  height: number
  isVisible: boolean
}

/** Tiles are `shown`; whenever they have settled after a change, `tell` gets every picture that is in sight. */
export class PictureLayout {
  readonly #tell: (tracks: ShownTrack[]) => void
  readonly #shown = new Map<Element, Shown>()
  readonly #sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) this.#change(target, { width: contentRect.width, height: contentRect.height })
  })
  readonly #sights = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) this.#change(target, { isVisible: isIntersecting })
  })
  #limit: Size | null = null
  #timer: ReturnType<typeof setTimeout> | undefined
  #told = ''

  constructor(tell: (tracks: ShownTrack[]) => void) {
    this.#tell = tell
  }

  /** `element` shows the track until the function that is returned is called. */
  show(element: Element, trackId: string): () => void {
    const { width, height } = element.getBoundingClientRect()
    this.#shown.set(element, { trackId, width, height, isVisible: true })
    this.#sizes.observe(element)
    this.#sights.observe(element)
    this.#settleSoon()
    return () => {
      this.#sizes.unobserve(element)
      this.#sights.unobserve(element)
      this.#shown.delete(element)
      this.#settleSoon()
    }
  }

  /** No picture need be larger, whatever its tile; null: as large as it is shown. */
  setLimit(limit: Size | null): void {
    this.#limit = limit
    this.#settleSoon()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#sizes.disconnect()
    this.#sights.disconnect()
    this.#shown.clear()
  }

  #change(element: Element, change: Partial<Shown>): void {
    const shown = this.#shown.get(element)
    if (shown === undefined) return
    Object.assign(shown, change)
    this.#settleSoon()
  }

  #settleSoon(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#settle(), settleMs)
  }

  #settle(): void {
    const tracks = layoutOf([...this.#shown.values()], devicePixelRatio, this.#limit)
    const told = JSON.stringify(tracks)
    if (told === this.#told) return
    this.#told = told
    this.#tell(tracks)
  }
}

/** Each track in sight once, at its largest, in device pixels. Pure. */
export function layoutOf(shown: readonly Shown[], pixelRatio: number, limit: Size | null = null): ShownTrack[] {
  const most = limit ?? { width: maxPixels, height: maxPixels }
  const found = new Map<string, ShownTrack>()
  for (const { trackId, isVisible, ...size } of shown) {
    const width = Math.min(most.width, Math.round(size.width * pixelRatio))
    const height = Math.min(most.height, Math.round(size.height * pixelRatio))
    if (!isVisible || width < 1 || height < 1) continue
    const known = found.get(trackId)
    if (known === undefined || known.height < height) found.set(trackId, { track_id: trackId, width, height })
  }
  return [...found.values()].sort((a, b) => (a.track_id < b.track_id ? -1 : 1))
}

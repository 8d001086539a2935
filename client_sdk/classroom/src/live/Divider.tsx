import { t } from '../i18n.js'
import { onDevice } from '../keeping.js'

const stored = 'passerelle.text-share'
const narrowest = 25
const widest = 75
const usual = 44
/** One press of an arrow key, in percent of the width. */
const step = 3

function clamp(share: number): number {
  return Math.round(Math.min(widest, Math.max(narrowest, share)))
}

/** The text's part of the width, in percent, as it was left on this device. */
export function keptTextShare(): number {
  const kept = Number(onDevice.getItem(stored) ?? usual)
  return Number.isFinite(kept) ? clamp(kept) : usual
}

/** Between the pictures and the text: dragged with a finger or a mouse, moved with the arrow keys. */
export function Divider({ share, onShare }: { share: number; onShare: (share: number) => void }) {
  const set = (next: number) => {
    const kept = clamp(next)
    onShare(kept)
    onDevice.setItem(stored, String(kept))
  }
  const drag = (event: PointerEvent) => {
    const divider = event.currentTarget as HTMLElement
    const box = divider.parentElement?.getBoundingClientRect()
    if (!box?.width || !divider.hasPointerCapture(event.pointerId)) return
    // What a panel takes on the right is not the text's.
    const right = divider.parentElement?.querySelector('.text-side')?.getBoundingClientRect().right ?? box.right
    set(((right - event.clientX) / box.width) * 100)
  }
  const keys: Record<string, number> = { ArrowLeft: share + step, ArrowRight: share - step, Home: widest, End: narrowest }
  return (
    <div
      class="divider"
      role="separator"
      tabIndex={0}
      aria-orientation="vertical"
      aria-label={t('textWidth')}
      aria-valuenow={share}
      aria-valuemin={narrowest}
      aria-valuemax={widest}
      data-testid="divider"
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={drag}
      onDblClick={() => set(usual)}
      onKeyDown={(event) => {
        const next = keys[event.key]
        if (next === undefined) return
        event.preventDefault()
        set(next)
      }}
    />
  )
}

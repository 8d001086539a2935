import { X } from 'lucide-preact'
import { t } from '../i18n.js'

/** The title takes the focus when its panel opens. */
export function PanelHeader({ title, onClose }: { title: string; onClose: () => void }) {
  return (
    <header class="panel-header">
      <h2 tabIndex={-1}>{title}</h2>
      <button type="button" class="icon-button" aria-label={t('close')} data-testid="close-panel" onClick={onClose}>
        <X aria-hidden="true" />
      </button>
    </header>
  )
}

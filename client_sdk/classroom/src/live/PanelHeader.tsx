import { X } from 'lucide-preact'
import { t } from '../i18n.js'

export function PanelHeader({ title, onClose }: { title: string; onClose: () => void }) {
  return (
    <header class="panel-header">
      <h2>{title}</h2>
      <button type="button" class="icon-button" aria-label={t('close')} onClick={onClose}>
        <X aria-hidden="true" />
      </button>
    </header>
  )
}

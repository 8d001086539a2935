import { Component, type ComponentChildren } from 'preact'
import { t } from '../i18n.js'
import { Shell } from './Shell.js'

/** Around what may not come (a part of the page over a network that fails) or may break: said, with a way out, in place
 * of a page that is empty. */
export class Mishap extends Component<{ children: ComponentChildren; isPage?: boolean }, { hasFailed: boolean }> {
  override state = { hasFailed: false }

  static override getDerivedStateFromError() {
    return { hasFailed: true }
  }

  override componentDidCatch(error: unknown) {
    console.error(error)
  }

  override render() {
    if (!this.state.hasFailed) return this.props.children
    const said = (
      <div class="mishap" role="alert" data-testid="mishap">
        <p>{t('mishap')}</p>
        <button type="button" class="primary" onClick={() => location.reload()}>
          {t('reloadPage')}
        </button>
      </div>
    )
    return this.props.isPage ? <Shell title={t('mishap')}>{said}</Shell> : said
  }
}

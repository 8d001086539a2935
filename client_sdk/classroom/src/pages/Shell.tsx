import type { ComponentChildren } from 'preact'
import { useEffect } from 'preact/hooks'
import { language, setLanguage, t } from '../i18n.js'
import { go } from '../router.js'

/** The bridge, the name, the language: on every page but the live one. */
export function Shell({ title, children, narrow = false }: { title: string; children: ComponentChildren; narrow?: boolean }) {
  useEffect(() => {
    document.title = `${title} – Passerelle`
  }, [title])
  return (
    <div class="shell">
      <header class="shell-header">
        <a
          class="brand"
          href="/"
          onClick={(event) => {
            event.preventDefault()
            go('/')
          }}
        >
          <img src="/icon.svg" alt="" width="40" height="40" />
          Passerelle
        </a>
        <LanguageSwitch />
      </header>
      <main id="main" class={narrow ? 'narrow' : ''}>
        {children}
      </main>
    </div>
  )
}

export function LanguageSwitch() {
  const other = language.value === 'fr' ? 'en' : 'fr'
  return (
    <button type="button" class="quiet language" lang={other} data-testid="language" onClick={() => setLanguage(other)}>
      <span class="in-full">{t('otherLanguage')}</span>
      <span class="in-short" aria-hidden="true">
        {other}
      </span>
    </button>
  )
}

export function Message({ title, text, children }: { title: string; text?: string | undefined; children?: ComponentChildren }) {
  return (
    <Shell title={title} narrow>
      <section class="card message" data-testid="message">
        <h1>{title}</h1>
        {text && <p>{text}</p>}
        <div class="actions">
          {children}
          <button type="button" class="secondary" onClick={() => go('/')}>
            {t('backHome')}
          </button>
        </div>
      </section>
    </Shell>
  )
}

export function Connecting() {
  return (
    <Shell title={t('connecting')} narrow>
      <section class="card message waiting" role="status">
        <h1>{t('connecting')}</h1>
        <div class="bridge" aria-hidden="true" />
      </section>
    </Shell>
  )
}

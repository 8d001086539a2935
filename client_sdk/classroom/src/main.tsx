import { render } from 'preact'
import { App } from './App.js'
import { language } from './i18n.js'
import { inTab } from './keeping.js'
import './styles/base.css'
import './styles/pages.css'
import './styles/tiles.css'
import './styles/panels.css'
import './styles/live.css'
import './styles/editor.css'
import './styles/network.css'
import './styles/projector.css'

document.documentElement.lang = language.value === 'fr' ? 'fr-CA' : 'en-CA'
// A part of an older page that the server no longer has, after an update: the new page, once a minute at most.
addEventListener('vite:preloadError', () => {
  const last = Number(inTab.getItem('passerelle.reloaded') ?? 0)
  // Where a tab keeps nothing it would reload for ever, and nobody would find back into their room; without a network there
  // would be no page at all (`Mishap` says what is missing).
  if (!inTab.lasts || !navigator.onLine || Date.now() - last < 60_000) return
  inTab.setItem('passerelle.reloaded', String(Date.now()))
  location.reload()
})

render(<App />, document.getElementById('app')!)

/** Refused where the certificate is not trusted, or nothing may be kept: the page works, it only cannot reload offline. */
async function keepPageForOffline(): Promise<void> {
  if (!('serviceWorker' in navigator) || !import.meta.env.PROD) return
  try {
    await navigator.serviceWorker.register('/sw.js')
  } catch (error) {
    console.warn('service worker:', error)
  }
}

void keepPageForOffline()

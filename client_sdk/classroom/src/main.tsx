import { render } from 'preact'
import { App } from './App.js'
import { language } from './i18n.js'
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
  const last = Number(sessionStorage.getItem('passerelle.reloaded') ?? 0)
  if (Date.now() - last < 60_000) return
  sessionStorage.setItem('passerelle.reloaded', String(Date.now()))
  location.reload()
})

render(<App />, document.getElementById('app')!)

if ('serviceWorker' in navigator && import.meta.env.PROD) {
  // Refused where the certificate is not trusted: the page works, it only cannot reload offline.
  navigator.serviceWorker.register('/sw.js').catch((error: unknown) => console.warn('service worker:', error))
}

/** Where the page is. Secrets are taken out of the address at once: it may be on a projector. */

import { signal } from '@preact/signals'
import { inTab } from './keeping.js'
import { parseRoute, type Route } from './routes.js'

/** For this tab: a reload of the form asks for the name again, not for the link. */
const keptInvitation = 'passerelle.invitation'

export const route = signal<Route>(take())

function take(): Route {
  const taken = parseRoute(location.pathname, location.hash)
  if (taken.page === 'home' || taken.page === 'network') return taken
  if (taken.page === 'join') {
    if (taken.invitation) inTab.setItem(keptInvitation, taken.invitation)
    else taken.invitation = inTab.getItem(keptInvitation) ?? ''
  }
  if (location.hash) history.replaceState(null, '', location.pathname)
  return taken
}

export function go(path: string): void {
  history.pushState(null, '', path)
  route.value = take()
  scrollTo(0, 0)
}

addEventListener('popstate', () => (route.value = take()))
addEventListener('hashchange', () => (route.value = take()))

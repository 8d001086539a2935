/** The page's addresses. Secrets come in the fragment, which no server sees, and are taken out at once. */

import { signal } from '@preact/signals'

export type Route =
  | { page: 'home' }
  | { page: 'join'; invitation: string }
  | { page: 'room'; room: string; token: string | null }

export function parseRoute(path: string, fragment: string): Route {
  const room = /^\/salle\/([A-Za-z0-9_-]{1,64})\/?$/.exec(path)
  if (room?.[1]) {
    const token = /^#jeton=([A-Za-z0-9_.-]+)$/.exec(fragment)
    return { page: 'room', room: room[1], token: token?.[1] ?? null }
  }
  if (/^\/entrer\/?$/.test(path)) {
    return { page: 'join', invitation: fragment.slice(1) }
  }
  return { page: 'home' }
}

export const route = signal<Route>(take())

function take(): Route {
  const taken = parseRoute(location.pathname, location.hash)
  if (taken.page === 'room' && location.hash) history.replaceState(null, '', location.pathname)
  return taken
}

export function go(path: string): void {
  history.pushState(null, '', path)
  route.value = take()
  scrollTo(0, 0)
}

addEventListener('popstate', () => (route.value = take()))
addEventListener('hashchange', () => (route.value = take()))

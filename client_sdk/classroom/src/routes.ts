/** The page's addresses, read. Pure. Secrets come in the fragment, which no server sees. */

export type Route =
  | { page: 'home' }
  | { page: 'network' }
  | { page: 'join'; invitation: string }
  | { page: 'room'; room: string; token: string | null }

/** `invitation` is empty when the address names none. */
export function parseRoute(path: string, fragment: string): Route {
  const room = /^\/salle\/([A-Za-z0-9_-]{1,64})\/?$/.exec(path)
  if (room?.[1]) {
    const token = /^#jeton=([A-Za-z0-9_.-]+)$/.exec(fragment)
    return { page: 'room', room: room[1], token: token?.[1] ?? null }
  }
  if (/^\/entrer\/?$/.test(path)) {
    return { page: 'join', invitation: fragment.slice(1) }
  }
  if (/^\/controle\/?$/.test(path)) return { page: 'network' }
  return { page: 'home' }
}

/** The room that a join token names (a JWT, RFC 7519); null when it cannot be read. Only to find what
 * this browser keeps of the room before the server has spoken: it proves nothing. */
export function roomOfToken(token: string): string | null {
  try {
    const payload = token.split('.')[1] ?? ''
    const claims: unknown = JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/')))
    return typeof claims === 'object' && claims !== null && 'room' in claims && typeof claims.room === 'string' ? claims.room : null
  } catch {
    return null // not a JWT: some other server's idea of a token
  }
}

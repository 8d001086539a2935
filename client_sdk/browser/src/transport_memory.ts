/**
 * Which transport worked last with a server. A proxy that swallows WebSockets costs some seconds at
 * the first connection; remembered (for this tab, over reloads), it costs them once.
 */

export type TransportName = 'websocket' | 'polling'

const KEY = 'passerelle.transport '
const worked = new Map<string, TransportName>()

export function rememberTransport(origin: string, transport: TransportName): void {
  worked.set(origin, transport)
  try {
    globalThis.sessionStorage?.setItem(KEY + origin, transport)
  } catch {
    // Storage is forbidden or full: this page remembers, the next one learns again.
  }
}

export function rememberedTransport(origin: string): TransportName | null {
  const known = worked.get(origin)
  if (known !== undefined) return known
  try {
    const stored = globalThis.sessionStorage?.getItem(KEY + origin)
    return stored === 'websocket' || stored === 'polling' ? stored : null
  } catch {
    return null // storage is forbidden: nothing is remembered
  }
}

/** Attempts in a row (three seconds) in which WebSocket is believed where it has worked. */
const TRUSTED_ATTEMPTS = 4

/**
 * `allowed` with what worked first; `attempt` counts from 0 since the last connection. Where WebSocket has worked,
 * it alone at first: a server that starts again refuses one and takes the next, which would stay with long polling
 * for as long as it lives.
 */
export function transportOrder(allowed: readonly TransportName[], remembered: TransportName | null, attempt: number): TransportName[] {
  if (remembered === null || !allowed.includes(remembered)) return [...allowed]
  if (remembered === 'websocket' && attempt < TRUSTED_ATTEMPTS) return ['websocket']
  return [remembered, ...allowed.filter((each) => each !== remembered)]
}

const FALLBACK_KEY = 'passerelle.fallback '
const fellBack = new Set<string>()

/** Whether media found no way to this server, and voice took another: the next page does not wait to learn it. */
export function rememberFallback(origin: string, isOn: boolean): void {
  if (isOn) fellBack.add(origin)
  else fellBack.delete(origin)
  try {
    if (isOn) globalThis.sessionStorage?.setItem(FALLBACK_KEY + origin, 'yes')
    else globalThis.sessionStorage?.removeItem(FALLBACK_KEY + origin)
  } catch {
    // Storage is forbidden or full: the next page learns again.
  }
}

export function rememberedFallback(origin: string): boolean {
  if (fellBack.has(origin)) return true
  try {
    return globalThis.sessionStorage?.getItem(FALLBACK_KEY + origin) === 'yes'
  } catch {
    return false // storage is forbidden: nothing is remembered
  }
}

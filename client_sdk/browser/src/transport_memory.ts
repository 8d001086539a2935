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

/** `allowed` with what worked first. */
export function transportOrder(allowed: readonly TransportName[], remembered: TransportName | null): TransportName[] {
  if (remembered === null || !allowed.includes(remembered)) return [...allowed]
  return [remembered, ...allowed.filter((each) => each !== remembered)]
}

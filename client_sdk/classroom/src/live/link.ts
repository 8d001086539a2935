/** What somebody typed as a link's address, as an address that is safe to follow; null when there is none. Pure. */
export function linkOf(typed: string): string | null {
  const text = typed.trim()
  if (!text) return null
  const guess = /^(https?:|mailto:)/i.test(text) ? text : text.includes('@') && !text.includes('/') ? `mailto:${text}` : `https://${text}`
  try {
    return new URL(guess).href
  } catch {
    return null
  }
}

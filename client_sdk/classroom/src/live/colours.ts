/** A colour for each person's cursor: dark enough that its white label reads (4.5:1), told apart by hue. */

const colours = ['#9c2b2b', '#1f5fa8', '#2e6b34', '#7a3b9a', '#8a4b08', '#0d6b70', '#a3246f', '#4a5a16', '#3949ab', '#6d4c41', '#b03a12', '#00695c']

export function colourOf(id: string): string {
  let hash = 0
  for (const character of id) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) >>> 0
  return colours[hash % colours.length]!
}

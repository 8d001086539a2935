import { describe, expect, test } from 'vitest'
import { Kept } from '../src/keeping.js'

/** As much of `Storage` as counts here; `full`: takes nothing more. */
class Memory implements Storage {
  [name: string]: unknown
  readonly kept = new Map<string, string>()
  full = false
  get length() {
    return this.kept.size
  }
  clear = () => this.kept.clear()
  key = (at: number) => [...this.kept.keys()][at] ?? null
  getItem = (key: string) => this.kept.get(key) ?? null
  removeItem = (key: string) => void this.kept.delete(key)
  setItem = (key: string, value: string) => {
    if (this.full) throw new DOMException('full', 'QuotaExceededError')
    this.kept.set(key, value)
  }
}

const forbidden = () => {
  throw new DOMException('blocked', 'SecurityError')
}

describe('what a browser keeps', () => {
  test('outlives the page, and nothing else is left there', () => {
    const storage = new Memory()
    const kept = new Kept(() => storage)
    expect(kept.lasts).toBe(true)
    expect(storage.length).toBe(0)
    kept.setItem('a', '1')
    expect(new Kept(() => storage).getItem('a')).toBe('1')
  })
})

describe.each([
  ['its name throws', forbidden],
  ['it is switched off', () => null],
])('where storage is forbidden: %s', (_, storage) => {
  test('the page remembers, for as long as it is open', () => {
    const kept = new Kept(storage)
    expect(kept.lasts).toBe(false)
    expect(kept.getItem('a')).toBeNull()
    kept.setItem('a', '1')
    kept.setItem('a', '2')
    expect(kept.getItem('a')).toBe('2')
    expect(new Kept(storage).getItem('a')).toBeNull()
  })
})

test('what a full disk does not take is newer than what it has, until it takes something again', () => {
  const storage = new Memory()
  const kept = new Kept(() => storage)
  kept.setItem('a', '1')
  storage.full = true
  kept.setItem('a', '2')
  expect(kept.getItem('a')).toBe('2')
  storage.full = false
  kept.setItem('a', '3')
  storage.setItem('a', '4') // another tab
  expect(kept.getItem('a')).toBe('4')
})

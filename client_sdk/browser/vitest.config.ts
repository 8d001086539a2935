import { defineConfig } from 'vitest/config'
import { SECOND_MS } from './test/support/deadlines.js'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60 * SECOND_MS,
    hookTimeout: 60 * SECOND_MS,
    // Two real servers at once are enough for a small machine.
    maxWorkers: 2,
  },
})

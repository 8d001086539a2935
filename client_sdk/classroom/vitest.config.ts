import { defineConfig } from 'vitest/config'

// The pure parts alone; the page itself is tested in a real browser, against a real server (tests/browser).
export default defineConfig({ test: { include: ['test/**/*.test.ts'], environment: 'node' } })

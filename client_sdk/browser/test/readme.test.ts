/** The example of the README runs as it stands. */

import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { PasserelleApi } from '../src/index.js'
import { SECOND_MS } from './support/deadlines.js'
import { ServerProcess } from './support/server.js'

const EXAMPLE = join(import.meta.dirname, 'readme-example.gen.ts')
let server: ServerProcess

beforeAll(async () => {
  server = await ServerProcess.start()
}, 70 * SECOND_MS)
afterAll(async () => {
  await Promise.all([server.dispose(), rm(EXAMPLE, { force: true })])
})

test('the README’s example joins, writes, and is saved', async () => {
  const readme = await readFile(join(import.meta.dirname, '../README.md'), 'utf8')
  const example = /```ts\n(import [^]*?)```/.exec(readme)?.[1] ?? ''
  await writeFile(EXAMPLE, example.replace('@passerelle/client', '../src/index.js'))
  const { greet } = (await import(/* @vite-ignore */ EXAMPLE)) as { greet: (baseUrl: string, code: string) => Promise<string> }
  const api = new PasserelleApi({ baseUrl: server.url })
  const { room, token } = await api.createRoom({ name: 'Les marées' })
  const { code } = await api.createInvitation(room.id, token, { role: 'class' })
  expect(await greet(server.url, code)).toBe('Bonjour de Rimouski !')
})

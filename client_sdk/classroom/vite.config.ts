import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import preact from '@preact/preset-vite'
import { defineConfig, type Plugin } from 'vite'

const output = join(import.meta.dirname, '../../server/static')
const compressible = /\.(js|css|html|svg|webmanifest)$/
const worthCompressing = 1_024

/** Lists what was built in the service worker, and puts a .br and a .gz beside what shrinks. */
function finish(): Plugin {
  return {
    name: 'passerelle-finish',
    apply: 'build',
    closeBundle() {
      const files = everyFile(output).filter((file) => !/\.(br|gz)$/.test(file))
      const worker = join(output, 'sw.js')
      const shell = files.filter((file) => file !== worker).map((file) => '/' + relative(output, file).replaceAll('\\', '/'))
      const version = createHash('sha256').update(files.map((file) => readFileSync(file)).join('')).digest('hex').slice(0, 16)
      const list = JSON.stringify(shell.map((path) => (path === '/index.html' ? '/' : path)))
      writeFileSync(worker, readFileSync(worker, 'utf8').replace("'@version'", `'${version}'`).replace("['@shell']", list))
      for (const file of files) {
        if (!compressible.test(file) || statSync(file).size < worthCompressing) continue
        const content = readFileSync(file)
        writeFileSync(file + '.br', brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }))
        writeFileSync(file + '.gz', gzipSync(content, { level: 9 }))
      }
    },
  }
}

function everyFile(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? everyFile(join(folder, entry.name)) : [join(folder, entry.name)]))
    .sort()
}

export default defineConfig({
  plugins: [preact(), finish()],
  build: { outDir: output, emptyOutDir: true, assetsDir: 'assets', assetsInlineLimit: 0, target: 'es2022', modulePreload: { polyfill: false } },
  server: { proxy: { '/api': 'http://127.0.0.1:8080', '/socket.io': { target: 'http://127.0.0.1:8080', ws: true } } },
})

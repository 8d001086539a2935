// @y/websocket-server with y-leveldb, joined as y-websocket's own example joins them; its bin starts
// without a store. Arguments: the folder of its store, the port.
import { createServer } from 'node:http'
import { join } from 'node:path'
import { docs, setPersistence, setupWSConnection } from '@y/websocket-server/utils'
import WebSocket from 'ws'
import { LeveldbPersistence } from 'y-leveldb'
import * as Y from 'yjs'

const [folder, port] = process.argv.slice(2)
const store = new LeveldbPersistence(join(folder, 'leveldb'))

setPersistence({
  provider: store,
  bindState: async (name, doc) => {
    const stored = await store.getYDoc(name)
    store.storeUpdate(name, Y.encodeStateAsUpdate(doc)) // what clients sent while it was being read
    Y.applyUpdate(doc, Y.encodeStateAsUpdate(stored))
    doc.on('update', update => store.storeUpdate(name, update))
  },
  writeState: async () => {}
})

const sockets = new WebSocket.Server({ noServer: true })
sockets.on('connection', setupWSConnection)

const server = createServer((_request, response) => response.end('okay'))
server.on('upgrade', (request, socket, head) =>
  sockets.handleUpgrade(request, socket, head, opened => sockets.emit('connection', opened, request))
)
server.listen(Number(port), '127.0.0.1')

process.on('SIGTERM', async () => {
  for (const name of docs.keys()) await store.getStateVector(name) // behind every write that is queued
  process.exit(0)
})

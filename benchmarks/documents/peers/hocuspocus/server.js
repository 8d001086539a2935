// Hocuspocus with its SQLite extension, as its documentation sets it up.
// Arguments: the folder of its store, the port; then, if it is to collect before it sends, for how many ms.
// REDIS_PORT: that of the Redis that joins it with others like it, by its Redis extension.
import { join } from 'node:path'
import { Redis } from '@hocuspocus/extension-redis'
import { SQLite } from '@hocuspocus/extension-sqlite'
import { Server } from '@hocuspocus/server'

const [folder, port, flushDelay] = process.argv.slice(2)
const redisPort = process.env.REDIS_PORT

const server = new Server({
  address: '127.0.0.1',
  port: Number(port),
  quiet: true,
  extensions: [
    new SQLite({ database: join(folder, 'hocuspocus.sqlite') }),
    ...(redisPort === undefined ? [] : [new Redis({ host: '127.0.0.1', port: Number(redisPort) })])
  ],
  ...(flushDelay === undefined ? {} : { flushDelay: Number(flushDelay) })
})
await server.listen()

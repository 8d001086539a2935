// The page itself, kept for when the server cannot be reached: it opens, and the text on this
// device goes on. Nothing of the API is ever kept.
const version = '@version'
const shell = ['@shell']
const cacheName = 'passerelle-' + version

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(cacheName)
      .then((cache) => cache.addAll(shell))
      .then(() => self.skipWaiting()),
  )
})

self.addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name !== cacheName).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  )
})

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url)
  if (event.request.method !== 'GET' || url.origin !== location.origin) return
  if (event.request.mode === 'navigate') {
    // A newer page when there is one, the kept one when the server is away.
    event.respondWith(
      fetch(event.request)
        .then((answer) => (answer.ok ? answer : Promise.reject(new Error(String(answer.status)))))
        .catch(async () => (await caches.match('/', { cacheName })) ?? Response.error()),
    )
    return
  }
  if (!shell.includes(url.pathname)) return
  event.respondWith(caches.match(url.pathname, { cacheName }).then((kept) => kept ?? fetch(event.request)))
})

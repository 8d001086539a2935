import { lazy, Suspense } from 'preact/compat'
import { t } from './i18n.js'
import { Home } from './pages/Home.js'
import { JoinByLink } from './pages/Join.js'
import { Mishap } from './pages/Mishap.js'
import { RoomPage } from './pages/RoomPage.js'
import { Connecting } from './pages/Shell.js'
import { route } from './router.js'

/** Who comes for a visit needs none of it. */
const NetworkPage = lazy(() => import('./network/NetworkPage.js').then((module) => module.NetworkPage))

export function App() {
  const current = route.value
  return (
    <>
      <a class="skip-link" href="#main">
        {t('skipToContent')}
      </a>
      <Mishap key={current.page} isPage>
        {current.page === 'home' && <Home />}
        {current.page === 'network' && (
          <Suspense fallback={<Connecting />}>
            <NetworkPage />
          </Suspense>
        )}
        {current.page === 'join' && <JoinByLink key={current.invitation} invitation={current.invitation} />}
        {current.page === 'room' && <RoomPage key={current.room} room={current.room} token={current.token} />}
      </Mishap>
    </>
  )
}

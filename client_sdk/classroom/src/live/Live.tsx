import type { ComponentChildren } from 'preact'
import { FileText, Hand, LogOut, MessageCircle, Mic, MicOff, MonitorUp, MonitorX, Presentation, Settings2, Sprout, UserPlus, Users, Video, VideoOff, Volume2, VolumeX } from 'lucide-preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { fill, t } from '../i18n.js'
import { LanguageSwitch } from '../pages/Shell.js'
import type { Session } from '../session.js'
import { ChatPanel } from './ChatPanel.js'
import { DevicesDialog } from './DevicesDialog.js'
import { InvitePanel } from './InvitePanel.js'
import { Door, Hands } from './Notices.js'
import { NothingKept } from './NothingKept.js'
import { Pause } from './Pause.js'
import { PeoplePanel } from './PeoplePanel.js'
import { QuestionDialog } from './QuestionDialog.js'
import { Divider, keptTextShare } from './Divider.js'
import { Texts } from './Texts.js'
import { Tiles } from './Tiles.js'

type Panel = 'people' | 'chat' | 'invite' | null

export function Live({ session }: { session: Session }) {
  const view = session.view.value
  const offStage = view ? !session.can('subscribe_media') : session.place.role === 'pupil'
  const [panel, setPanel] = useState<Panel>(null)
  const [textShown, setTextShown] = useState(true)
  const [textShare, setTextShare] = useState(keptTextShare)
  const [unread, setUnread] = useState(0)
  const aside = useRef<HTMLElement>(null)
  const roomName = view?.room.name ?? session.place.roomName
  useEffect(() => {
    document.title = `${roomName} – Passerelle`
  }, [roomName])
  useEffect(
    () => session.room.on('chat', (line) => line.participant_id !== session.view.value?.self_id && setUnread((count) => count + 1)),
    [session],
  )
  useEffect(() => {
    session.chatShown = panel === 'chat'
    if (panel === 'chat') setUnread(0)
  }, [panel, view?.chat.length])
  useEffect(() => {
    if (panel) aside.current?.querySelector<HTMLElement>('h2')?.focus({ preventScroll: true })
  }, [panel])
  const close = () => {
    // Back to the button it came from: the keyboard goes on where it was.
    if (panel) document.getElementById(`bar-${panel}`)?.focus()
    setPanel(null)
  }
  const closeByEscape = (event: KeyboardEvent) => {
    // A dialog that was opened from the panel closes first, by itself.
    if (event.key === 'Escape' && !(event.target as Element).closest('dialog')) close()
  }
  const toggle = (next: Panel) => (panel === next ? close() : setPanel(next))
  const withText = textShown || offStage
  const isProjector = session.isProjector.value && !offStage
  useProjectorKeys(session, offStage)
  return (
    <div
      class={`live ${offStage ? 'off-stage' : ''} ${withText ? 'text-shown' : ''} ${panel && !isProjector ? 'panel-shown' : ''} ${isProjector ? 'projector' : ''}`}
      style={{ '--text-share': `${textShare}%` }}
      data-testid="live"
    >
      <header class="live-header">
        <h1>{roomName}</h1>
        <Status session={session} />
        <SoundButton session={session} />
        {session.withoutSound.value && (
          <p class="without-sound" data-testid="is-without-sound" title={t('isWithoutSound')}>
            <VolumeX aria-hidden="true" /> <span class="in-full">{t('isWithoutSound')}</span>
          </p>
        )}
        {!offStage && <ProjectorButton session={session} />}
        {!offStage && <ThriftButton session={session} />}
        {session.can('publish_audio') && <DevicesButton session={session} />}
        <LanguageSwitch />
      </header>
      <main id="main" class="live-main">
        {!offStage && <Tiles session={session} onInvite={() => setPanel('invite')} />}
        {!offStage && withText && !isProjector && <Divider share={textShare} onShare={setTextShare} />}
        {withText && (
          <section class="text-side" aria-label={t('text')}>
            <Texts session={session} />
          </section>
        )}
        {panel && !isProjector && (
          <aside class="panel" aria-label={t(panel)} ref={aside} onKeyDown={closeByEscape}>
            {panel === 'people' && <PeoplePanel session={session} onClose={close} />}
            {panel === 'chat' && <ChatPanel session={session} onClose={close} />}
            {panel === 'invite' && <InvitePanel session={session} onClose={close} />}
          </aside>
        )}
      </main>
      <div class="notices">
        <Pause session={session} />
        <NothingKept session={session} onInvite={() => setPanel('invite')} />
        <Hands session={session} />
        <Door session={session} onOpen={() => setPanel('people')} />
      </div>
      {!isProjector && <Bar
        session={session}
        panel={panel}
        toggle={toggle}
        unread={unread}
        textShown={textShown}
        onText={offStage ? null : () => setTextShown(!textShown)}
      />}
      <QuestionDialog session={session} />
      <p class="visually-hidden" aria-live="polite" data-testid="announcement">
        {session.announcement.value}
      </p>
      <p class={`notice ${session.notice.value ? 'shown' : ''}`} role="status" data-testid="notice">
        {session.notice.value}
      </p>
    </div>
  )
}

function Status({ session }: { session: Session }) {
  const media = session.mediaState.value
  let text = ''
  if (!session.connected.value) text = session.view.value || session.place.wasInside ? t('reconnecting') : t('connecting')
  else if (media === 'failed') text = t('mediaFailed')
  else if (media === 'voice-only') text = t('voiceFallback')
  else if (session.fallback.value === 'unsupported') text = t('voiceFallbackUnsupported')
  else if (session.fallback.value === 'refused') text = t('voiceFallbackRefused')
  else if (media === 'reconnecting') text = t('mediaReconnecting')
  else if (session.polling.value) text = t('overPolling')
  return (
    <p class={`status ${text ? 'shown' : ''}`} role="status" data-testid="status">
      {text}
    </p>
  )
}

/** After a reload a browser may play no sound until it is touched: any touch will do, and a button says so. */
function SoundButton({ session }: { session: Session }) {
  const heldBack = session.silenced.value.length > 0
  useEffect(() => {
    if (!heldBack) return
    const start = () => session.startSounds()
    addEventListener('pointerdown', start)
    addEventListener('keydown', start)
    return () => {
      removeEventListener('pointerdown', start)
      removeEventListener('keydown', start)
    }
  }, [heldBack, session])
  if (!heldBack) return null
  return (
    <button type="button" class="sound-button" data-testid="enable-sound" title={t('soundHeldBack')} onClick={() => session.startSounds()}>
      <Volume2 aria-hidden="true" /> {t('enableSound')}
    </button>
  )
}

/** Alt+P, for a teacher who stands at the board with a small keyboard; Escape ends it. */
function useProjectorKeys(session: Session, offStage: boolean): void {
  useEffect(() => {
    if (offStage) return
    const key = (event: KeyboardEvent) => {
      // By its place: with Alt a Mac types another letter.
      if (event.altKey && !event.ctrlKey && !event.metaKey && event.code === 'KeyP') {
        event.preventDefault()
        setProjector(session, !session.isProjector.value)
      } else if (event.key === 'Escape' && session.isProjector.value && !(event.target as Element).closest('dialog')) setProjector(session, false)
    }
    // A browser takes Escape for itself while a page fills the screen.
    const left = () => !document.fullscreenElement && (session.isProjector.value = false)
    addEventListener('keydown', key)
    document.addEventListener('fullscreenchange', left)
    return () => {
      removeEventListener('keydown', key)
      document.removeEventListener('fullscreenchange', left)
    }
  }, [session, offStage])
}

function setProjector(session: Session, isOn: boolean): void {
  session.isProjector.value = isOn
  session.announcement.value = t(isOn ? 'projectorIsOn' : 'projectorIsOff')
  // The whole screen where the browser gives it; without, the layout is the same.
  if (isOn) document.documentElement.requestFullscreen?.().catch(() => undefined)
  else if (document.fullscreenElement) document.exitFullscreen().catch(() => undefined)
}

function ProjectorButton({ session }: { session: Session }) {
  const isOn = session.isProjector.value
  const label = t(isOn ? 'projectorLeave' : 'projector')
  return (
    <button
      type="button"
      class={isOn ? 'projector-leave' : 'icon-button'}
      aria-pressed={isOn}
      aria-label={label}
      aria-keyshortcuts="Alt+P"
      title={`${label} (Alt+P)`}
      data-testid="projector"
      onClick={() => setProjector(session, !isOn)}
    >
      <Presentation aria-hidden="true" /> {isOn && <span>{t('projectorLeaveShort')}</span>}
    </button>
  )
}

function ThriftButton({ session }: { session: Session }) {
  const { thrift } = session
  const isOn = thrift.isOn.value
  const spared = thrift.sparedMegabytes.value
  const mo = spared ?? thrift.usedMegabytes.value
  const isSpared = spared !== null
  return (
    <button
      type="button"
      class={isOn ? 'thrift-button' : 'icon-button'}
      aria-pressed={isOn}
      title={t('thriftyHelp')}
      data-testid="thrifty"
      onClick={() => thrift.set(!isOn)}
    >
      <Sprout aria-hidden="true" />
      <span class="visually-hidden">{t('thrifty')}</span>
      {isOn && (
        <>
          <span class="in-full" data-testid="thrifty-count">
            {fill(isSpared ? 'thriftySpared' : 'thriftyUsed', { mo })}
          </span>
          <span class="in-short" aria-hidden="true">
            {fill(isSpared && mo > 0 ? 'thriftySparedShort' : 'thriftyUsedShort', { mo })}
          </span>
        </>
      )}
    </button>
  )
}

function DevicesButton({ session }: { session: Session }) {
  const dialog = useRef<HTMLDialogElement>(null)
  return (
    <>
      <button type="button" class="icon-button" aria-label={t('chooseDevices')} title={t('chooseDevices')} data-testid="devices" onClick={() => dialog.current?.showModal()}>
        <Settings2 aria-hidden="true" />
      </button>
      <DevicesDialog session={session} dialog={dialog} />
    </>
  )
}

interface BarProps {
  session: Session
  panel: Panel
  toggle: (panel: Panel) => void
  unread: number
  textShown: boolean
  onText: (() => void) | null
}

function Bar({ session, panel, toggle, unread, textShown, onText }: BarProps) {
  void session.localVersion.value
  const locals = session.media.localTracks
  const microphone = locals.find((track) => track.source === 'microphone')
  const camera = locals.find((track) => track.source === 'camera')
  const screens = locals.filter((track) => track.source === 'screen' || track.source === 'screen_audio')
  const self = session.self.value
  const raised = self !== null && self.hand_raised_at !== null
  const dialog = useRef<HTMLDialogElement>(null)
  const { media, room } = session
  const run = (work: () => Promise<unknown>) => () => void session.attempt(work)
  return (
    <nav class="bar" aria-label="Passerelle">
      {session.can('publish_audio') && !session.withoutSound.value && (
        <BarButton
          test="microphone"
          short={t('microphoneShort')}
          label={microphone && !microphone.muted ? t('mute') : t('unmute')}
          icon={microphone && !microphone.muted ? <Mic /> : <MicOff />}
          off={!microphone || microphone.muted}
          onClick={run(() => (microphone ? media.setMuted(microphone.id, !microphone.muted) : session.useDevice('microphone', '')))}
        />
      )}
      {session.can('publish_video') && (
        <BarButton
          test="camera"
          short={t('camera')}
          label={camera && !camera.muted ? t('cameraOff') : t('cameraOn')}
          icon={camera && !camera.muted ? <Video /> : <VideoOff />}
          off={!camera || camera.muted}
          onClick={run(() => (camera ? media.setMuted(camera.id, !camera.muted) : session.useDevice('camera', '')))}
        />
      )}
      {session.can('publish_screen') && 'getDisplayMedia' in (navigator.mediaDevices ?? {}) && (
        <BarButton
          test="screen"
          short={t('screenShort')}
          label={screens.length ? t('stopScreen') : t('shareScreen')}
          icon={screens.length ? <MonitorX /> : <MonitorUp />}
          pressed={screens.length > 0}
          onClick={run(() => (screens.length ? Promise.all(screens.map((one) => media.unpublish(one.id))) : shareScreen(session)))}
        />
      )}
      {session.can('raise_hand') && (
        <BarButton test="hand" label={raised ? t('lowerHand') : t('raiseHand')} short={t('handShort')} icon={<Hand />} pressed={raised} onClick={run(() => room.setHand(!raised))} />
      )}
      <span class="bar-space" />
      {onText && <BarButton test="toggle-text" label={textShown ? t('hideText') : t('showText')} short={t('text')} icon={<FileText />} pressed={textShown} onClick={onText} />}
      <BarButton test="people" label={t('people')} icon={<Users />} count={session.view.value?.lobby.length ?? 0} pressed={panel === 'people'} onClick={() => toggle('people')} />
      <BarButton test="chat" label={t('chat')} icon={<MessageCircle />} count={panel === 'chat' ? 0 : unread} pressed={panel === 'chat'} onClick={() => toggle('chat')} />
      {session.can('invite') && <BarButton test="invite" label={t('invite')} icon={<UserPlus />} pressed={panel === 'invite'} onClick={() => toggle('invite')} />}
      <BarButton test="leave" label={t('leave')} icon={<LogOut />} danger onClick={() => dialog.current?.showModal()} />
      <dialog ref={dialog} aria-labelledby="leave-title">
        <h2 id="leave-title">{t('leaveQuestion')}</h2>
        <div class="actions">
          <button type="button" class="danger" data-testid="leave-for-good" onClick={() => void session.leave()}>
            {t('leaveForGood')}
          </button>
          <button type="button" class="secondary" onClick={() => dialog.current?.close()}>
            {t('stay')}
          </button>
        </div>
      </dialog>
    </nav>
  )
}

async function shareScreen(session: Session): Promise<void> {
  try {
    const shared = await session.media.shareScreen()
    if (!shared.some(({ source }) => source === 'screen_audio')) session.notify(t('sharedWithoutSound'))
  } catch (error) {
    // Changed one's mind in the browser's own window.
    if (!(error instanceof DOMException && error.name === 'NotAllowedError')) throw error
  }
}

interface BarButtonProps {
  test: string
  label: string
  short?: string
  icon: ComponentChildren
  onClick: () => void
  pressed?: boolean
  off?: boolean
  danger?: boolean
  count?: number
}

function BarButton({ test, label, short, icon, onClick, pressed, off, danger, count = 0 }: BarButtonProps) {
  return (
    <button
      type="button"
      id={`bar-${test}`}
      class={`bar-button ${off ? 'off' : ''} ${danger ? 'danger' : ''}`}
      data-testid={test}
      aria-pressed={pressed}
      aria-label={count > 0 ? `${label} (${count})` : label}
      title={label}
      onClick={onClick}
    >
      <span aria-hidden="true" class="bar-icon">
        {icon}
      </span>
      <span class="bar-label">{short ?? label}</span>
      {/* Drawn by the style sheet: the number is in the name already. */}
      {count > 0 && <span class="count" aria-hidden="true" data-count={count} />}
    </button>
  )
}

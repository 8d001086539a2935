import { Mic, Video, Volume2 } from 'lucide-preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { rememberedDevices } from '../device_memory.js'
import { canChooseSpeaker, listDevices, openDevices, playTestSound, problemText, watchLevel, type DeviceChoice, type DeviceList, type DeviceProblem } from '../devices.js'
import { t } from '../i18n.js'
import { SelfVideo } from '../live/SelfVideo.js'
import type { Session } from '../session.js'
import { Shell } from './Shell.js'

/** A camera that is not there after this waits, mostly, for an answer to the browser's question, which is easily missed. */
const asksMs = 1_500

/** Before the room: what the others will see and hear. The session gets the tracks. */
export function DeviceCheck({ session, onReady }: { session: Session; onReady: (choice: DeviceChoice) => void }) {
  const before = useMemo(rememberedDevices, [])
  const [cameraId, setCameraId] = useState(before.cameraId)
  const [microphoneId, setMicrophoneId] = useState(before.microphoneId)
  const [speakerId, setSpeakerId] = useState(before.speakerId ?? '')
  const [withoutSound, setWithoutSound] = useState(false)
  const [detailedSound, setDetailedSound] = useState(before.detailedSound ?? false)
  const [, redraw] = useState(0)
  const [problem, setProblem] = useState<DeviceProblem | null>(null)
  const [opening, setOpening] = useState(true)
  const [isSlow, setSlow] = useState(false)
  const [attempt, setAttempt] = useState(0)
  const [entering, setEntering] = useState(false)
  const [devices, setDevices] = useState<DeviceList>({ cameras: [], microphones: [], speakers: [] })
  useEffect(() => {
    // Pressed before the camera was ready: in as soon as it is, with a picture.
    if (entering && !opening) onReady({ cameraId, microphoneId, speakerId, withoutSound, detailedSound })
  }, [entering, opening])
  useEffect(() => {
    let wanted = true
    setOpening(true)
    void openDevices(cameraId, withoutSound ? null : microphoneId, detailedSound).then(async (opened) => {
      if (!wanted) {
        opened.camera?.stop()
        opened.microphone?.stop()
        return
      }
      session.camera?.stop()
      session.microphone?.stop()
      session.camera = opened.camera
      session.microphone = opened.microphone
      setProblem(opened.problem)
      setOpening(false)
      setDevices(await listDevices())
      redraw((count) => count + 1)
    })
    return () => {
      wanted = false
    }
  }, [session, cameraId, microphoneId, withoutSound, detailedSound, attempt])
  useEffect(() => {
    setSlow(false)
    if (!opening) return
    const timer = setTimeout(() => setSlow(true), asksMs)
    return () => clearTimeout(timer)
  }, [opening])
  return (
    <Shell title={t('checkTitle')}>
      <section class="card check-card" data-testid="device-check">
        <div class="check-picture">
          {session.camera ? (
            <SelfVideo track={session.camera} />
          ) : (
            <p class="no-picture" role="status">
              {opening ? t('startingCamera') : t('noCamera')}
              {opening && isSlow && <small>{t('cameraAsks')}</small>}
            </p>
          )}
        </div>
        <div class="check-side">
          <h1>{t('checkTitle')}</h1>
          <p class="check-where">
            <strong>{session.place.roomName}</strong>
            {session.place.name && (
              <span>
                {t('youAre')} {session.place.name}
              </span>
            )}
          </p>
          {problem && (
            <div class="problem" role="alert">
              <p>{t(problemText[problem])}</p>
              {problem !== 'insecure' && (
                <button type="button" class="secondary" onClick={() => setAttempt(attempt + 1)}>
                  {t('tryAgain')}
                </button>
              )}
            </div>
          )}
          <Choice icon={<Video aria-hidden="true" />} label={t('camera')} none={t('noCamera')} devices={devices.cameras} value={cameraId} onChange={setCameraId} />
          {!withoutSound && (
            <>
              <Choice icon={<Mic aria-hidden="true" />} label={t('microphone')} none={t('noMicrophone')} devices={devices.microphones} value={microphoneId} onChange={setMicrophoneId} />
              <MicrophoneLevel track={session.microphone} />
              <DetailedSound isOn={detailedSound} onChange={setDetailedSound} />
            </>
          )}
          {!withoutSound && canChooseSpeaker && devices.speakers.length > 1 && (
            <Choice icon={<Volume2 aria-hidden="true" />} label={t('speaker')} devices={devices.speakers} value={speakerId} onChange={(id) => setSpeakerId(id ?? '')} />
          )}
          {!withoutSound && <TestSound speakerId={speakerId} />}
          <WithoutSound isOn={withoutSound} onChange={setWithoutSound} />
        </div>
        <button type="button" class="primary check-enter" data-testid="enter-session" aria-disabled={entering} onClick={() => setEntering(true)}>
          {entering ? t('startingCamera') : t('enterSession')}
        </button>
      </section>
    </Shell>
  )
}

/** Two devices in one place that hear each other howl: one of them gives the sound, the others do not. */
export function WithoutSound({ isOn, onChange }: { isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" data-testid="without-sound" checked={isOn} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        {t('withoutSound')}
        <small>{t('withoutSoundHelp')}</small>
      </span>
    </label>
  )
}

/** For who must hear how a sound is made, not only what is said. */
export function DetailedSound({ isOn, onChange }: { isOn: boolean; onChange: (isOn: boolean) => void }) {
  return (
    <label class="check">
      <input type="checkbox" data-testid="detailed-sound" checked={isOn} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>
        {t('detailedSound')}
        <small>{t('detailedSoundHelp')}</small>
      </span>
    </label>
  )
}

interface ChoiceProps {
  icon: preact.JSX.Element
  label: string
  /** The words for doing without; none: one cannot. */
  none?: string
  devices: MediaDeviceInfo[]
  value: string | null
  onChange: (value: string | null) => void
}

export function Choice({ icon, label, none, devices, value, onChange }: ChoiceProps) {
  return (
    <label class="choice">
      <span>
        {icon} {label}
      </span>
      <select value={value ?? 'none'} onChange={(event) => onChange(event.currentTarget.value === 'none' ? null : event.currentTarget.value)}>
        {!devices.some((device) => device.deviceId === value) && value !== null && <option value={value}>{label}</option>}
        {devices.map((device, index) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || `${label} ${index + 1}`}
          </option>
        ))}
        {none && <option value="none">{none}</option>}
      </select>
    </label>
  )
}

export function MicrophoneLevel({ track }: { track: MediaStreamTrack | null }) {
  const meter = useRef<HTMLMeterElement>(null)
  useEffect(() => {
    if (!track) return
    return watchLevel(track, (value) => {
      if (meter.current) meter.current.value = value
    })
  }, [track])
  if (!track) return null
  return (
    <label class="level">
      <span>{t('microphoneLevel')}</span>
      <meter ref={meter} min={0} max={1} value={0} data-testid="level" />
    </label>
  )
}

function TestSound({ speakerId }: { speakerId: string }) {
  const [playing, setPlaying] = useState(false)
  return (
    <button
      type="button"
      class="secondary"
      data-testid="test-sound"
      aria-disabled={playing}
      onClick={() => {
        if (playing) return
        setPlaying(true)
        void playTestSound(speakerId).finally(() => setPlaying(false))
      }}
    >
      <Volume2 aria-hidden="true" /> {playing ? t('soundPlaying') : t('testSound')}
    </button>
  )
}

import { Camera, Mic, Volume2 } from 'lucide-preact'
import { useEffect, useState } from 'preact/hooks'
import { openDevices, playTestSound, problemTextHere, type Devices } from '../devices.js'
import { t } from '../i18n.js'
import { SelfVideo } from '../live/SelfVideo.js'
import { MicrophoneLevel } from '../pages/DeviceCheck.js'

/** Camera, microphone and loudspeaker of this machine: opened while the section is there. */
export function OwnDevices() {
  const [devices, setDevices] = useState<Devices | null>(null)
  const [attempt, setAttempt] = useState(0)
  useEffect(() => {
    let wanted = true
    let opened: Devices | null = null
    const stop = () => {
      opened?.camera?.stop()
      opened?.microphone?.stop()
    }
    void openDevices('', '').then((found) => {
      opened = found
      if (wanted) setDevices(found)
      else stop()
    })
    return () => {
      wanted = false
      stop()
    }
  }, [attempt])
  const missing = (what: MediaStreamTrack | null | undefined) => devices !== null && !what
  return (
    <section class="card own-devices no-print" aria-labelledby="own-devices" data-testid="own-devices">
      <h2 id="own-devices">{t('checkTitle')}</h2>
      {devices?.problem && (
        <div class="problem" role="alert">
          <p>{t(problemTextHere[devices.problem])}</p>
          {devices.problem !== 'insecure' && (
            <button type="button" class="secondary" onClick={() => setAttempt(attempt + 1)}>
              {t('tryAgain')}
            </button>
          )}
        </div>
      )}
      <h3>
        <Camera aria-hidden="true" /> {t('camera')}
      </h3>
      <div class="check-picture">
        {devices?.camera ? <SelfVideo track={devices.camera} /> : <p class="no-picture">{devices ? t('noCamera') : t('startingCamera')}</p>}
      </div>
      <h3>
        <Mic aria-hidden="true" /> {t('microphone')}
      </h3>
      {devices?.microphone && <p>{t('networkSpeak')}</p>}
      <MicrophoneLevel track={devices?.microphone ?? null} />
      {missing(devices?.microphone) && <p>{t('noMicrophone')}</p>}
      <SoundQuestion />
    </section>
  )
}

type Heard = 'not-asked' | 'playing' | 'asked' | 'yes' | 'no'

function SoundQuestion() {
  const [heard, setHeard] = useState<Heard>('not-asked')
  const play = () => {
    if (heard === 'playing') return
    setHeard('playing')
    void playTestSound('').finally(() => setHeard('asked'))
  }
  return (
    <>
      <h3>
        <Volume2 aria-hidden="true" /> {t('speaker')}
      </h3>
      <button type="button" class="secondary" data-testid="check-sound" aria-disabled={heard === 'playing'} onClick={play}>
        {heard === 'playing' ? t('soundPlaying') : t('testSound')}
      </button>
      <div role="status" class="heard" data-testid="heard">
        {heard === 'asked' && (
          <>
            <span>{t('soundHeard')}</span>
            <button type="button" class="small" data-testid="heard-yes" onClick={() => setHeard('yes')}>
              {t('yes')}
            </button>
            <button type="button" class="small" data-testid="heard-no" onClick={() => setHeard('no')}>
              {t('no')}
            </button>
          </>
        )}
        {heard === 'yes' && t('soundGood')}
        {heard === 'no' && t('soundBad')}
      </div>
    </>
  )
}

import { Mic, Video, Volume2 } from 'lucide-preact'
import type { RefObject } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { canChooseSpeaker, listDevices, type DeviceList } from '../devices.js'
import { t } from '../i18n.js'
import { Choice, DetailedSound, WithoutSound } from '../pages/DeviceCheck.js'
import type { Session } from '../session.js'

/** Another camera, microphone or loudspeaker, in the middle of the session. */
export function DevicesDialog({ session, dialog }: { session: Session; dialog: RefObject<HTMLDialogElement> }) {
  const [devices, setDevices] = useState<DeviceList>({ cameras: [], microphones: [], speakers: [] })
  void session.localVersion.value // the tracks are the session's own: follow their changes
  useEffect(() => {
    const refresh = () => void listDevices().then(setDevices)
    refresh()
    navigator.mediaDevices?.addEventListener('devicechange', refresh)
    return () => navigator.mediaDevices?.removeEventListener('devicechange', refresh)
  }, [])
  const used = (track: MediaStreamTrack | null) => track?.getSettings().deviceId ?? null
  return (
    <dialog ref={dialog} aria-labelledby="devices-title">
      <h2 id="devices-title">{t('chooseDevices')}</h2>
      <Choice icon={<Video aria-hidden="true" />} label={t('camera')} none={t('noCamera')} devices={devices.cameras} value={used(session.camera)} onChange={(id) => void session.useDevice('camera', id)} />
      {!session.withoutSound.value && <Choice icon={<Mic aria-hidden="true" />} label={t('microphone')} none={t('noMicrophone')} devices={devices.microphones} value={used(session.microphone)} onChange={(id) => void session.useDevice('microphone', id)} />}
      {!session.withoutSound.value && <DetailedSound isOn={session.detailedSound.value} onChange={(isOn) => void session.setDetailedSound(isOn)} />}
      {!session.withoutSound.value && canChooseSpeaker && devices.speakers.length > 1 && (
        <Choice icon={<Volume2 aria-hidden="true" />} label={t('speaker')} devices={devices.speakers} value={session.speaker.value} onChange={(id) => session.useSpeaker(id ?? '')} />
      )}
      <WithoutSound isOn={session.withoutSound.value} onChange={(isOn) => void session.setWithoutSound(isOn)} />
      <form method="dialog" class="actions">
        <button type="submit" class="secondary">
          {t('close')}
        </button>
      </form>
    </dialog>
  )
}

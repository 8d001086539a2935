/** Cameras, microphones and loudspeakers: asked for kindly, refused kindly. */

import type { Key } from './i18n.js'

export type DeviceProblem = 'refused' | 'missing' | 'busy' | 'insecure'

export const problemText: Readonly<Record<DeviceProblem, Key>> = {
  refused: 'cameraRefused',
  missing: 'cameraMissing',
  busy: 'cameraBusy',
  insecure: 'cameraInsecure',
}

/** The same to who is in the room already, or enters none. */
export const problemTextHere: Readonly<Record<DeviceProblem, Key>> = { ...problemText, refused: 'deviceRefusedHere', missing: 'deviceMissingHere' }

/** Which devices a person chose: an id, '' for any, null for none. */
export interface DeviceChoice {
  cameraId: string | null
  microphoneId: string | null
  /** Of the loudspeaker; '' is the usual one. */
  speakerId?: string
  /** Another device in the same place gives the sound: nothing is heard from this one, and nothing said into it. */
  withoutSound?: boolean
  /** The microphone's sound goes out as it is, unfiltered and in full. */
  detailedSound?: boolean
}

export interface Devices {
  camera: MediaStreamTrack | null
  microphone: MediaStreamTrack | null
  problem: DeviceProblem | null
}

const picture: MediaTrackConstraints = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 25, max: 30 } }
const sound: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true }
/** What the filters for conversations take for noise is what a speech therapist listens for. */
const soundInDetail: MediaTrackConstraints = { echoCancellation: false, noiseSuppression: false, autoGainControl: false }

/** Whatever can be had of what is wanted: both, one, or none and why. Device ids choose; '' is any, null none. */
export async function openDevices(cameraId: string | null, microphoneId: string | null, inDetail = false): Promise<Devices> {
  if (!navigator.mediaDevices?.getUserMedia) return { camera: null, microphone: null, problem: 'insecure' }
  const video = cameraId === null ? false : { ...picture, ...(cameraId ? { deviceId: { exact: cameraId } } : {}) }
  const audio = microphoneId === null ? false : { ...(inDetail ? soundInDetail : sound), ...(microphoneId ? { deviceId: { exact: microphoneId } } : {}) }
  if (!video && !audio) return { camera: null, microphone: null, problem: null }
  try {
    return tracksOf(await navigator.mediaDevices.getUserMedia({ video, audio }))
  } catch (error) {
    const problem = problemOf(error)
    // What was chosen is not plugged in today: whatever is.
    if (isNotThere(error) && (cameraId || microphoneId)) return openDevices(cameraId && '', microphoneId && '', inDetail)
    if (problem === 'refused' || !video || !audio) return { camera: null, microphone: null, problem }
  }
  // One of the two is missing or busy: take the other.
  const [first, second] = await Promise.all([attempt({ video }), attempt({ audio })])
  return {
    camera: first.camera,
    microphone: second.microphone,
    problem: first.camera ?? second.microphone ? null : (first.problem ?? second.problem),
  }
}

async function attempt(constraints: MediaStreamConstraints): Promise<Devices> {
  try {
    return tracksOf(await navigator.mediaDevices.getUserMedia(constraints))
  } catch (error) {
    return { camera: null, microphone: null, problem: problemOf(error) }
  }
}

function tracksOf(stream: MediaStream): Devices {
  return { camera: stream.getVideoTracks()[0] ?? null, microphone: stream.getAudioTracks()[0] ?? null, problem: null }
}

function isNotThere(error: unknown): boolean {
  return error instanceof Error && error.name === 'OverconstrainedError'
}

function problemOf(error: unknown): DeviceProblem {
  const name = error instanceof DOMException ? error.name : ''
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'refused'
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy'
  return 'missing'
}

export interface DeviceList {
  cameras: MediaDeviceInfo[]
  microphones: MediaDeviceInfo[]
  speakers: MediaDeviceInfo[]
}

export async function listDevices(): Promise<DeviceList> {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? []
  const of = (kind: MediaDeviceKind) => all.filter((device) => device.kind === kind)
  return { cameras: of('videoinput'), microphones: of('audioinput'), speakers: of('audiooutput') }
}

/** Calls back with the loudness of a track, 0 to 1, some fifteen times a second. Returns the way to stop. */
export function watchLevel(track: MediaStreamTrack, level: (value: number) => void): () => void {
  const context = new AudioContext()
  const analyser = context.createAnalyser()
  analyser.fftSize = 512
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser)
  const samples = new Float32Array(analyser.fftSize)
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples)
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length
    level(Math.min(1, Math.sqrt(power) * 4))
  }, 66)
  return () => {
    clearInterval(timer)
    void context.close()
  }
}

/** Whether this browser lets a page choose the loudspeaker. */
export const canChooseSpeaker = typeof HTMLMediaElement !== 'undefined' && 'setSinkId' in HTMLMediaElement.prototype

/** Send an element's sound to that loudspeaker; one that was unplugged meanwhile leaves the usual one. */
export async function routeSound(element: HTMLMediaElement, speakerId: string): Promise<void> {
  if (!canChooseSpeaker || element.sinkId === speakerId) return
  await element.setSinkId(speakerId).catch((error: unknown) => console.warn('loudspeaker:', error))
}

const testNotesHz = [523.25, 659.25, 783.99]
const noteS = 0.25

/** Three rising notes on that loudspeaker; resolves when they are over. */
export async function playTestSound(speakerId: string): Promise<void> {
  const context = new AudioContext()
  const outlet = context.createMediaStreamDestination()
  const loudspeaker = new Audio()
  loudspeaker.srcObject = outlet.stream
  await routeSound(loudspeaker, speakerId)
  await loudspeaker.play()
  for (const [index, frequency] of testNotesHz.entries()) {
    const note = context.createOscillator()
    const volume = context.createGain()
    const start = context.currentTime + 0.05 + index * noteS
    note.frequency.value = frequency
    volume.gain.setValueAtTime(0.0001, start)
    volume.gain.exponentialRampToValueAtTime(0.25, start + 0.03)
    volume.gain.exponentialRampToValueAtTime(0.0001, start + noteS - 0.01)
    note.connect(volume).connect(outlet)
    note.start(start)
    note.stop(start + noteS)
  }
  await new Promise((resolve) => setTimeout(resolve, testNotesHz.length * noteS * 1_000 + 200))
  loudspeaker.srcObject = null
  await context.close()
}

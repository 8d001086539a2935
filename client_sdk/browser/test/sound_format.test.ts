import { expect, it } from 'vitest'
import { DETAILED_SOUND, SCREEN_SOUND, linesInStereo, withSoundFormats } from '../src/sound_format.js'

const head = 'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n'
const sound = (mid: string, ...format: string[]) =>
  ['m=audio 9 UDP/TLS/RTP/SAVPF 111 9', `a=mid:${mid}`, 'a=rtpmap:111 opus/48000/2', ...format, 'a=rtpmap:9 G722/8000', ''].join('\r\n')
const detailed = new Map([['0', DETAILED_SOUND]])

it('asks for sound in full on the named lines alone, and keeps what else was said', () => {
  const sdp = head + sound('0', 'a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1') + sound('1', 'a=fmtp:111 usedtx=1')
  expect(withSoundFormats(sdp, detailed)).toBe(
    head + sound('0', 'a=fmtp:111 minptime=10;useinbandfec=1;usedtx=0;maxaveragebitrate=96000') + sound('1', 'a=fmtp:111 usedtx=1'),
  )
})

it('says so where nothing was said, once however often it is done', () => {
  const once = withSoundFormats(head + sound('0'), detailed)
  expect(once).toBe(head + sound('0', 'a=fmtp:111 usedtx=0;maxaveragebitrate=96000'))
  expect(withSoundFormats(once, detailed)).toBe(once)
})

it('leaves pictures and other codecs alone', () => {
  const sdp = head + 'm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=rtpmap:96 VP8/90000\r\nm=audio 9 UDP/TLS/RTP/SAVPF 9\r\na=mid:1\r\na=rtpmap:9 G722/8000\r\n'
  expect(withSoundFormats(sdp, new Map([...detailed, ['1', DETAILED_SOUND]]))).toBe(sdp)
})

it('asks for the sound of a screen in two channels beside a voice, and knows what comes so', () => {
  const sdp = head + sound('0', 'a=fmtp:111 usedtx=1') + sound('1', 'a=fmtp:111 usedtx=1;stereo=0')
  expect(withSoundFormats(sdp, new Map([['1', SCREEN_SOUND]]))).toBe(
    head + sound('0', 'a=fmtp:111 usedtx=1') + sound('1', 'a=fmtp:111 usedtx=0;stereo=1;maxaveragebitrate=128000'),
  )
  expect(linesInStereo(head + sound('0', 'a=fmtp:111 usedtx=1') + sound('1', 'a=fmtp:111 usedtx=1;sprop-stereo=1'))).toEqual(['1'])
})

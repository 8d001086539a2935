/** Sound in full: what a speech therapist listens for, or music, is what the coding for conversations leaves out. */

/** Opus is transparent for one voice in full band from about here on (RFC 6716 section 2.1.1 names 48 to 64 kbit/s for
 * music in mono); a browser's own choice is 32. */
export const DETAILED_SOUND_BPS = 96_000

/** The other side's description, as one that wants our sound on these media lines in full: a sender goes by what its
 * receiver says (RFC 7587 section 6.1), and every receiver of ours plays what comes. No pauses either (DTX): what is faint
 * would be taken for silence. */
export function withDetailedSound(sdp: string, mids: ReadonlySet<string>): string {
  return sdp
    .split(/^(?=m=)/m)
    .map((section) => {
      const mid = /^a=mid:(\S+)/m.exec(section)?.[1]
      const opus = /^a=rtpmap:(\d+) opus\/48000/im.exec(section)?.[1]
      return !section.startsWith('m=audio') || mid === undefined || opus === undefined || !mids.has(mid) ? section : detailed(section, opus)
    })
    .join('')
}

function detailed(section: string, payloadType: string): string {
  const format = new RegExp(`^a=fmtp:${payloadType} (.*?)(\r?)$`, 'm')
  const wanted = ['usedtx=0', `maxaveragebitrate=${DETAILED_SOUND_BPS}`]
  if (!format.test(section)) return section.replace(/^(a=rtpmap:\d+ opus.*?)(\r?\n)/im, `$1$2a=fmtp:${payloadType} ${wanted.join(';')}$2`)
  return section.replace(format, (_line, parameters: string, end: string) => {
    const others = parameters.split(';').filter((each) => !/^\s*(usedtx|maxaveragebitrate)=/.test(each))
    return `a=fmtp:${payloadType} ${[...others, ...wanted].join(';')}${end}`
  })
}

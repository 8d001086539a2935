/** How sound is coded where the coding for conversations leaves out what matters: what a speech therapist listens for,
 * music, a film. A sender goes by what its receiver says of its Opus (RFC 7587 section 6.1), so we let the other side's
 * description say what our sound needs; every receiver of ours plays what comes. */

/** Parameters of Opus (RFC 7587 section 6.1) by name. */
export type SoundFormat = Readonly<Record<string, number>>

/** Opus is transparent for one voice in full band from about 64 kbit/s on (RFC 6716 section 2.1.1); a browser's own choice
 * is 32. No pauses either (DTX): what is faint would be taken for silence. */
export const DETAILED_SOUND: SoundFormat = { usedtx: 0, maxaveragebitrate: 96_000 }
/** Two channels, coded as music (browsers take `stereo` for that, too); Opus' fullband stereo music is given as 64 to 128. */
export const SCREEN_SOUND: SoundFormat = { usedtx: 0, stereo: 1, maxaveragebitrate: 128_000 }
/** What we say of a sound that comes in two channels: without it a browser plays their sum. */
export const IN_STEREO: SoundFormat = { stereo: 1 }

/** The description with these formats for the Opus of these media lines (by mid); all else stays as it is. */
export function withSoundFormats(sdp: string, formats: ReadonlyMap<string, SoundFormat>): string {
  if (formats.size === 0) return sdp
  return sdp
    .split(/^(?=m=)/m)
    .map((section) => {
      const format = formats.get(/^a=mid:(\S+)/m.exec(section)?.[1] ?? '')
      const opus = /^a=rtpmap:(\d+) opus\/48000/im.exec(section)?.[1]
      return !section.startsWith('m=audio') || format === undefined || opus === undefined ? section : formatted(section, opus, format)
    })
    .join('')
}

/** The lines whose sound comes in two channels, as their sender says (RFC 7587 section 6.1, `sprop-stereo`). */
export function linesInStereo(sdp: string): string[] {
  return sdp.split(/^(?=m=)/m).flatMap((section) => {
    const mid = /^a=mid:(\S+)/m.exec(section)?.[1]
    return section.startsWith('m=audio') && /^a=fmtp:.*\bsprop-stereo=1/m.test(section) && mid !== undefined ? [mid] : []
  })
}

function formatted(section: string, payloadType: string, format: SoundFormat): string {
  const line = new RegExp(`^a=fmtp:${payloadType} (.*?)(\r?)$`, 'm')
  const wanted = Object.entries(format).map(([name, value]) => `${name}=${value}`)
  if (!line.test(section)) return section.replace(/^(a=rtpmap:\d+ opus.*?)(\r?\n)/im, `$1$2a=fmtp:${payloadType} ${wanted.join(';')}$2`)
  return section.replace(line, (_line, parameters: string, end: string) => {
    const others = parameters.split(';').filter((each) => !((each.trim().split('=')[0] ?? '') in format))
    return `a=fmtp:${payloadType} ${[...others, ...wanted].join(';')}${end}`
  })
}

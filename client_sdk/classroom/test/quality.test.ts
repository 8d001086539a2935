import type { Track } from '@passerelle/client'
import { expect, test } from 'vitest'
import { byTile } from '../src/live/quality.js'

const track = (id: string, participant_id: string, source: Track['source']): Track => ({
  id,
  participant_id,
  source,
  session_id: 's',
  kind: source === 'camera' || source === 'screen' ? 'video' : 'audio',
  muted: false,
})

test('a tile is as good as the worse of its picture and its sound; a screen stands for itself', () => {
  const tracks = [track('c', 'class', 'camera'), track('m', 'class', 'microphone'), track('s', 'class', 'screen'), track('x', 'museum', 'camera')]
  const found = byTile(tracks, new Map([['c', 'fair'], ['m', 'poor'], ['s', 'good']] as const))
  expect([...found]).toEqual([['class', 'poor'], ['s', 'good']])
})

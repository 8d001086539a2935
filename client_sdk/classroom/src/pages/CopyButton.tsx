import { Check } from 'lucide-preact'
import { useState } from 'preact/hooks'
import { t } from '../i18n.js'

/** Says that it has copied, for a moment. */
export function CopyButton({ text, label, test }: { text: string; label: string; test: string }) {
  const [done, setDone] = useState(false)
  const copy = async () => {
    setDone(await copyText(text))
    setTimeout(() => setDone(false), 2_000)
  }
  return (
    <button type="button" class="small" data-testid={test} data-text={text} onClick={() => void copy()}>
      {done && <Check aria-hidden="true" />} <span aria-live="polite">{done ? t('copied') : label}</span>
    </button>
  )
}

/** Whether it is in the clipboard now. Over plain http there is no clipboard to write to, only a selection to copy. */
async function copyText(text: string): Promise<boolean> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false)
  const field = document.createElement('textarea')
  field.value = text
  document.body.append(field)
  field.select()
  const copied = document.execCommand('copy')
  field.remove()
  return copied
}

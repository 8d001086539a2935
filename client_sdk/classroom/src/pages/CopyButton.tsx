import { Check } from 'lucide-preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { t } from '../i18n.js'

/** Says that it has copied, for a moment; where the browser does not copy, shows what is to be copied by hand. */
export function CopyButton({ text, label, test }: { text: string; label: string; test: string }) {
  const [outcome, setOutcome] = useState<'copied' | 'refused' | null>(null)
  const copy = async () => {
    const isCopied = await copyText(text)
    setOutcome(isCopied ? 'copied' : 'refused')
    if (isCopied) setTimeout(() => setOutcome(null), 2_000)
  }
  return (
    <>
      <button type="button" class="small" data-testid={test} data-text={text} onClick={() => void copy()}>
        {outcome === 'copied' && <Check aria-hidden="true" />} <span aria-live="polite">{outcome === 'copied' ? t('copied') : label}</span>
      </button>
      {outcome === 'refused' && <ToCopy text={text} />}
    </>
  )
}

/** Marked already: Ctrl+C, or a long press, is all that is left to do. */
function ToCopy({ text }: { text: string }) {
  const field = useRef<HTMLTextAreaElement>(null)
  useEffect(() => field.current?.select(), [])
  return (
    <label class="to-copy">
      {t('copyByHand')}
      <textarea ref={field} readOnly rows={3} value={text} data-testid="to-copy" />
    </label>
  )
}

/** Whether it is in the clipboard now. Over plain http, and where writing to it is refused, there is a selection to copy. */
async function copyText(text: string): Promise<boolean> {
  if (navigator.clipboard && (await navigator.clipboard.writeText(text).then(() => true, () => false))) return true
  const field = document.createElement('textarea')
  field.value = text
  document.body.append(field)
  field.select()
  const copied = document.execCommand('copy')
  field.remove()
  return copied
}

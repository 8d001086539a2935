import { useEffect, useRef } from 'preact/hooks'
import { t } from '../i18n.js'
import type { Session } from '../session.js'

/** A yes-or-no before what cannot be taken back. */
export function QuestionDialog({ session }: { session: Session }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const question = session.question.value
  useEffect(() => {
    if (question) dialog.current?.showModal()
    else dialog.current?.close()
  }, [question])
  return (
    <dialog ref={dialog} aria-labelledby="question" onClose={() => question?.answer(false)}>
      <h2 id="question">{question?.text}</h2>
      <div class="actions">
        <button type="button" class="danger" data-testid="confirm-yes" onClick={() => question?.answer(true)}>
          {question?.yes}
        </button>
        <button type="button" class="secondary" data-testid="confirm-no" onClick={() => question?.answer(false)}>
          {t('cancel')}
        </button>
      </div>
    </dialog>
  )
}

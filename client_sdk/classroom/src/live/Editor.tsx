import type { SharedDocument } from '@passerelle/client'
import { Editor as TiptapEditor } from '@tiptap/core'
import Collaboration from '@tiptap/extension-collaboration'
import CollaborationCaret from '@tiptap/extension-collaboration-caret'
import StarterKit from '@tiptap/starter-kit'
import { Bold, Check, CloudOff, Heading1, Heading2, Italic, Link2, List, ListOrdered, Loader, Lock, Redo2, Undo2 } from 'lucide-preact'
import type { ComponentChildren } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { t } from '../i18n.js'
import type { Session } from '../session.js'
import { colourOf } from './colours.js'

const documentName = 'texte'

/** The shared text: any Yjs editor could open the same document. */
export function Editor({ session }: { session: Session }) {
  const shared = useMemo(() => session.room.document(documentName), [session])
  const element = useRef<HTMLDivElement>(null)
  const [editor, setEditor] = useState<TiptapEditor | null>(null)
  const [, redraw] = useState(0)
  useEffect(() => {
    const made = new TiptapEditor({
      element: element.current!,
      extensions: [
        StarterKit.configure({ undoRedo: false, link: { openOnClick: false, protocols: ['http', 'https', 'mailto'] } }),
        Collaboration.configure({ document: shared.doc, field: 'content' }),
        CollaborationCaret.configure({
          provider: shared,
          user: { name: session.place.name, color: colourOf(session.place.participantId) },
          render: renderCaret,
        }),
      ],
      editable: false,
      editorProps: {
        attributes: {
          role: 'textbox',
          'aria-multiline': 'true',
          'aria-label': t('editorLabel'),
          lang: 'fr-CA',
          spellcheck: 'true',
          'data-testid': 'editor',
        },
      },
    })
    setEditor(made)
    made.on('transaction', () => redraw((count) => count + 1))
    return () => made.destroy()
  }, [shared, session])
  useEffect(() => {
    if (!editor) return
    const follow = () => {
      const name = session.self.value?.name ?? session.place.name
      editor.commands.updateUser({ name, color: colourOf(session.view.value?.self_id ?? session.place.participantId) })
    }
    follow()
    return session.room.on('view', follow)
  }, [editor, session])
  useEffect(() => {
    if (!editor) return
    const follow = () => editor.setEditable(mayWrite(shared))
    follow()
    const off = [shared.on('access', follow), shared.on('synced', follow), shared.on('state', follow)]
    return () => off.forEach((stop) => stop())
  }, [editor, shared])
  return (
    <div class="editor">
      <div class="editor-top">
        {editor && <Toolbar editor={editor} disabled={!mayWrite(shared)} />}
        <SaveMark shared={shared} />
      </div>
      <div class="paper" ref={element} onClick={() => editor?.isEditable && !editor.isFocused && editor.commands.focus()} />
    </div>
  )
}

/** Offline one writes on: what was kept of the right the server gave last. */
function mayWrite(shared: SharedDocument): boolean {
  return shared.canWrite && shared.state !== 'refused'
}

function SaveMark({ shared }: { shared: SharedDocument }) {
  const [state, setState] = useState(shared.state)
  const [count, setCount] = useState(shared.unsavedCount)
  const [canWrite, setCanWrite] = useState(shared.canWrite)
  useEffect(() => {
    setState(shared.state)
    const off = [
      shared.on('state', (next, unsaved) => {
        setState(next)
        setCount(unsaved)
      }),
      shared.on('access', setCanWrite),
    ]
    return () => off.forEach((stop) => stop())
  }, [shared])
  const marks = {
    saved: [<Check aria-hidden="true" />, t('saved')],
    unsaved: [<Loader aria-hidden="true" />, count > 0 ? `${t('unsaved')} (${count})` : t('unsaved')],
    offline: [<CloudOff aria-hidden="true" />, t('offline')],
    loading: [<Loader aria-hidden="true" />, t('loadingText')],
    refused: [<Lock aria-hidden="true" />, t('refusedText')],
  } as const
  const [icon, text] = marks[state]
  return (
    <p class={`save-mark ${state}`} role="status" data-testid="save-state" data-state={state}>
      {icon} <span>{text}</span>
      {!canWrite && state !== 'loading' && state !== 'refused' && (
        <span class="read-only">
          <Lock aria-hidden="true" /> {t('readOnly')}
        </span>
      )}
    </p>
  )
}

function Toolbar({ editor, disabled }: { editor: TiptapEditor; disabled: boolean }) {
  const dialog = useRef<HTMLDialogElement>(null)
  const [address, setAddress] = useState('')
  const run = (command: () => boolean) => () => !disabled && command()
  const chain = () => editor.chain().focus()
  const setLink = () => {
    const href = /^(https?:|mailto:)/i.test(address) ? address : `https://${address}`
    if (address) chain().extendMarkRange('link').setLink({ href }).run()
    else chain().unsetLink().run()
  }
  return (
    <div class="toolbar" role="toolbar" aria-label={t('formatting')} aria-disabled={disabled}>
      <Tool label={t('heading')} on={editor.isActive('heading', { level: 1 })} disabled={disabled} press={run(() => chain().toggleHeading({ level: 1 }).run())} icon={<Heading1 />} />
      <Tool label={t('subheading')} on={editor.isActive('heading', { level: 2 })} disabled={disabled} press={run(() => chain().toggleHeading({ level: 2 }).run())} icon={<Heading2 />} />
      <Tool label={t('bold')} on={editor.isActive('bold')} disabled={disabled} press={run(() => chain().toggleBold().run())} icon={<Bold />} />
      <Tool label={t('italic')} on={editor.isActive('italic')} disabled={disabled} press={run(() => chain().toggleItalic().run())} icon={<Italic />} />
      <Tool label={t('bulletList')} on={editor.isActive('bulletList')} disabled={disabled} press={run(() => chain().toggleBulletList().run())} icon={<List />} />
      <Tool label={t('numberedList')} on={editor.isActive('orderedList')} disabled={disabled} press={run(() => chain().toggleOrderedList().run())} icon={<ListOrdered />} />
      <Tool
        label={t('link')}
        on={editor.isActive('link')}
        disabled={disabled}
        press={run(() => {
          setAddress((editor.getAttributes('link')['href'] as string | undefined) ?? '')
          dialog.current?.showModal()
          return true
        })}
        icon={<Link2 />}
      />
      <Tool label={t('undo')} disabled={disabled} press={run(() => chain().undo().run())} icon={<Undo2 />} />
      <Tool label={t('redo')} disabled={disabled} press={run(() => chain().redo().run())} icon={<Redo2 />} />
      <dialog ref={dialog} aria-label={t('link')}>
        <form method="dialog" onSubmit={setLink}>
          <label>
            {t('linkAddress')}
            <input value={address} onInput={(event) => setAddress(event.currentTarget.value)} autocomplete="off" />
          </label>
          <div class="actions">
            <button type="submit" class="primary">
              {t('link')}
            </button>
            <button type="button" class="secondary" onClick={() => (chain().unsetLink().run(), dialog.current?.close())}>
              {t('removeLink')}
            </button>
          </div>
        </form>
      </dialog>
    </div>
  )
}

interface ToolProps {
  label: string
  icon: ComponentChildren
  press: () => void
  disabled: boolean
  on?: boolean
}

function Tool({ label, icon, press, disabled, on }: ToolProps) {
  return (
    // The text keeps the focus and the selection: pressing with a mouse must not take them.
    <button type="button" class="tool" aria-label={label} title={label} aria-pressed={on} aria-disabled={disabled} onMouseDown={(event) => event.preventDefault()} onClick={press}>
      <span aria-hidden="true">{icon}</span>
    </button>
  )
}

function renderCaret(user: Record<string, string>): HTMLElement {
  const caret = document.createElement('span')
  caret.classList.add('collaboration-carets__caret')
  caret.style.setProperty('--caret', user['color'] ?? '#555')
  const label = document.createElement('span')
  label.classList.add('collaboration-carets__label')
  label.textContent = user['name'] ?? ''
  caret.append(label)
  return caret
}

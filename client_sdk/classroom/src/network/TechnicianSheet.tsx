import { mustBeOpened, outcomeOf, type NetworkReport, type NetworkTarget } from '@passerelle/client'
import { Printer } from 'lucide-preact'
import { t } from '../i18n.js'
import { CopyButton } from '../pages/CopyButton.js'
import { browserText, networkTests, outcomeText, sheetNotes, sheetText, transportText, whenText } from './words.js'

/** One page to hand to a school's technicians: what is to be opened, as the server is configured, and what was found
 * here. Nothing in it says who asked. The table says its roles itself: on a phone the style sheet folds its rows, and what
 * is not laid out as a table is none to a screen reader. */
export function TechnicianSheet({ report, when }: { report: NetworkReport; when: Date }) {
  const page = location.origin
  const browser = browserText(navigator.userAgent)
  const shut = mustBeOpened(report)
  return (
    <section class="card sheet" aria-labelledby="sheet-title" data-testid="sheet">
      <div class="sheet-head">
        <h2 id="sheet-title">
          {t('sheetTitle')} <small>{page}</small>
        </h2>
        <div class="actions no-print">
          <CopyButton test="copy-sheet" label={t('sheetCopy')} text={sheetText(report, page, when, browser)} />
          <button type="button" class="secondary" data-testid="print-sheet" onClick={() => print()}>
            <Printer aria-hidden="true" /> {t('sheetPrint')}
          </button>
        </div>
      </div>
      <p>{t('sheetIntro')}</p>
      <div class="sheet-scroll" role="region" aria-label={t('sheetTable')} tabIndex={0}>
        <table role="table">
          <thead role="rowgroup">
            <tr role="row">
              <th role="columnheader" scope="col">{t('sheetHost')}</th>
              <th role="columnheader" scope="col">{t('sheetPort')}</th>
              <th role="columnheader" scope="col">{t('sheetProtocol')}</th>
              <th role="columnheader" scope="col">{t('sheetPurpose')}</th>
              <th role="columnheader" scope="col">{t('sheetOutcome')}</th>
            </tr>
          </thead>
          <tbody role="rowgroup">
            {report.targets.map((target) => (
              <TargetRow key={`${target.host} ${target.port} ${target.transport}`} target={target} report={report} />
            ))}
          </tbody>
        </table>
      </div>
      {sheetNotes(report).map((note) => (
        <p key={note}>{note}</p>
      ))}
      <p>{t('sheetRules')}</p>
      {shut.length > 0 && <p class="problem">{t('sheetSomeShut')}</p>}
      <h3>
        {t('sheetHere')} <small>{[whenText(when), browser].join(', ')}</small>
      </h3>
      <ul class="sheet-results">
        {networkTests.map((test) => {
          const result = report.results.get(test)
          return (
            result && (
              <li key={test}>
                {t(`networkTest_${test}`)} <strong>{outcomeText(result)}</strong>
              </li>
            )
          )
        })}
      </ul>
    </section>
  )
}

function TargetRow({ target, report }: { target: NetworkTarget; report: NetworkReport }) {
  const outcome = outcomeOf(target, report)
  return (
    <tr role="row">
      <th role="rowheader" scope="row">
        {target.host}
      </th>
      <td role="cell" class="sheet-port">
        {target.port}
      </td>
      <td role="cell">{transportText(target)}</td>
      <td role="cell" class="sheet-purpose">
        {t(`networkPurpose_${target.purpose}`)}
      </td>
      <td role="cell" class={`sheet-outcome outcome-${outcome}`}>
        {t(`network_${outcome}`)}
      </td>
    </tr>
  )
}

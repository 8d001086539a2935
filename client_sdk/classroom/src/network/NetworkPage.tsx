import {
  NetworkCheck,
  PasserelleError,
  bestWay,
  verdictOf,
  type NetworkReport,
  type NetworkResult,
  type NetworkTest,
  type NetworkVerdict,
} from '@passerelle/client'
import { Check, CircleHelp, LoaderCircle, MessageSquareText, Minus, Network, TriangleAlert, Volume2, X } from 'lucide-preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { errorText, t } from '../i18n.js'
import { Shell } from '../pages/Shell.js'
import { OwnDevices } from './OwnDevices.js'
import { TechnicianSheet } from './TechnicianSheet.js'
import { networkTests, outcomeText, problemText, wayText } from './words.js'

type Phase = 'before' | 'running' | 'done' | 'failed'

/** Before the visit: whether this network lets a session through, and what a school's technicians should open. */
export function NetworkPage() {
  const [phase, setPhase] = useState<Phase>('before')
  const [results, setResults] = useState<ReadonlyMap<NetworkTest, NetworkResult>>(new Map())
  const [report, setReport] = useState<NetworkReport | null>(null)
  const [error, setError] = useState('other')
  const [when, setWhen] = useState(new Date())
  const running = useRef<NetworkCheck | null>(null)
  useEffect(() => () => running.current?.stop(), [])
  const start = async () => {
    if (phase === 'running') return
    const check = new NetworkCheck()
    running.current = check
    setPhase('running')
    setResults(new Map())
    setReport(null)
    setWhen(new Date())
    check.on('result', (result) => setResults((before) => new Map(before).set(result.test, result)))
    try {
      setReport(await check.run())
      setPhase('done')
    } catch (problem) {
      setError(problem instanceof PasserelleError ? problem.code : 'other')
      setPhase('failed')
    }
  }
  return (
    <Shell title={t('networkTitle')}>
      <section class="card network-intro">
        <h1>
          <Network aria-hidden="true" /> {t('networkTitle')}
        </h1>
        <p>{t('networkIntro')}</p>
        {phase === 'failed' && (
          <p class="problem" role="alert">
            {errorText(error)}
          </p>
        )}
        <button type="button" class="primary" data-testid="start-check" aria-disabled={phase === 'running'} onClick={() => void start()}>
          {phase === 'before' ? t('networkStart') : phase === 'running' ? t('networkRunning') : t('networkAgain')}
        </button>
        <p class="visually-hidden" role="status">
          {phase === 'running' && t('networkRunning')}
        </p>
      </section>
      <div role="status" class="network-status">
        {report && <Verdict report={report} />}
      </div>
      {(phase === 'running' || phase === 'done') && (
        <div class="network-columns">
          <section class="card" aria-labelledby="network-results">
            <h2 id="network-results">{t('networkResults')}</h2>
            <ul class="network-tests" data-testid="network-tests">
              {networkTests.map((test) => (
                <TestRow key={test} test={test} result={results.get(test)} />
              ))}
            </ul>
          </section>
          <OwnDevices />
        </div>
      )}
      {report && <TechnicianSheet report={report} when={when} />}
    </Shell>
  )
}

const verdictIcons: Readonly<Record<NetworkVerdict, preact.JSX.Element>> = {
  good: <Check aria-hidden="true" />,
  voice: <Volume2 aria-hidden="true" />,
  text: <MessageSquareText aria-hidden="true" />,
}

function Verdict({ report }: { report: NetworkReport }) {
  const verdict = verdictOf(report)
  const way = verdict === 'text' ? null : wayText(report)
  return (
    <section class={`card verdict verdict-${verdict}`} data-testid="verdict" data-verdict={verdict}>
      {verdictIcons[verdict]}
      <div>
        <h2>{t(`networkVerdict_${verdict}`)}</h2>
        {!(verdict === 'voice' && bestWay(report) === null) && <p>{t(`networkMeans_${verdict}`)}</p>}
        {way && <p>{way}</p>}
      </div>
    </section>
  )
}

const outcomeIcons = {
  passes: <Check aria-hidden="true" />,
  partly: <TriangleAlert aria-hidden="true" />,
  blocked: <X aria-hidden="true" />,
  absent: <Minus aria-hidden="true" />,
  unknown: <CircleHelp aria-hidden="true" />,
}

function TestRow({ test, result }: { test: NetworkTest; result: NetworkResult | undefined }) {
  const problem = result ? problemText(result) : null
  return (
    <li class={`network-test outcome-${result?.outcome ?? 'waiting'}`} data-testid={`test-${test}`} data-outcome={result?.outcome}>
      <span class="network-sign">{result ? outcomeIcons[result.outcome] : <LoaderCircle aria-hidden="true" class="turning" />}</span>
      <span class="network-name">
        {t(`networkTest_${test}`)}
        {problem && <small>{problem}</small>}
      </span>
      <strong>{result ? outcomeText(result) : t('network_waiting')}</strong>
    </li>
  )
}

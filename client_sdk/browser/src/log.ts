export type LogLevel = 'silent' | 'warn' | 'debug'

/** What happens, for developers: ids and codes only, never names, texts or tokens. */
export interface Log {
  warn(sentence: string, ...facts: (string | number | boolean | null)[]): void
  debug(sentence: string, ...facts: (string | number | boolean | null)[]): void
}

export function makeLog(level: LogLevel): Log {
  const silent = () => undefined
  const write = (method: 'warn' | 'debug'): Log['warn'] => (sentence, ...facts) => console[method](`passerelle: ${sentence}`, ...facts)
  return {
    warn: level === 'silent' ? silent : write('warn'),
    debug: level === 'debug' ? write('debug') : silent,
  }
}

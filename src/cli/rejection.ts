import pc from 'picocolors'

/**
 * What a proxy refused, in one line, at the place of the EnvoyFilter patch if there is one; then those of other patches
 * in it. `patches` begin with their places, `FILE:LINE:COLUMN: `.
 */
export function rejectionLines(proxy: string, typeUrl: string, message: string, patches: readonly string[]): string[] {
  const what = `${proxy} refused ${typeUrl.replace('type.googleapis.com/', '')}`
  const why = message.trim().replace(/\s*\n\s*/g, '; ')
  const [place, ...others] = patches.map((patch) => /^(\S+:\d+:\d+: )(.*)$/s.exec(patch) ?? [patch, '', patch])
  const mark = pc.red('rejected:')
  return [
    `${place?.[1] ?? ''}${mark} ${place ? `${place[2]}: ` : ''}${what}: ${why}; it goes on with what it had`,
    ...others.map(([, at, patch]) => `${at}${mark} ${patch}: it is in what ${proxy} refused, too`),
  ]
}

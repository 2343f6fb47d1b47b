import type { RateLimit_HitsAddend as HitsAddendProto } from '#gen/envoy/config/route/v3/route_components_pb.js'
import type { Runtime } from '../../../runtime.ts'
import { atod } from '../../atod.ts'
import { ConfigError } from '../../context.ts'
import { parseFormat } from '../../observe/format/parse.ts'
import type { StreamInfo } from '../../stream-info.ts'

/** Hits that a descriptor stands for; undefined: its value is none, and the descriptor falls away. */
export type HitsSource = (info: StreamInfo) => number | undefined

const MOST_HITS = 1_000_000_000

/** What "nan" comes to, which no range holds back: the cast to 64 bits makes it this, more than any limit. */
const NOT_A_NUMBER = 2 ** 63

/** Compiles a `hits_addend` (source/extensions/filters/common/ratelimit_config/ratelimit_config.cc). Throws ConfigError. */
export function compileHits({ number, format }: HitsAddendProto, runtime: Runtime): HitsSource {
  if ((format === '') === (number === undefined))
    throw new ConfigError(['hits_addend must contain either a format or a number'])
  if (number !== undefined) {
    const hits = Number(number)
    return () => hits
  }
  const [operator, ...more] = parseFormat(format, runtime)
  if (operator === undefined || more.length > 0)
    throw new ConfigError(['hits_addend format must contain exactly one substitution'])
  if (typeof operator === 'string') {
    const hits = hitsOf(operator)
    return () => hits
  }
  return (info) => hitsOf(operator.text(info))
}

function hitsOf(text: string | undefined): number | undefined {
  const hits = text === undefined ? undefined : atod(text)
  if (hits === undefined || hits < 0 || hits > MOST_HITS) return undefined
  return Number.isNaN(hits) ? NOT_A_NUMBER : Math.trunc(hits)
}

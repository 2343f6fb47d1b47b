import type { Counter, StatsStore } from '../../observe/stats.ts'

/** What is counted of one config that has a `stat_prefix`; of one without, nothing is. */
export class HeaderToMetadataStats {
  readonly requestRules: Counter
  readonly requestAdded: Counter
  readonly requestMissing: Counter
  readonly responseRules: Counter
  readonly responseAdded: Counter
  readonly responseMissing: Counter
  readonly badBase64: Counter
  readonly tooLong: Counter
  readonly emptied: Counter

  constructor(stats: StatsStore, statPrefix: string) {
    const prefix = `http_filter_name.${statPrefix}${statPrefix.endsWith('.') ? '' : '.'}`
    const counter = (name: string): Counter => stats.counter(prefix + name)
    this.requestRules = counter('request_rules_processed')
    this.requestAdded = counter('request_metadata_added')
    this.requestMissing = counter('request_header_not_found')
    this.responseRules = counter('response_rules_processed')
    this.responseAdded = counter('response_metadata_added')
    this.responseMissing = counter('response_header_not_found')
    this.badBase64 = counter('base64_decode_failed')
    this.tooLong = counter('header_value_too_long')
    this.emptied = counter('regex_substitution_failed')
  }
}

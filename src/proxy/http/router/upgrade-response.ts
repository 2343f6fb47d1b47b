import type { RequestHead, ResponseHead } from '../headers.ts'

/**
 * What an upstream's answer to an upgrade or CONNECT means (source/common/router/upstream_codec_filter.cc): it agreed
 * (bytes flow both ways), it refused or answered as usual (goes through as it is), or it agreed to nothing, and
 * its answer leaves without the body.
 */
export function upgradeOutcome(request: RequestHead, head: ResponseHead, end: boolean): 'tunnel' | 'pass' | 'strip' {
  const connect = request.method === 'CONNECT'
  if (head.status === 101 || (connect && head.status < 300)) return 'tunnel'
  return head.status >= 400 || connect || end ? 'pass' : 'strip'
}

import type { HeaderValue, RetryPolicy as RetryPolicyProto } from '#gen/envoy/config/core/v3/base_pb.js'
import type { Runtime } from '../../runtime.ts'
import { make } from '../../xds/messages.ts'
import { Problems } from './config.ts'
import { HeaderMutation } from './router/header-mutation.ts'
import { RetryPolicy } from './router/retry-policy.ts'

/** HeaderValueOption.HeaderAppendAction. */
const OVERWRITE = 2

/**
 * The retry policy of a request of the proxy's own (source/common/http/utility.cc convertCoreToRouteRetryPolicy): it
 * waits longer between attempts than a route's does. `retryOn`: in place of the config's. Throws ConfigError.
 */
export function ownRetryPolicy(
  config: RetryPolicyProto | undefined,
  retryOn: string = config?.retryOn ?? '',
): RetryPolicy | undefined {
  if (config === undefined) return undefined
  const { retryBackOff: backOff, numRetries, retryHostPredicate, retryPriority } = config
  const problems = new Problems()
  if (retryHostPredicate.length > 0) problems.add('retry_policy.retry_host_predicate', 'not supported')
  if (retryPriority !== undefined) problems.add('retry_policy.retry_priority', 'not supported')
  problems.throwIfAny()
  const baseInterval = backOff?.baseInterval ?? { seconds: 1n, nanos: 0 }
  const maxInterval = backOff?.maxInterval ?? { seconds: baseInterval.seconds * 10n, nanos: baseInterval.nanos * 10 }
  return new RetryPolicy(
    make('envoy.config.route.v3.RetryPolicy', {
      retryOn,
      ...(numRetries === undefined ? {} : { numRetries }),
      retryBackOff: { baseInterval, maxInterval },
      perTryTimeout: maxInterval,
    }),
  )
}

/** Headers of a config that replace those of the same name. Throws ConfigError. */
export function headersToSet(headers: readonly HeaderValue[], runtime: Runtime): HeaderMutation {
  const options = headers.map((header) =>
    make('envoy.config.core.v3.HeaderValueOption', { header, appendAction: OVERWRITE as never }),
  )
  return new HeaderMutation(options, [], runtime)
}

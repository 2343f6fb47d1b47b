import { GrpcClient, type GrpcContext } from '../../http/grpc-client.ts'
import type { GrpcService } from '../../http/grpc-service.ts'
import { type AttributeChoice, httpCheckRequest } from './attributes.ts'
import { type Authorizer, DEFAULT_TIMEOUT_MS } from './authorizer.ts'
import { CHECK, verdictOf } from './grpc-verdict.ts'
import type { CheckSubject } from './subject.ts'
import type { Verdict } from './verdict.ts'

/** Asks a service of envoy.service.auth.v3.Authorization. */
export class GrpcAuthorizer implements Authorizer {
  private readonly client: GrpcClient
  private readonly choice: AttributeChoice
  private readonly timeout: number

  constructor(service: GrpcService, choice: AttributeChoice, context: GrpcContext) {
    this.client = new GrpcClient(service, context)
    this.choice = choice
    this.timeout = service.timeout ?? DEFAULT_TIMEOUT_MS
  }

  check(subject: CheckSubject, done: (verdict: Verdict) => void): { cancel(): void } {
    const { slot } = subject
    const options = {
      timeout: this.timeout,
      info: slot.info,
      downstream: slot.connection,
      metadataMatch: slot.route()?.forward?.metadataMatch,
    }
    return this.client.call(CHECK, httpCheckRequest(subject, this.choice), options, (answer) => done(verdictOf(answer)))
  }
}

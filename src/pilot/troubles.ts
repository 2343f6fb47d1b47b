import { FileSecrets, type FileSecretsOptions } from './file-secrets.ts'
import { overlayProblems } from './gateway-api/deployments.ts'
import type { PushContext } from './scope/push-context.ts'
import { ToldOnce } from './told-once.ts'

/** Tells of what objects name and nothing comes of: overlays that cannot be applied, files that cannot be used. */
export class Troubles {
  readonly #overlays: ToldOnce
  readonly #files: FileSecrets

  constructor(options: FileSecretsOptions) {
    this.#overlays = new ToldOnce(options.tell)
    this.#files = new FileSecrets(options)
  }

  /** There is a new context. */
  pushed({ snapshot, mesh }: PushContext): void {
    this.#overlays.update(overlayProblems(snapshot, mesh.rootNamespace))
    this.#files.wanted([], snapshot)
  }

  /** A proxy has these secrets. */
  served(secrets: Iterable<string>, { snapshot }: PushContext): void {
    this.#files.wanted(secrets, snapshot)
  }

  close(): void {
    this.#files.close()
  }
}

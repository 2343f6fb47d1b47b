import type { Runtime } from '../../runtime.ts'

/** The value of the `date` header, formatted once a second. */
export class DateHeader {
  private readonly runtime: Runtime
  private second = -1
  private text = ''

  constructor(runtime: Runtime) {
    this.runtime = runtime
  }

  get value(): string {
    const second = Math.floor(this.runtime.wallNow() / 1000)
    if (second !== this.second) {
      this.second = second
      this.text = new Date(second * 1000).toUTCString()
    }
    return this.text
  }
}

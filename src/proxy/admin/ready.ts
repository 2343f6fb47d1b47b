import type { AdminHandler } from './handler.ts'

/** `/ready`: in a file of its own, since a proxy is asked for it before it has loaded anything else of this. */
export const ready: AdminHandler = {
  path: '/ready',
  help: 'print server state, return 200 if LIVE, otherwise return 503',
  run(view) {
    const state = view.state()
    return { status: state === 'LIVE' ? 200 : 503, body: `${state}\n` }
  },
}

/**
 * The event loop hands over one accepted connection per round, where Envoy takes all that wait in one go, reads their
 * requests, and only then hears of connections that it opened meanwhile. Circuit breakers show the difference: of five
 * requests that arrive together, all five are there before the first of them has its connection.
 *
 * What is kept here is the process's, as is the event loop: where one proxy has a listener that batches, the connections of
 * its neighbours become ready a round or two later, which changes the order of events and nothing else.
 */

/** Rounds that a busy listener can hold up a connection. */
const MOST_ROUNDS = 32

let accepted = 0
/** There is a listener that takes connections as they come. Those of Istio take one at a time, as libuv does. */
let batches = false

/** A listener that takes all connections that wait has accepted one. */
export function noteAccept(): void {
  accepted++
  batches = true
}

/** Calls `fn` once the connections that wait to be accepted are accepted and have been read from. */
export function afterAccepts(fn: () => void): void {
  if (!batches) {
    fn()
    return
  }
  let rounds = 0
  let seen = -1
  const look = (): void => {
    if (accepted === seen || ++rounds > MOST_ROUNDS) {
      fn()
      return
    }
    // What was accepted in this round is read in the next.
    seen = accepted
    setImmediate(look)
  }
  setImmediate(look)
}

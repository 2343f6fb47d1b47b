import { expect, test } from 'vitest'
import { TimerWheel, WheelTimer } from '../src/proxy/http/timer-wheel.ts'
import { TestRuntime } from '../src/runtime-test.ts'

function setUp() {
  const runtime = new TestRuntime()
  const fired: string[] = []
  const timer = (name: string, again?: () => void) =>
    new WheelTimer(
      {
        onTimer: () => {
          fired.push(name)
          again?.()
        },
      },
      0,
    )
  return { runtime, wheel: new TimerWheel(runtime), fired, timer }
}

test('timers of different lengths fire in the order they are due', () => {
  const { runtime, wheel, fired, timer } = setUp()
  wheel.start(timer('long'), 50)
  wheel.start(timer('short'), 10)
  runtime.advance(9)
  expect(fired).toEqual([])
  runtime.advance(1)
  expect(fired).toEqual(['short'])
  runtime.advance(40)
  expect(fired).toEqual(['short', 'long'])
})

test('a stopped timer does not fire, and those behind it do', () => {
  const { runtime, wheel, fired, timer } = setUp()
  const first = timer('first')
  wheel.start(first, 20)
  runtime.advance(5)
  wheel.start(timer('second'), 20)
  first.stop()
  expect(first.running).toBe(false)
  runtime.advance(15)
  expect(fired).toEqual([])
  runtime.advance(5)
  expect(fired).toEqual(['second'])
})

test('starting a running timer puts it off', () => {
  const { runtime, wheel, fired, timer } = setUp()
  const one = timer('one')
  wheel.start(one, 20)
  runtime.advance(15)
  wheel.start(one, 20)
  runtime.advance(15)
  expect(fired).toEqual([])
  runtime.advance(5)
  expect(fired).toEqual(['one'])
})

test('a timer may start itself again while it fires', () => {
  const { runtime, wheel, fired, timer } = setUp()
  const again: WheelTimer = timer('tick', () => wheel.start(again, 10))
  wheel.start(again, 10)
  for (let i = 0; i < 3; i++) runtime.advance(10)
  expect(fired).toEqual(['tick', 'tick', 'tick'])
})

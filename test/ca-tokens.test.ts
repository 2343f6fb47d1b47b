import { afterAll, beforeAll, expect, test } from 'vitest'
import { UnknownServiceAccountError } from '../src/pilot/ca-service/service-accounts.ts'
import { SigningKey } from '../src/pilot/ca-service/signing-key.ts'
import { issueToken, TokenError } from '../src/pilot/ca-service/token.ts'
import { shifted, startPlane, type TestPlane } from './support/control-plane.ts'

// What tokens of service accounts are not issued for, whichever way they are asked for.

let plane: TestPlane
beforeAll(async () => {
  plane = await startPlane('apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: httpbin}\n', {})
})
afterAll(() => plane.close())

const request = { namespace: 'default', name: 'httpbin', audiences: ['istio-ca'] }
const lasting = (seconds: number) => {
  const { exp, iat } = JSON.parse(
    Buffer.from(
      issueToken({ ...request, seconds }, SigningKey.make(), shifted(0)).split('.')[1]!,
      'base64url',
    ).toString(),
  ) as { exp: number; iat: number }
  return exp - iat
}

test('a token lasts 10 minutes at least and 2^32 seconds at most', () => {
  expect(lasting(600)).toBe(600)
  expect(lasting(2 ** 32)).toBe(2 ** 32)
  for (const [seconds, words] of [
    [599, 'may not specify a duration less than 10 minutes'],
    [0, 'may not specify a duration less than 10 minutes'],
    [-600, 'may not specify a duration less than 10 minutes'],
    [2 ** 32 + 1, 'may not specify a duration larger than 2^32 seconds'],
  ] as const) {
    expect(() => lasting(seconds)).toThrow(TokenError)
    expect(() => lasting(seconds)).toThrow(words)
  }
})

test.each([
  ['default', 'nobody'],
  ['elsewhere', 'httpbin'],
  ['elsewhere', 'default'],
])('there is no token for an account that there is not: %s/%s', (namespace, name) => {
  const { accounts } = plane.plane
  expect(accounts.issue(request)).toMatch(/^\S+\.\S+\.\S+$/)
  expect(() => accounts.issue({ ...request, namespace, name })).toThrow(UnknownServiceAccountError)
})

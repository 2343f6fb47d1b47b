import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { parseDuration } from '../api/duration.ts'
import { CaConfigError } from './errors.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR

/** Lifetime of a workload certificate in milliseconds when none is asked for (DEFAULT_WORKLOAD_CERT_TTL). */
export const WORKLOAD_TTL = DAY
/** The most that may be asked for, in milliseconds (MAX_WORKLOAD_CERT_TTL). */
const MAX_WORKLOAD_TTL = 90 * DAY
/** Lifetime of the self-signed root in milliseconds (CITADEL_SELF_SIGNED_CA_CERT_TTL). */
export const ROOT_TTL = 3650 * DAY

/** Switches of istiod's CA and of the agent that asks it; durations in milliseconds. */
export interface CaSettings {
  /** DEFAULT_WORKLOAD_CERT_TTL. Default 24 h. */
  readonly workloadTtl: number
  /** MAX_WORKLOAD_CERT_TTL. Default 90 days. */
  readonly maxWorkloadTtl: number
  /** CITADEL_SELF_SIGNED_CA_CERT_TTL. Default 3650 days. */
  readonly rootTtl: number
  /** CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL. Default 1 h; none when not positive. */
  readonly rootCheckInterval: number
  /** CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE: a root is replaced when less of its life is left. Default 20. */
  readonly rootGracePercentile: number
  /** CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR: checks begin at a random time. Default true. */
  readonly rootJitter: boolean
  /** SECRET_TTL: what the agent asks for. Default 24 h. */
  readonly secretTtl: number
  /** SECRET_GRACE_PERIOD_RATIO: renewed when this part of the lifetime is left. Default 0.5. */
  readonly graceRatio: number
  /** SECRET_GRACE_PERIOD_RATIO_JITTER: varies that, up or down. Default 0.01. */
  readonly graceRatioJitter: number
  /** A new pair for a workload: P-256, or what WORKLOAD_RSA_KEY_SIZE or ECC_SIGNATURE_ALGORITHM and ECC_CURVE say. */
  readonly workloadKeys: () => KeyPair
  /** A new pair for a root that signs itself: P-256, or RSA with CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE. */
  readonly rootKeys: () => KeyPair
  /** USE_CACERTS_FOR_SELF_SIGNED_CA: the Secret `cacerts` may hold a root that istiod made. Default false. */
  readonly useCacertsForSelfSigned: boolean
}

/** A key and its public half. */
export interface KeyPair {
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
}

/** RSA keys must not be smaller (security/pkg/pki/util/crypto.go MinimumRsaKeySize). */
const MINIMUM_RSA = 2048

/**
 * Reads the switches. What is absent or unreadable takes its default, as in istiod (pkg/env). Throws CaConfigError for
 * those with which no workload could get a certificate.
 */
export function caSettings(env: Readonly<Record<string, string | undefined>>): CaSettings {
  const millis = (name: string, otherwise: number): number => {
    try {
      return env[name] ? parseDuration(env[name]) : otherwise
    } catch {
      return otherwise
    }
  }
  const number = (name: string, otherwise: number): number => {
    const text = env[name]?.trim()
    const value = Number(text)
    return text && Number.isFinite(value) ? value : otherwise
  }
  const bool = (name: string, otherwise: boolean): boolean => {
    const text = env[name]?.toLowerCase() ?? ''
    return /^(?:1|t|true|0|f|false)$/.test(text) ? text === '1' || text.startsWith('t') : otherwise
  }
  const workloadTtl = millis('DEFAULT_WORKLOAD_CERT_TTL', WORKLOAD_TTL)
  const maxWorkloadTtl = millis('MAX_WORKLOAD_CERT_TTL', MAX_WORKLOAD_TTL)
  const secretTtl = millis('SECRET_TTL', DAY)
  if (secretTtl > maxWorkloadTtl)
    throw new CaConfigError(
      `SECRET_TTL (${env.SECRET_TTL ?? '24h'}) is more than MAX_WORKLOAD_CERT_TTL (${env.MAX_WORKLOAD_CERT_TTL}): no workload would get a certificate`,
    )
  return {
    workloadTtl,
    maxWorkloadTtl,
    rootTtl: millis('CITADEL_SELF_SIGNED_CA_CERT_TTL', ROOT_TTL),
    rootCheckInterval: millis('CITADEL_SELF_SIGNED_ROOT_CERT_CHECK_INTERVAL', HOUR),
    rootGracePercentile: number('CITADEL_SELF_SIGNED_ROOT_CERT_GRACE_PERIOD_PERCENTILE', 20),
    rootJitter: bool('CITADEL_ENABLE_JITTER_FOR_ROOT_CERT_ROTATOR', true),
    secretTtl,
    graceRatio: number('SECRET_GRACE_PERIOD_RATIO', 0.5),
    graceRatioJitter: number('SECRET_GRACE_PERIOD_RATIO_JITTER', 0.01),
    workloadKeys: keyMaker(
      env.ECC_SIGNATURE_ALGORITHM ? undefined : env.WORKLOAD_RSA_KEY_SIZE,
      'WORKLOAD_RSA_KEY_SIZE',
      env.ECC_SIGNATURE_ALGORITHM && env.ECC_CURVE === 'P384' ? 'P-384' : 'P-256',
    ),
    rootKeys: keyMaker(env.CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE, 'CITADEL_SELF_SIGNED_CA_RSA_KEY_SIZE', 'P-256'),
    useCacertsForSelfSigned: bool('USE_CACERTS_FOR_SELF_SIGNED_CA', false),
  }
}

function keyMaker(rsaSize: string | undefined, name: string, namedCurve: string): () => KeyPair {
  if (!rsaSize || !/^\d+$/.test(rsaSize)) return () => generateKeyPairSync('ec', { namedCurve })
  const modulusLength = Number(rsaSize)
  if (modulusLength < MINIMUM_RSA)
    throw new CaConfigError(`${name} (${rsaSize}) is less than ${MINIMUM_RSA}, the smallest key that Istio takes`)
  return () => generateKeyPairSync('rsa', { modulusLength })
}

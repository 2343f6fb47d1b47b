import type { z } from 'zod'
import { int32, map, message, text } from '../schema.ts'
import { PolicySelector } from './selector.ts'

/** The flavour of the proxy image. */
export const ProxyImage = message({
  imageType: text,
})
export type ProxyImage = z.infer<typeof ProxyImage>

/** Settings of a workload's proxy (networking/v1beta1/proxy_config.proto). */
export const ProxyConfig = message({
  selector: PolicySelector,
  concurrency: int32,
  environmentVariables: map(text),
  image: ProxyImage,
})
export type ProxyConfig = z.infer<typeof ProxyConfig>

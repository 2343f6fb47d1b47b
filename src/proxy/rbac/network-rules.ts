import type { Permission, Principal, RBAC } from '#gen/envoy/config/rbac/v3/rbac_pb.js'
import { ConfigError } from '../context.ts'

/** Headers are nothing that a network filter sees (source/extensions/filters/network/rbac/config.cc). Throws ConfigError. */
export function refuseHeaders(rules: RBAC | undefined): void {
  for (const { permissions, principals } of Object.values(rules?.policies ?? {})) {
    permissions.forEach(refusePermission)
    principals.forEach(refusePrincipal)
  }
}

const refused = (name: string): ConfigError =>
  new ConfigError([`Found header(name: "${name}") rule,not supported by RBAC network filter`])

function refusePermission({ rule }: Permission): void {
  if (rule.case === 'header') throw refused(rule.value.name)
  if (rule.case === 'andRules' || rule.case === 'orRules') rule.value.rules.forEach(refusePermission)
  if (rule.case === 'notRule') refusePermission(rule.value)
}

function refusePrincipal({ identifier }: Principal): void {
  if (identifier.case === 'header') throw refused(identifier.value.name)
  if (identifier.case === 'andIds' || identifier.case === 'orIds') identifier.value.ids.forEach(refusePrincipal)
  if (identifier.case === 'notId') refusePrincipal(identifier.value)
}

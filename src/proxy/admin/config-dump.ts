import type { JsonObject, JsonValue } from '@bufbuild/protobuf'
import { RE2JS } from 're2js'
import { writeJson } from '../../xds/json.ts'
import { make, pack, TYPE_URL_PREFIX } from '../../xds/messages.ts'
import type { ClusterEntry } from '../upstream/cluster-manager.ts'
import type { DumpSection } from './dump-section.ts'
import { endpointSections } from './endpoint-dump.ts'
import { maskJson } from './field-mask.ts'
import { type AdminHandler, type AdminResponse, json } from './handler.ts'
import type { AdminView, ExtensionConfigs, RefusedResource, VersionedResource } from './view.ts'

type NameTest = (name: string) => boolean

/** `/config_dump` (source/server/admin/config_dump_handler.cc). Secrets are redacted. */
export const configDump: AdminHandler = {
  path: '/config_dump',
  help: 'dump current Envoy configs',
  params: [
    { name: 'resource', help: 'The resource to dump' },
    {
      name: 'mask',
      help: 'The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask',
    },
    {
      name: 'name_regex',
      help: 'Dump only the currently loaded configurations whose names match the specified regex. Can be used with both resource and mask query parameters.',
    },
    {
      name: 'include_eds',
      help: 'Dump currently loaded configuration including EDS. See the response definition for more information',
    },
  ],
  run(view, query) {
    let test: NameTest = () => true
    const regex = query.get('name_regex')
    if (regex) {
      try {
        const compiled = RE2JS.compile(regex)
        test = (name) => compiled.matches(name)
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        return { status: 400, body: `Error while parsing name_regex from ${regex}: ${why}` }
      }
    }
    const sections = dumpSections(view, test, query.has('include_eds'))
    const mask = query.get('mask') || undefined
    const resource = query.get('resource') || undefined
    return resource ? dumpResource(sections, resource, mask) : dumpAll(sections, mask)
  },
}

const ADMIN = `${TYPE_URL_PREFIX}envoy.admin.v3.`

function dumpAll(sections: readonly DumpSection[], mask: string | undefined): AdminResponse {
  const configs: JsonObject[] = []
  for (const { type, fields } of sections) {
    const masked = mask === undefined ? fields : maskJson(fields, mask)
    if (masked) configs.push({ '@type': ADMIN + type, ...masked })
  }
  if (configs.length === 0 && mask !== undefined) {
    return { status: 400, body: `FieldMask ${mask} could not be successfully applied to any configs.` }
  }
  return json({ configs })
}

function dumpResource(sections: readonly DumpSection[], resource: string, mask: string | undefined): AdminResponse {
  for (const { type, fields, elements } of sections) {
    const element = elements[resource]
    if (element === undefined) {
      if (!(resource in fields)) continue
      return { status: 400, body: `${resource} is not a repeated field. Use ?mask=${resource} to get only this field` }
    }
    const list = (fields[resource] ?? []) as JsonObject[]
    const configs: JsonObject[] = []
    for (const item of list) {
      const masked = mask === undefined ? item : maskJson(item, mask)
      if (!masked) return { status: 400, body: `FieldMask ${mask} could not be successfully used.` }
      configs.push({ '@type': `${ADMIN}${type}.${element}`, ...masked })
    }
    return json({ configs })
  }
  return { status: 404, body: `${resource} not found in config dump` }
}

/** The sections in Envoy's order: its trackers are sorted by name, with `endpoint` between `clusters` and `listeners`. */
function dumpSections(view: AdminView, test: NameTest, includeEds: boolean): DumpSection[] {
  return [
    {
      type: 'BootstrapConfigDump',
      fields: { bootstrap: dumped(view.bootstrap), last_updated: timestamp(view.bootstrap.updated) },
      elements: {},
    },
    clusterSection(view, test),
    ...view.extensionConfigs().map((configs) => extensionSection(configs, test)),
    ...(includeEds ? [endpointSections(view.clusters(), test)] : []),
    listenerSection(view, test),
    // Without a connection manager there is nobody to tell of routes.
    ...(view.routesUsed() ? [SCOPED_ROUTES, routeSection(view, test)] : []),
    secretSection(view, test),
  ]
}

const SCOPED_ROUTES: DumpSection = {
  type: 'ScopedRoutesConfigDump',
  fields: {},
  elements: {
    inline_scoped_route_configs: 'InlineScopedRouteConfigs',
    dynamic_scoped_route_configs: 'DynamicScopedRouteConfigs',
  },
}

function clusterSection(view: AdminView, test: NameTest): DumpSection {
  const all = view.clusterEntries().filter((c) => test(c.name))
  const of = (e: ClusterEntry): VersionedResource => ({ ...e, message: e.config })
  const state = (e: ClusterEntry) => ({
    ...versionInfo(e.version),
    cluster: any(of(e)),
    last_updated: timestamp(e.updated),
  })
  const isStatic = all.filter((e) => !e.dynamic && !e.warming)
  const refused = view.refusedClusters().filter((c) => test(c.name))
  return {
    type: 'ClustersConfigDump',
    fields: {
      ...versionInfo(view.cdsVersion()),
      ...list(
        'static_clusters',
        isStatic.map((e) => ({ cluster: any(of(e)), last_updated: timestamp(e.updated) })),
      ),
      ...list('dynamic_active_clusters', all.filter((e) => e.dynamic && !e.warming).map(state)),
      ...list('dynamic_warming_clusters', [
        ...all.filter((e) => e.dynamic && e.warming).map(state),
        ...refused.map((r) => ({ error_state: failure(r) })),
      ]),
    },
    elements: {
      static_clusters: 'StaticCluster',
      dynamic_active_clusters: 'DynamicCluster',
      dynamic_warming_clusters: 'DynamicCluster',
    },
  }
}

function listenerSection(view: AdminView, test: NameTest): DumpSection {
  const all = view.listeners().filter((l) => test(l.name))
  const state = (r: VersionedResource | undefined) =>
    r && { ...versionInfo(r.version), listener: any(r), last_updated: timestamp(r.updated) }
  return {
    type: 'ListenersConfigDump',
    fields: {
      ...versionInfo(view.ldsVersion()),
      ...list(
        'static_listeners',
        all.flatMap((l) =>
          !l.dynamic && l.active ? [{ listener: any(l.active), last_updated: timestamp(l.active.updated) }] : [],
        ),
      ),
      ...list(
        'dynamic_listeners',
        all
          .filter((l) => l.dynamic)
          .map((l) =>
            defined({
              name: l.name,
              active_state: state(l.active),
              warming_state: state(l.warming),
              draining_state: state(l.draining),
              error_state: l.error && failure(l.error),
            }),
          ),
      ),
    },
    elements: { static_listeners: 'StaticListener', dynamic_listeners: 'DynamicListener' },
  }
}

function routeSection(view: AdminView, test: NameTest): DumpSection {
  const entry = (r: VersionedResource) => ({
    ...versionInfo(r.version),
    route_config: any(r),
    last_updated: timestamp(r.updated),
  })
  return {
    type: 'RoutesConfigDump',
    fields: {
      ...list(
        'static_route_configs',
        view
          .staticRoutes()
          .filter((r) => test(r.name))
          .map(entry),
      ),
      ...list(
        'dynamic_route_configs',
        view
          .dynamicRoutes()
          .filter((r) => test(r.name))
          .map(entry),
      ),
    },
    elements: { static_route_configs: 'StaticRouteConfig', dynamic_route_configs: 'DynamicRouteConfig' },
  }
}

/** `EcdsConfigDump`: one for each kind of filter. */
function extensionSection({ configs }: ExtensionConfigs, test: NameTest): DumpSection {
  const entries = configs
    .filter(({ name }) => test(name))
    .map(({ name, config: { message: config, version, updated } }) => {
      // As it was understood: what came as a TypedStruct is shown as what it stands for.
      const message = make('envoy.config.core.v3.TypedExtensionConfig', { name, typedConfig: pack(config) })
      return {
        ...versionInfo(version),
        ecds_filter: any({ name, message, version, updated }),
        last_updated: timestamp(updated),
      }
    })
  return {
    type: 'EcdsConfigDump',
    fields: list('ecds_filters', entries),
    elements: { ecds_filters: 'EcdsFilterConfig' },
  }
}

function secretSection(view: AdminView, test: NameTest): DumpSection {
  const all = view.secrets().filter((s) => test(s.name))
  const entry = (s: (typeof all)[number]) => ({
    name: s.name,
    ...versionInfo(s.secret ? s.version : s.dynamic ? 'uninitialized' : ''),
    ...(s.secret
      ? {
          last_updated: timestamp(s.updated),
          secret: any({ name: s.name, message: s.secret, version: s.version, updated: s.updated }),
        }
      : {}),
  })
  return {
    type: 'SecretsConfigDump',
    fields: {
      ...list('static_secrets', all.filter((s) => !s.dynamic).map(entry)),
      ...list('dynamic_active_secrets', all.filter((s) => s.dynamic && s.secret).map(entry)),
      ...list('dynamic_warming_secrets', all.filter((s) => s.dynamic && !s.secret).map(entry)),
    },
    elements: {
      static_secrets: 'StaticSecret',
      dynamic_active_secrets: 'DynamicSecret',
      dynamic_warming_secrets: 'DynamicSecret',
    },
  }
}

function failure(error: RefusedResource): JsonObject {
  const { message } = error
  return defined({
    failed_configuration: message && any({ name: '', message, version: '', updated: 0 }),
    last_update_attempt: timestamp(error.attempted),
    details: error.details,
    version_info: error.version || undefined,
  })
}

function dumped(resource: VersionedResource): JsonValue {
  return writeJson(resource.message, { redact: true })
}

function any(resource: VersionedResource): JsonObject {
  const type = TYPE_URL_PREFIX + resource.message.$typeName
  return { '@type': type, ...(dumped(resource) as JsonObject) }
}

function timestamp(wallMs: number): string {
  return new Date(wallMs).toISOString()
}

function versionInfo(version: string): JsonObject {
  return version === '' ? {} : { version_info: version }
}

function list(name: string, items: readonly JsonObject[]): JsonObject {
  return items.length > 0 ? { [name]: [...items] } : {}
}

function defined(fields: Record<string, JsonValue | undefined>): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter((e): e is [string, JsonValue] => e[1] !== undefined))
}

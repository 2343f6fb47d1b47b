/** Where a host of the mesh is reached. */
export interface MeshPlace {
  readonly host: string
  readonly port: number
  /** The address that its name stands for in the mesh. */
  readonly ip?: string
}

/** Finds a host of the mesh, as it is reached without a sidecar; undefined for one that the mesh does not know. */
export type MeshDial = (host: string, port: number) => MeshPlace | undefined

/** The host and port of an http or https URL. */
export function hostOf(url: string): { host: string; port: number } {
  const { hostname, port, protocol } = new URL(url)
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port ? Number(port) : protocol === 'https:' ? 443 : 80 }
}

/** A URL without the password that it may have, for messages. */
export const withoutPassword = (url: string): string => url.replace(/\/\/[^/?#]*@/, '//')

/** Whether a URL leads to a service of the mesh. */
export function leadsIntoMesh(dial: MeshDial | undefined, url: string): boolean {
  if (!dial || !URL.canParse(url)) return false
  const { host, port } = hostOf(url)
  return dial(host, port) !== undefined
}

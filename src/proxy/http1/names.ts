import { headerName } from '../http/headers.ts'

/** Names the codec itself looks at or writes. */
export const CONNECTION = headerName('connection')
export const CONTENT_LENGTH = headerName('content-length')
export const CONTENT_TYPE = headerName('content-type')
export const HOST = headerName('host')
export const HTTP2_SETTINGS = headerName('http2-settings')
export const PROXY_CONNECTION = headerName('proxy-connection')
export const TE = headerName('te')
export const TRANSFER_ENCODING = headerName('transfer-encoding')
export const UPGRADE = headerName('upgrade')

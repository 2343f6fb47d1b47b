// The proxies that are compared, each configured to do the same: one worker, keep-alive to the backend.
import fs from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { bootstrap } from './bootstrap.mjs'
import { which } from './processes.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(here, '../..')

/** nginx, as the backend or as a proxy. */
export function nginxConfig({ listen, tls, location, upstream = '', log = 'off' }) {
  const ssl = tls
    ? `ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key}; ssl_client_certificate ${tls.ca};
       ssl_verify_client on; ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;`
    : ''
  return `daemon off; master_process off; worker_processes 1; pid nginx.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log ${log}; keepalive_timeout 300s; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  ${upstream}
  server { listen 127.0.0.1:${listen} ${tls ? 'ssl' : ''}; ${ssl} location / { ${location} } }
}
`
}

/** Command line of an nginx with its own prefix folder. */
export function nginxCommand(binary, dir, config) {
  fs.mkdirSync(dir, { recursive: true })
  fs.writeFileSync(path.join(dir, 'nginx.conf'), config)
  return [binary, ['-p', dir, '-c', path.join(dir, 'nginx.conf'), '-e', 'stderr']]
}

function nginxProxy(binary) {
  return ({ dir, listen, backend, tls, sidecar, logFile }) => {
    const ssl = tls
      ? `proxy_ssl_certificate ${tls.cert}; proxy_ssl_certificate_key ${tls.key}; proxy_ssl_trusted_certificate ${tls.ca};
         proxy_ssl_verify on; proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.3;`
      : ''
    const location = `proxy_pass ${tls ? 'https' : 'http'}://backend; proxy_http_version 1.1; proxy_set_header Connection ""; ${ssl}`
    const upstream = `upstream backend { server 127.0.0.1:${backend}; keepalive 128; keepalive_requests 1000000000; }`
    const log = sidecar ? `${logFile} combined buffer=64k flush=1s` : 'off'
    return nginxCommand(binary, dir, nginxConfig({ listen, tls, location, upstream, log }))
  }
}

function haproxy(binary) {
  return ({ dir, listen, backend, tls }) => {
    const config = path.join(dir, 'haproxy.cfg')
    const bind = tls ? ` ssl crt ${tls.both} ca-file ${tls.ca} verify required` : ''
    const server = tls ? ` ssl crt ${tls.both} ca-file ${tls.ca} verify required sni str(localhost)` : ''
    fs.mkdirSync(dir, { recursive: true })
    fs.writeFileSync(
      config,
      `global
  nbthread 1
  maxconn 4096
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:${listen}${bind}
  default_backend out
backend out
  server one 127.0.0.1:${backend}${server}
`,
    )
    return [binary, ['-db', '-f', config]]
  }
}

function envoyLike(command, before, after = []) {
  return ({ dir, listen, admin, backend, tls, sidecar, logFile }) => {
    const config = path.join(dir, 'bootstrap.json')
    fs.mkdirSync(dir, { recursive: true })
    fs.writeFileSync(config, JSON.stringify(bootstrap({ listen, admin, backend, tls, sidecar, logFile }), null, 1))
    return [command, [...before, '-c', config, ...after]]
  }
}

function httpProxy() {
  return ({ listen, backend, tls }) => [
    process.execPath,
    [
      path.join(here, '../http-proxy.mjs'),
      JSON.stringify({ listen, backend, tls: tls && { ca: tls.ca, cert: tls.cert, key: tls.key } }),
    ],
  ]
}

function envoyBinary(given) {
  if (given) return given
  const found = process.env.DINGHY_TEST_ENVOY ?? which('envoy')
  if (found) return found
  const cache = path.join(root, 'node_modules/.cache')
  const inside = /envoy\/_bin\/envoy$/
  if (!fs.existsSync(cache)) return undefined
  const hit = fs.readdirSync(cache, { recursive: true }).find((f) => inside.test(f))
  return hit && path.join(cache, hit)
}

/**
 * All peers: name, and `command(setup)` giving [executable, arguments], or why the peer is missing. `sidecar`:
 * whether it takes part in the scenario with a sidecar's filters.
 */
export function findPeers({ envoy, dinghy }) {
  const nginx = which('nginx')
  const ha = which('haproxy')
  const envoyPath = envoyBinary(envoy)
  const cli = path.join(root, 'dist/cli.js')
  const [dinghyCommand, ...dinghyArgs] = dinghy ? dinghy.split(' ') : [process.execPath, cli, 'proxy']
  const built = dinghy !== undefined || fs.existsSync(cli)
  return [
    { name: 'nginx', sidecar: true, ...(nginx ? { command: nginxProxy(nginx) } : { missing: 'not installed' }) },
    {
      name: 'dinghy',
      sidecar: true,
      ...(built ? { command: envoyLike(dinghyCommand, dinghyArgs) } : { missing: 'not built (npm run build)' }),
    },
    { name: 'haproxy', sidecar: false, ...(ha ? { command: haproxy(ha) } : { missing: 'not installed' }) },
    {
      name: 'envoy',
      sidecar: true,
      ...(envoyPath
        ? {
            command: envoyLike(envoyPath, [], ['--concurrency', '1', '-l', 'error', '--disable-hot-restart']),
          }
        : { missing: 'not found (--envoy PATH)' }),
    },
    { name: 'http-proxy', sidecar: false, command: httpProxy() },
  ]
}

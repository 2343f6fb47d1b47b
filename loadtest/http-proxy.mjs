// The http-proxy package as a peer: `node http-proxy.mjs '{"listen":…,"backend":…,"tls":…}'`.
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import httpProxy from 'http-proxy'

const { listen, backend, tls } = JSON.parse(process.argv[2])
const files = tls && { ca: fs.readFileSync(tls.ca), cert: fs.readFileSync(tls.cert), key: fs.readFileSync(tls.key) }
const agent = files
  ? new https.Agent({ keepAlive: true, ...files, servername: 'localhost' })
  : new http.Agent({ keepAlive: true })
const proxy = httpProxy.createProxyServer({
  target: `${files ? 'https' : 'http'}://127.0.0.1:${backend}`,
  agent,
  ...(files && { ssl: files, secure: true }),
})
proxy.on('error', (_error, _request, response) => {
  if (!response.headersSent) response.writeHead(502)
  response.end()
})
const handler = (request, response) => proxy.web(request, response)
const server = files
  ? https.createServer({ ...files, requestCert: true, rejectUnauthorized: true }, handler)
  : http.createServer(handler)
server.keepAliveTimeout = 300_000
server.listen(listen, '127.0.0.1')

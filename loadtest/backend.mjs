// A backend where there is no nginx: 1 KB for every request. `node backend.mjs '{"listen":…,"tls":…}'`.
import fs from 'node:fs'
import http from 'node:http'
import https from 'node:https'

const { listen, tls, bytes } = JSON.parse(process.argv[2])
const body = Buffer.alloc(bytes, 'x')
const headers = { 'content-type': 'text/plain', 'content-length': body.length }
const handler = (_request, response) => {
  response.writeHead(200, headers)
  response.end(body)
}
const server = tls
  ? https.createServer(
      {
        ca: fs.readFileSync(tls.ca),
        cert: fs.readFileSync(tls.cert),
        key: fs.readFileSync(tls.key),
        requestCert: true,
        rejectUnauthorized: true,
      },
      handler,
    )
  : http.createServer(handler)
server.keepAliveTimeout = 300_000
server.listen(listen, '127.0.0.1')

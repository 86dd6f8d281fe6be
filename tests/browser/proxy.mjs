// Owns a proxy as some networks have: it lets requests through to a node, and not what else a client would
// rather use. Knows no test.

import { createServer, request } from 'node:http';

/** `webSocket`, `streams`: what gets through. Serves the SDK and an empty page of its own as well. */
export async function startProxy(node, sdk) {
  const network = { webSocket: false, streams: true, seen: [] };
  const to = new URL(node.client);
  const server = createServer((asked, answer) => {
    network.seen.push(asked.url.split('?')[0]);
    if (asked.url === '/') return answer.setHeader('content-type', 'text/html').end('<!doctype html><title>page</title>');
    if (asked.url === '/meridian.js') return answer.setHeader('content-type', 'text/javascript').end(sdk);
    const { method, headers } = asked;
    const passed = request({ host: to.hostname, port: to.port, path: asked.url, method, headers }, (given) => {
      answer.writeHead(given.statusCode, given.headers);
      answer.flushHeaders();
      if (network.streams || !asked.url.startsWith('/v1/sse')) given.pipe(answer);
      else given.resume();
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  server.on('upgrade', (asked, socket) => {
    network.seen.push('upgrade');
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });
  server.listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const stop = () => new Promise((done) => {
    server.close(done);
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${server.address().port}`, network, stop };
}

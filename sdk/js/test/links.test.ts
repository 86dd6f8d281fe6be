// The two links on their real interfaces: `ws` over loopback, and WebTransport on web streams.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { MeridianClient } from '../src/client.js';
import { FrameReader, prefixed } from '../src/codec/frames.js';
import { jsonCodec } from '../src/codec/json.js';
import { msgpackCodec } from '../src/codec/msgpack.js';
import type { MeridianError } from '../src/errors.js';
import type { WebSocketConstructor } from '../src/transport/websocket.js';
import { dialWebTransport } from '../src/transport/webtransport.js';
import { settle } from './support/clock.js';

const CONNECTED = { id: 1, connected: { protocol: 1, session: 's', node: 'n1', region: 'local', tenant: 'demo', user: 'ann', capabilities: [], limits: {} } };

for (const codec of ['json', 'msgpack'] as const) {
  test(`WebSocket over loopback, ${codec}`, async () => {
    const served = codec === 'json' ? jsonCodec : msgpackCodec;
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    server.on('connection', (socket, request) => {
      assert.equal(request.url, `/v1/ws?codec=${codec}`);
      socket.on('message', (data: Buffer, binary: boolean) => {
        assert.equal(binary, codec === 'msgpack');
        for (const message of served.decode(binary ? new Uint8Array(data) : data.toString()) as Record<string, any>[]) {
          const channel = message['subscribe']?.channel as string | undefined;
          const reply = (body: unknown) => socket.send(served.encode(body).data);
          if (message['connect']) reply(CONNECTED);
          else if (channel) {
            reply({ id: message['id'], subscribed: { channel, class: 'strict', stream: '1.g.1.0', epoch: 1, offset: 4 } });
            reply({ events: { channel, stream: '1.g.1.0', epoch: 1, events: [{ offset: 9, prev: 4, time: 1, id: 'a', text: 'hé' }] } });
            socket.close(4046, 'taken_over');
          }
        }
      });
    });
    const client = new MeridianClient({ url: `http://127.0.0.1:${port}`, codec, WebSocket: WebSocket as unknown as WebSocketConstructor, transport: 'websocket' });
    const stopped = new Promise<MeridianError>((resolve) => client.on('stopped', resolve));
    const got: unknown[] = [];
    client.subscribe('a:b', { onEvent: (e) => void got.push([e.data, e.cursor]) });
    client.connect();
    assert.equal((await stopped).code, 'taken_over');
    assert.deepEqual(got, [['hé', '1.g.1.0.9']]);
    client.close();
    await new Promise((resolve) => server.close(resolve));
  });
}

/** A WebTransport session whose other end is the test. */
class FakeWebTransport {
  static last: FakeWebTransport;
  readonly ready = Promise.resolve();
  readonly closed: Promise<{ closeCode?: number; reason?: string }>;
  readonly datagrams = { incomingHighWaterMark: 1 };
  readonly incomingUnidirectionalStreams: ReadableStream<ReadableStream<Uint8Array>>;
  readonly written: Uint8Array[] = [];
  closeInfo: unknown;
  lanes!: ReadableStreamDefaultController<ReadableStream<Uint8Array>>;
  first!: ReadableStreamDefaultController<Uint8Array>;
  end!: (info: { closeCode?: number; reason?: string }) => void;

  constructor(readonly url: string, readonly options: { serverCertificateHashes?: { value: Uint8Array }[] } = {}) {
    FakeWebTransport.last = this;
    this.closed = new Promise((resolve) => (this.end = resolve));
    this.incomingUnidirectionalStreams = new ReadableStream({ start: (controller) => void (this.lanes = controller) });
  }

  createBidirectionalStream() {
    const readable = new ReadableStream<Uint8Array>({ start: (controller) => void (this.first = controller) });
    const writable = new WritableStream<Uint8Array>({ write: (chunk) => void this.written.push(chunk) });
    return Promise.resolve({ readable, writable });
  }

  close(info: unknown) {
    this.closeInfo = info;
  }

  lane() {
    let push!: ReadableStreamDefaultController<Uint8Array>;
    this.lanes.enqueue(new ReadableStream({ start: (controller) => void (push = controller) }));
    return push;
  }
}

function link() {
  const told: unknown[] = [];
  const hash = '00'.repeat(32);
  const dial = dialWebTransport({ constructor: FakeWebTransport as unknown as typeof WebTransport, certificateHashes: [hash] });
  const it = dial({ url: 'https://a.test/v1/wt?codec=json', codec: 'json' }, {
    opened: () => told.push('opened'),
    frame: (frame, lane) => told.push([lane, frame]),
    laneEnded: (lane) => told.push(['ended', lane]),
    closed: (error) => told.push(['closed', error.code]),
  });
  return { told, it, far: FakeWebTransport.last };
}

const bytes = (text: string) => prefixed(new TextEncoder().encode(text));

test('WebTransport: frames on the first stream and on lanes, cut anywhere', async () => {
  const { told, it, far } = link();
  await settle();
  assert.equal(far.datagrams.incomingHighWaterMark, 64);
  assert.equal(far.options.serverCertificateHashes?.[0]?.value.length, 32);
  it.send('{"a":1}');
  const [one, two] = [far.lane(), far.lane()];
  await settle();
  const frame = bytes('{"b":"é"}');
  two.enqueue(frame.subarray(0, 8));
  one.enqueue(bytes('1'));
  far.first.enqueue(bytes('2'));
  await settle();
  two.enqueue(frame.subarray(8));
  await settle();
  one.close();
  two.error(new Error('reset'));
  await settle();
  assert.deepEqual(told, ['opened', [1, '1'], [0, '2'], [2, '{"b":"é"}'], ['ended', 1], ['ended', 2]]);
  assert.deepEqual(new FrameReader().push(far.written[0] as Uint8Array), [new TextEncoder().encode('{"a":1}')]);
});

test('WebTransport: the close code is told once, and nothing after it', async () => {
  const { told, far } = link();
  await settle();
  far.end({ closeCode: 4046, reason: 'taken_over' });
  await settle();
  far.first.enqueue(bytes('2'));
  await settle();
  assert.deepEqual(told, ['opened', ['closed', 'taken_over']]);
});

test('WebTransport: bytes that are no frames close the session with a code', async () => {
  const { told, far } = link();
  await settle();
  far.lane().enqueue(new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
  await settle();
  assert.deepEqual(told, ['opened', ['closed', 'bad_frame']]);
  assert.deepEqual(far.closeInfo, { closeCode: 4001, reason: 'malformed' });
});

test('WebTransport: closing from our side tells nothing', async () => {
  const { told, it, far } = link();
  await settle();
  it.close(4000, 'requested');
  far.end({});
  it.send('late');
  await settle();
  assert.deepEqual(told, ['opened']);
  assert.equal(far.written.length, 0);
});

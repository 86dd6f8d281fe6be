// Owns what a network may do to a session's streams: hands them, and their chunks, to the page in
// another order than they came in. Within one stream the order stays. Knows nothing of what they carry.

/** Runs in the page, before a client is made; everything that it needs is inside. Counts in `window.reordered`. */
export function reorder(seed) {
  const told = { streams: 0, streamsOvertaken: 0, chunks: 0, chunksOvertaken: 0 };
  window.reordered = told;
  const random = generator(seed);
  /** Of each stream, and of what lists the streams: what waits to be handed over, and until when. */
  const queues = [];
  let arrivals = 0;
  let steps = 0;
  let pending = false;

  window.WebTransport = class extends window.WebTransport {
    #lanes = null;

    get incomingUnidirectionalStreams() {
      this.#lanes ??= shuffled(super.incomingUnidirectionalStreams);
      return this.#lanes;
    }

    async createBidirectionalStream(options) {
      const { readable, writable } = await super.createBidirectionalStream(options);
      return { readable: delayed(readable), writable };
    }
  };

  /** Streams in any order; the first never comes first, so it waits for a second. */
  function shuffled(streams) {
    const held = [];
    let arrived = 0;
    let gone = 0;
    const handOver = (controller) => {
      const least = gone === 0 ? 1 : 0;
      const index = least + Math.floor(random() * (held.length - least));
      gone += 1;
      told.streams += 1;
      if (index > 0) told.streamsOvertaken += 1;
      controller.enqueue(held.splice(index, 1)[0]);
    };
    return rewritten(streams, (stream, { queue, controller }) => {
      held.push(delayed(stream));
      arrived += 1;
      if (arrived === 2) put(queue, () => handOver(controller));
      if (arrived > 1) put(queue, () => handOver(controller));
    });
  }

  function delayed(stream) {
    return rewritten(stream, (chunk, { queue, controller }) => {
      for (const part of cut(chunk)) {
        put(queue, () => {
          told.chunks += 1;
          controller.enqueue(part);
        });
      }
    });
  }

  function rewritten(source, take) {
    const reader = source.getReader();
    const out = { queue: { waiting: [], until: 0 }, controller: null };
    queues.push(out.queue);
    const read = async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return put(out.queue, () => out.controller.close());
        take(value, out);
      }
    };
    const result = new ReadableStream({
      start: (controller) => void (out.controller = controller),
      cancel: (reason) => reader.cancel(reason),
    });
    read().catch((error) => put(out.queue, () => out.controller.error(error)));
    return result;
  }

  /** A frame may come in pieces, and be cut anywhere. */
  function cut(chunk) {
    if (chunk.length < 2 || random() < 0.5) return [chunk];
    const at = 1 + Math.floor(random() * (chunk.length - 1));
    return [chunk.slice(0, at), chunk.slice(at)];
  }

  function put(queue, handOver) {
    arrivals += 1;
    queue.waiting.push({ handOver, arrival: arrivals });
    plan();
  }

  function plan() {
    if (pending) return;
    pending = true;
    setTimeout(step, random() * 5);
  }

  /** Hands a few of what waits over, each of any stream that is awake, and puts some streams to sleep. */
  function step() {
    pending = false;
    steps += 1;
    for (let some = 1 + Math.floor(random() * 6); some > 0; some -= 1) {
      const awake = queues.filter(({ waiting, until }) => waiting.length > 0 && until <= steps);
      if (awake.length > 0) handOverFrom(awake[Math.floor(random() * awake.length)]);
    }
    if (queues.some(({ waiting }) => waiting.length > 0)) plan();
  }

  function handOverFrom(queue) {
    const { handOver, arrival } = queue.waiting.shift();
    if (queues.some(({ waiting }) => waiting[0]?.arrival < arrival)) told.chunksOvertaken += 1;
    if (random() < 0.25) queue.until = steps + Math.floor(random() * 30);
    try {
      handOver();
    } catch {
      // Nobody reads this stream any more.
    }
  }

  /** Mulberry32: good enough, and the same everywhere. */
  function generator(state) {
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), state | 1);
      mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
    };
  }
}

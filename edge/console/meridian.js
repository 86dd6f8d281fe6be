// Built from sdk/js by `npm run bundle`; edit the sources, not this file.

// src/backoff.ts
function backoffMs(policy, attempt, random) {
  const exponent = Math.min(Math.max(attempt, 0), 30);
  const ceiling = Math.min(policy.capMs, policy.baseMs * 2 ** exponent);
  return Math.round(ceiling * (0.5 + 0.5 * random()));
}
function jitterMs(spreadMs, random) {
  return Math.floor(Math.max(0, spreadMs) * random());
}

// src/clock.ts
function systemClock() {
  let last = 0;
  let shift = 0;
  return {
    now() {
      const raw = Date.now();
      if (raw + shift < last) shift = last - raw;
      last = raw + shift;
      return last;
    },
    setTimeout: (run, ms) => globalThis.setTimeout(run, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: () => Math.random()
  };
}
var LARGEST_STEP_MS = 2e3;
var LATE_MS = 5e3;
var WakingTime = class {
  #awake = 0;
  #seen;
  constructor(now) {
    this.#seen = now;
  }
  /** Records a tick; answers whether it came much later than ticks do. */
  tick(now) {
    const late = this.late(now);
    this.#awake = this.at(now);
    this.#seen = now;
    return { awake: this.#awake, late };
  }
  /** Whether a tick is long overdue at `now`. */
  late(now) {
    return now - this.#seen > LATE_MS;
  }
  /** Waking time at `now`. */
  at(now) {
    return this.#awake + Math.min(Math.max(0, now - this.#seen), LARGEST_STEP_MS);
  }
};
var LARGEST_TIMEOUT_MS = 1e9;
var Alarm = class {
  #clock;
  #ring;
  #timer = null;
  #at = Infinity;
  constructor(clock, ring) {
    this.#clock = clock;
    this.#ring = ring;
  }
  /** Rings at `at` or earlier; `null` asks for nothing. */
  by(at) {
    if (at === null || at >= this.#at) return;
    this.clear();
    this.#at = at;
    const wait = Math.min(Math.max(0, at - this.#clock.now()), LARGEST_TIMEOUT_MS);
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      this.#at = Infinity;
      this.#ring();
    }, wait);
  }
  clear() {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#at = Infinity;
  }
};

// src/errors.ts
var ACTIONS = ["stop", "refresh", "resume", "reconnect", "retry"];
var CODES = {
  requested: [4e3, "stop"],
  malformed: [4001, "stop"],
  frame_too_large: [4002, "stop"],
  bad_request: [4003, "stop"],
  unsupported: [4004, "stop"],
  not_connected: [4005, "stop"],
  already_connected: [4006, "stop"],
  connect_timeout: [4007, "reconnect"],
  heartbeat_timeout: [4008, "reconnect"],
  unauthenticated: [4010, "refresh"],
  token_expired: [4011, "refresh"],
  wrong_identity: [4012, "stop"],
  forbidden: [4013, "stop"],
  origin_forbidden: [4014, "stop"],
  authoriser_unavailable: [4015, "retry"],
  token_revoked: [4016, "refresh"],
  quota_exceeded: [4017, "reconnect"],
  bad_channel: [4020, "stop"],
  already_subscribed: [4021, "stop"],
  not_subscribed: [4022, "stop"],
  too_many_channels: [4023, "stop"],
  bad_cursor: [4024, "stop"],
  foreign_cursor: [4025, "stop"],
  cursor_beyond_end: [4026, "stop"],
  ack_ahead: [4027, "stop"],
  no_subscriber: [4028, "stop"],
  event_too_large: [4030, "stop"],
  bad_payload: [4031, "stop"],
  batch_too_large: [4032, "stop"],
  horizon_passed: [4033, "stop"],
  not_stored: [4034, "retry"],
  outcome_unknown: [4035, "retry"],
  overloaded: [4036, "retry"],
  log_unavailable: [4037, "retry"],
  log_halted: [4038, "stop"],
  read_only: [4039, "stop"],
  not_yet: [4040, "retry"],
  unavailable: [4041, "retry"],
  rate_limited: [4042, "retry"],
  too_many_sessions: [4043, "reconnect"],
  lane_stopped: [4044, "resume"],
  slow_reader: [4045, "reconnect"],
  taken_over: [4046, "stop"],
  wrong_region: [4047, "stop"],
  draining: [4050, "reconnect"],
  not_found: [4051, "stop"],
  method_not_allowed: [4052, "stop"],
  internal: [4060, "reconnect"]
};
var MeridianError = class extends Error {
  name = "MeridianError";
  code;
  action;
  retryAfterMs;
  limit;
  applied;
  elsewhere;
  channel;
  constructor(code, action2, message, details = {}) {
    super(message, details.cause === void 0 ? void 0 : { cause: details.cause });
    this.code = code;
    this.action = action2;
    this.retryAfterMs = details.retryAfterMs;
    this.limit = details.limit;
    this.applied = details.applied;
    this.elsewhere = details.elsewhere ?? [];
    this.channel = details.channel;
  }
};
function actionOf(code, fallback) {
  return Object.hasOwn(CODES, code) ? CODES[code]?.[1] ?? fallback : fallback;
}
function isAction(value) {
  return typeof value === "string" && ACTIONS.includes(value);
}
function badFrame(message) {
  return new MeridianError("bad_frame", "reconnect", message);
}
function closeError(code, reason) {
  if (code !== void 0 && code >= 4e3 && code <= 4999) {
    const known = Object.entries(CODES).find(([, row]) => row[0] === code)?.[0];
    const name = known ?? (reason === "" ? `close_${code}` : reason);
    return new MeridianError(name, actionOf(name, "reconnect"), `the server closed: ${name}`);
  }
  const detail = code === void 0 ? "" : ` (${code}${reason === "" ? "" : ` ${reason}`})`;
  return new MeridianError("connection_lost", "reconnect", `the connection was lost${detail}`);
}
function isTransportFailure(error) {
  return error.code === "connection_lost" || error.code === "connect_failed";
}
function asMeridianError(thrown, code, action2, message) {
  return thrown instanceof MeridianError ? thrown : new MeridianError(code, action2, message, { cause: thrown });
}

// src/calls.ts
var CALL_RETRY = { baseMs: 500, capMs: 3e4 };
var ANSWER_MS = 3e4;
var MAX_REFRESHES = 3;
var Calls = class {
  #port;
  #entries = /* @__PURE__ */ new Set();
  #alarm;
  #shut = null;
  constructor(port) {
    this.#port = port;
    this.#alarm = new Alarm(port.clock, () => this.#sendDue());
  }
  add(call) {
    if (this.#shut) return call.failed(this.#shut);
    const deadline = call.timeoutMs === void 0 ? Infinity : this.#port.awake() + call.timeoutMs;
    const entry = { call, deadline, sentOn: null, sends: 0, sentAt: 0, retryAt: 0, attempts: 0, refreshes: 0 };
    this.#entries.add(entry);
    this.#send(entry);
  }
  /** Sends everything that is not under way on a session that still lives. */
  up() {
    for (const entry of [...this.#entries]) this.#send(entry);
  }
  down(session) {
    for (const entry of this.#entries) {
      if (entry.sentOn === session) entry.sentOn = null;
    }
    this.#sendDue();
  }
  tick(awake) {
    for (const entry of [...this.#entries]) {
      if (awake >= entry.deadline) {
        this.#giveUp(entry, new MeridianError("timeout", "retry", "the command was not answered in time"));
      } else if (entry.sentOn && entry.sentOn.queued > 0) {
        entry.sentAt = awake;
      } else if (entry.sentOn && awake - entry.sentAt >= ANSWER_MS) {
        entry.sentOn = null;
        this.#send(entry);
      }
    }
  }
  /** Takes calls again after `fail`. */
  open() {
    this.#shut = null;
  }
  /** Gives everything up, and what comes later as well. */
  fail(error) {
    this.#shut = error;
    this.#alarm.clear();
    for (const entry of [...this.#entries]) this.#giveUp(entry, error);
  }
  #sendDue() {
    for (const entry of [...this.#entries]) this.#send(entry);
  }
  #send(entry) {
    const session = this.#port.session();
    if (!session || session.over || entry.sentOn || !this.#entries.has(entry)) return;
    const now = this.#port.clock.now();
    if (now < entry.retryAt) return this.#alarm.by(entry.retryAt);
    try {
      const body = entry.call.body(session, now);
      entry.sentOn = session;
      entry.sentAt = this.#port.awake();
      const send = ++entry.sends;
      const current = () => entry.sends === send && entry.sentOn === session && this.#entries.has(entry);
      session.command(body, {
        reply: (message) => {
          if (current()) this.#answered(entry, message);
        },
        failed: (error) => {
          if (current()) this.#refused(entry, error);
        },
        lost: () => void 0
      });
    } catch (error) {
      this.#giveUp(entry, asMeridianError(error, "bad_argument", "stop", "the command cannot be encoded"));
    }
  }
  #answered(entry, message) {
    let again;
    try {
      again = entry.call.answered(message);
    } catch (error) {
      return this.#giveUp(entry, asMeridianError(error, "bad_frame", "stop", "the answer cannot be read"));
    }
    if (again === "done") this.#entries.delete(entry);
    else this.#later(entry, again);
  }
  #refused(entry, error) {
    if (error.action === "stop") return this.#giveUp(entry, error);
    if (error.action === "refresh") {
      entry.refreshes += 1;
      if (entry.refreshes > MAX_REFRESHES) return this.#giveUp(entry, error);
      this.#port.renewToken();
    }
    this.#later(entry, error.retryAfterMs ?? 0);
    if (error.action === "reconnect") this.#port.reconnect(error);
  }
  #later(entry, atLeastMs) {
    const { clock } = this.#port;
    const wait = Math.max(atLeastMs, backoffMs(CALL_RETRY, entry.attempts, () => clock.random()));
    entry.attempts += 1;
    entry.sentOn = null;
    entry.retryAt = clock.now() + wait;
    this.#send(entry);
  }
  #giveUp(entry, error) {
    if (this.#entries.delete(entry)) entry.call.failed(error);
  }
};

// src/codec/base64.ts
function toBase64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 8192) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(binary);
}
function fromBase64(text3) {
  let binary;
  try {
    binary = atob(text3);
  } catch {
    throw badFrame("not valid base64");
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
function digestBytes(text3) {
  const hex = text3.replaceAll(":", "");
  if (/^[0-9a-f]{64}$/i.test(hex)) {
    return Uint8Array.from({ length: 32 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  }
  return fromBase64(text3.replaceAll("-", "+").replaceAll("_", "/"));
}

// src/codec/json.ts
var encoder = new TextEncoder();
var decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
var jsonCodec = {
  name: "json",
  encode(message) {
    const text3 = JSON.stringify(message);
    return { data: text3, bytes: encoder.encode(text3).length };
  },
  join(messages) {
    const first = messages[0];
    if (messages.length === 1 && first) return first.data;
    return `[${messages.map((message) => message.data).join(",")}]`;
  },
  decode(frame) {
    let value;
    try {
      value = JSON.parse(typeof frame === "string" ? frame : decoder.decode(frame));
    } catch {
      throw badFrame("not valid JSON");
    }
    return Array.isArray(value) ? value : [value];
  },
  payload(payload, contentType) {
    const type = contentType === void 0 ? {} : { content_type: contentType };
    switch (payload.type) {
      case "none":
        return type;
      case "json":
        return { ...type, data: JSON.parse(payload.text) };
      case "text":
        return { ...type, text: payload.text };
      case "bin":
        return { ...type, bin: toBase64(payload.bytes) };
    }
  }
};

// src/codec/msgpack-writer.ts
var encoder2 = new TextEncoder();
var MsgpackWriter = class {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  finish() {
    return this.#bytes.slice(0, this.#at);
  }
  value(value) {
    if (value === null || value === void 0) this.#byte(192);
    else if (typeof value === "boolean") this.#byte(value ? 195 : 194);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "string") this.#string(value);
    else if (value instanceof Uint8Array) this.#binary(value);
    else if (Array.isArray(value)) {
      this.arrayHeader(value.length);
      for (const item of value) this.value(item);
    } else if (typeof value === "object") this.#map(value);
    else throw new TypeError(`cannot encode a ${typeof value}`);
  }
  arrayHeader(length) {
    if (length < 16) this.#byte(144 | length);
    else this.#sized(length, null, 220, 221);
  }
  raw(bytes) {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }
  #map(value) {
    const entries = Object.entries(value).filter(([, member]) => member !== void 0);
    if (entries.length < 16) this.#byte(128 | entries.length);
    else this.#sized(entries.length, null, 222, 223);
    for (const [key, member] of entries) {
      this.#string(key);
      this.value(member);
    }
  }
  #string(value) {
    const bytes = encoder2.encode(value);
    if (bytes.length < 32) this.#byte(160 | bytes.length);
    else this.#sized(bytes.length, 217, 218, 219);
    this.raw(bytes);
  }
  #binary(bytes) {
    this.#sized(bytes.length, 196, 197, 198);
    this.raw(bytes);
  }
  #number(value) {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#byte(203);
      this.#room(8);
      this.#view.setFloat64(this.#at, value);
      this.#at += 8;
    } else if (value >= 0) this.#unsigned(value);
    else this.#negative(value);
  }
  #unsigned(value) {
    if (value < 128) this.#byte(value);
    else if (value < 2 ** 32) this.#sized(value, 204, 205, 206);
    else this.#wide(207, BigInt(value));
  }
  #negative(value) {
    if (value >= -32) this.#byte(256 + value);
    else if (value >= -(2 ** 31)) {
      this.#byte(210);
      this.#room(4);
      this.#view.setInt32(this.#at, value);
      this.#at += 4;
    } else this.#wide(211, BigInt(value));
  }
  #wide(tag, value) {
    this.#byte(tag);
    this.#room(8);
    this.#view.setBigInt64(this.#at, value);
    this.#at += 8;
  }
  #sized(size, tag8, tag16, tag32) {
    if (tag8 !== null && size < 256) {
      this.#byte(tag8);
      this.#byte(size);
    } else if (size < 65536) {
      this.#byte(tag16);
      this.#room(2);
      this.#view.setUint16(this.#at, size);
      this.#at += 2;
    } else {
      this.#byte(tag32);
      this.#room(4);
      this.#view.setUint32(this.#at, size);
      this.#at += 4;
    }
  }
  #byte(value) {
    this.#room(1);
    this.#bytes[this.#at++] = value;
  }
  #room(more) {
    if (this.#at + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + more));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
};

// src/codec/msgpack-reader.ts
var MAX_DEPTH = 192;
var decoder2 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
var MsgpackReader = class {
  #bytes;
  #view;
  #at = 0;
  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  get atEnd() {
    return this.#at === this.#bytes.length;
  }
  value(depth) {
    if (depth > MAX_DEPTH) throw badFrame("nested too deep");
    const tag = this.#uint(1);
    if (tag < 128) return tag;
    if (tag < 144) return this.#map(tag & 15, depth);
    if (tag < 160) return this.#array(tag & 15, depth);
    if (tag < 192) return this.#string(tag & 31);
    if (tag >= 224) return tag - 256;
    if (tag >= 217) return this.#sized(tag, depth);
    return this.#scalar(tag);
  }
  #scalar(tag) {
    switch (tag) {
      case 192:
        return null;
      case 194:
        return false;
      case 195:
        return true;
      case 196:
        return this.#take(this.#uint(1)).slice();
      case 197:
        return this.#take(this.#uint(2)).slice();
      case 198:
        return this.#take(this.#uint(4)).slice();
      case 202:
        return this.#view.getFloat32(this.#advance(4));
      case 203:
        return this.#view.getFloat64(this.#advance(8));
      case 204:
        return this.#uint(1);
      case 205:
        return this.#uint(2);
      case 206:
        return this.#uint(4);
      case 207:
        return Number(this.#view.getBigUint64(this.#advance(8)));
      case 208:
        return this.#view.getInt8(this.#advance(1));
      case 209:
        return this.#view.getInt16(this.#advance(2));
      case 210:
        return this.#view.getInt32(this.#advance(4));
      case 211:
        return Number(this.#view.getBigInt64(this.#advance(8)));
      default:
        throw badFrame(`MessagePack type 0x${tag.toString(16)} is not part of the protocol`);
    }
  }
  #sized(tag, depth) {
    switch (tag) {
      case 217:
        return this.#string(this.#uint(1));
      case 218:
        return this.#string(this.#uint(2));
      case 219:
        return this.#string(this.#uint(4));
      case 220:
        return this.#array(this.#uint(2), depth);
      case 221:
        return this.#array(this.#uint(4), depth);
      case 222:
        return this.#map(this.#uint(2), depth);
      default:
        return this.#map(this.#uint(4), depth);
    }
  }
  #array(length, depth) {
    this.#holds(length);
    const out = [];
    for (let i = 0; i < length; i++) out.push(this.value(depth + 1));
    return out;
  }
  #map(length, depth) {
    this.#holds(2 * length);
    const out = {};
    for (let i = 0; i < length; i++) {
      const key = this.value(depth + 1);
      if (typeof key !== "string") throw badFrame("a map key that is no string");
      const value = this.value(depth + 1);
      if (key === "__proto__") Object.defineProperty(out, key, { value, enumerable: true, configurable: true, writable: true });
      else out[key] = value;
    }
    return out;
  }
  #string(length) {
    try {
      return decoder2.decode(this.#take(length));
    } catch (error) {
      throw error instanceof TypeError ? badFrame("a string that is not UTF-8") : error;
    }
  }
  #uint(size) {
    const at = this.#advance(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }
  #take(length) {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }
  #holds(values) {
    if (values > this.#bytes.length - this.#at) throw badFrame("a length beyond the frame");
  }
  #advance(length) {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw badFrame("a value cut short");
    this.#at = at + length;
    return at;
  }
};

// src/codec/msgpack.ts
var encoder3 = new TextEncoder();
var msgpackCodec = {
  name: "msgpack",
  encode(message) {
    const data = encodeMsgpack(message);
    return { data, bytes: data.length };
  },
  join(messages) {
    const first = messages[0];
    if (messages.length === 1 && first) return first.data;
    const writer = new MsgpackWriter();
    writer.arrayHeader(messages.length);
    for (const message of messages) writer.raw(message.data);
    return writer.finish();
  },
  decode(frame) {
    if (typeof frame === "string") throw badFrame("text where MessagePack was agreed");
    const value = decodeMsgpack(frame);
    return Array.isArray(value) ? value : [value];
  },
  payload(payload, contentType) {
    const of = (fallback, data) => {
      const type = contentType ?? fallback;
      return type === void 0 ? { data } : { content_type: type, data };
    };
    switch (payload.type) {
      case "none":
        return contentType === void 0 ? {} : { content_type: contentType };
      case "json":
        return of(void 0, encoder3.encode(payload.text));
      case "text":
        return of("text/plain", encoder3.encode(payload.text));
      case "bin":
        return of("application/octet-stream", payload.bytes);
    }
  }
};
function encodeMsgpack(value) {
  const writer = new MsgpackWriter();
  writer.value(value);
  return writer.finish();
}
function decodeMsgpack(bytes) {
  const reader = new MsgpackReader(bytes);
  const value = reader.value(0);
  if (!reader.atEnd) throw badFrame("bytes after the value");
  return value;
}

// src/types.ts
var TRANSPORTS = ["webtransport", "websocket", "sse", "longpoll"];

// src/transport/memory.ts
var PREFIX = "meridian.transport:";
var TransportMemory = class {
  #storage;
  #key;
  constructor(storage, gateway) {
    this.#storage = storage;
    this.#key = PREFIX + gateway;
  }
  /** What worked last, unless that was too long ago to rely on. */
  recall(now) {
    try {
      const [name, until] = (this.#storage.getItem(this.#key) ?? "").split(" ");
      const transport = TRANSPORTS.find((known) => known === name);
      return transport !== void 0 && Number(until) > now ? transport : null;
    } catch {
      return null;
    }
  }
  remember(transport, until) {
    try {
      this.#storage.setItem(this.#key, `${transport} ${until}`);
    } catch {
    }
  }
  forget() {
    try {
      this.#storage.removeItem(this.#key);
    } catch {
    }
  }
};
function memoryStorage() {
  const values = /* @__PURE__ */ new Map();
  return {
    getItem: (key) => values.get(key) ?? null,
    setItem: (key, value) => void values.set(key, value),
    removeItem: (key) => void values.delete(key)
  };
}
function defaultStorage() {
  try {
    const storage = globalThis.localStorage;
    if (storage && typeof storage.getItem === "function") return storage;
  } catch {
  }
  return memoryStorage();
}

// src/cursors.ts
function localStorageCursors(prefix = "meridian.cursor:", storage = defaultStorage()) {
  return {
    load: (channel) => storage.getItem(prefix + channel),
    save: (channel, cursor) => storage.setItem(prefix + channel, cursor)
  };
}
function memoryCursors() {
  const cursors = /* @__PURE__ */ new Map();
  return {
    load: (channel) => cursors.get(channel),
    save: (channel, cursor) => void cursors.set(channel, cursor)
  };
}
var CursorSaver = class {
  #channel;
  #store;
  #clock;
  #intervalMs;
  #fault;
  #pending = null;
  #timer = null;
  #saved = null;
  constructor(channel, store, clock, intervalMs, fault) {
    this.#channel = channel;
    this.#store = store;
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#fault = fault;
  }
  note(cursor) {
    if (cursor === this.#saved) return;
    this.#pending = cursor;
    if (this.#timer !== null) return;
    this.#write();
    this.#pause();
  }
  /** Writes what waits, now. */
  flush() {
    if (this.#timer !== null) this.#clock.clearTimeout(this.#timer);
    this.#timer = null;
    this.#write();
  }
  /** Until the interval is over, what is noted waits. */
  #pause() {
    this.#timer = this.#clock.setTimeout(() => {
      this.#timer = null;
      if (this.#pending === null) return;
      this.#write();
      this.#pause();
    }, this.#intervalMs);
  }
  #write() {
    const cursor = this.#pending;
    this.#pending = null;
    if (cursor === null) return;
    this.#saved = cursor;
    const failed = (error) => this.#fault(asMeridianError(error, "cursor_not_saved", "retry", `the cursor of ${this.#channel} was not saved`));
    try {
      void Promise.resolve(this.#store.save(this.#channel, cursor)).catch(failed);
    } catch (error) {
      failed(error);
    }
  }
};

// src/emitter.ts
var Emitter = class {
  #listeners = /* @__PURE__ */ new Map();
  /** Listens until the answered function is called. */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? /* @__PURE__ */ new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }
  emit(name, payload) {
    for (const listener of [...this.#listeners.get(name) ?? []]) {
      try {
        listener(payload);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
};

// src/liveness.ts
var Liveness = class {
  #policy;
  #heardAt;
  #askedAt = null;
  constructor(policy, awake) {
    this.#policy = policy;
    this.#heardAt = awake;
  }
  heard(awake) {
    this.#heardAt = awake;
    this.#askedAt = null;
  }
  /** `doubt` is a reason to ask now: a late tick, a page that came back, a network that returned. */
  check(awake, doubt) {
    if (this.#askedAt !== null && awake - this.#askedAt >= this.#policy.answerMs) return "dead";
    const silent = awake - this.#heardAt >= this.#policy.heartbeatMs + this.#policy.graceMs;
    if (!doubt && (!silent || this.#askedAt !== null)) return "alive";
    this.#askedAt ??= awake;
    return "ask";
  }
};

// src/codec/codec.ts
var JOIN_OVERHEAD_BYTES = 5;

// src/outbox.ts
var SHARE = 0.9;
var UNSTATED_BURST_S = 0.5;
var Outbox = class {
  #codec;
  #limits;
  #perMs;
  #burst;
  #queue = [];
  #tokens;
  #filledAt;
  constructor(codec, limits2, now) {
    this.#codec = codec;
    this.#limits = limits2;
    this.#perMs = limits2.commandsPerS * SHARE / 1e3;
    const { commandsBurst: stated } = limits2;
    const burst = stated === void 0 ? limits2.commandsPerS * UNSTATED_BURST_S : stated * SHARE;
    this.#burst = Math.max(1, Math.floor(burst));
    this.#tokens = this.#burst;
    this.#filledAt = now;
  }
  get size() {
    return this.#queue.length;
  }
  /** Whether a command of `bytes` can ever be sent. */
  fits(bytes) {
    return bytes + JOIN_OVERHEAD_BYTES <= this.#limits.frameBytes;
  }
  push(command) {
    this.#queue.push(command);
  }
  /** The frames that may go out at `now`. */
  take(now) {
    this.#fill(now);
    const frames = [];
    while (this.#queue.length > 0 && this.#tokens >= 1) frames.push(this.#frame());
    return frames;
  }
  /** When the next command may go out; `null` if none waits. */
  nextAt(now) {
    if (this.#queue.length === 0) return null;
    this.#fill(now);
    if (this.#tokens >= 1) return now;
    const few = Math.min(this.#queue.length, this.#burst, 16);
    return now + Math.ceil((few - this.#tokens) / this.#perMs);
  }
  #frame() {
    const most = Math.floor(this.#tokens);
    let bytes = JOIN_OVERHEAD_BYTES;
    let count = 0;
    for (const command of this.#queue) {
      bytes += command.bytes + 1;
      if (count > 0 && (count >= most || bytes > this.#limits.frameBytes)) break;
      count += 1;
    }
    this.#tokens -= count;
    return this.#codec.join(this.#queue.splice(0, count));
  }
  #fill(now) {
    this.#tokens = Math.min(this.#burst, this.#tokens + Math.max(0, now - this.#filledAt) * this.#perMs);
    this.#filledAt = now;
  }
};

// src/wire-read.ts
function members(value, what) {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw badFrame(`${what} is no object`);
  }
  return value;
}
function text(body, name) {
  const value = body[name];
  if (typeof value !== "string") throw badFrame(`${name} is no string`);
  return value;
}
function maybeText(body, name) {
  return body[name] === void 0 || body[name] === null ? void 0 : text(body, name);
}
function number(body, name) {
  const value = body[name];
  if (!Number.isSafeInteger(value)) throw badFrame(`${name} is no whole number`);
  return value;
}
function maybeNumber(body, name) {
  return body[name] === void 0 || body[name] === null ? void 0 : number(body, name);
}
function list(body, name) {
  const value = body[name];
  if (!Array.isArray(value)) throw badFrame(`${name} is no array`);
  return value;
}

// src/wire-event.ts
var encoder4 = new TextEncoder();
var strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
var lenient = new TextDecoder("utf-8", { ignoreBOM: true });
function readEvents(value) {
  if (!Array.isArray(value)) throw badFrame("events is no array");
  return value.map(readEvent);
}
function readEvent(value) {
  const body = members(value, "event");
  const contentType = maybeText(body, "content_type") ?? defaultType(body);
  return {
    offset: maybeNumber(body, "offset"),
    prev: readPrev(body["prev"]),
    time: maybeNumber(body, "time") ?? 0,
    id: maybeText(body, "id"),
    key: maybeText(body, "key"),
    kind: readKind(body["kind"]),
    headers: readHeaders(body["headers"]),
    contentType,
    publisher: maybeText(body, "publisher"),
    evicts: body["evicts"] === void 0 ? [] : list(body, "evicts").filter((key) => typeof key === "string"),
    data: readPayload(body, contentType)
  };
}
function toEvent(channel, stream, epoch, event) {
  const { offset } = event;
  return {
    channel,
    data: event.data,
    cursor: stream === void 0 || offset === void 0 ? void 0 : `${stream}.${offset}`,
    offset,
    epoch,
    time: event.time,
    id: event.id,
    key: event.key,
    kind: event.kind,
    headers: event.headers,
    contentType: event.contentType,
    publisher: event.publisher,
    evicts: event.evicts
  };
}
function readPrev(value) {
  if (value === null) return null;
  if (Number.isSafeInteger(value)) return value;
  if (Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger)) {
    return [value[0], value[1]];
  }
  return "unknown";
}
function readKind(value) {
  if (value === void 0 || value === null || value === "publish") return "publish";
  return value === "remove" ? "remove" : "unreadable";
}
function readHeaders(value) {
  if (value === void 0 || value === null) return {};
  const headers = Object.entries(members(value, "headers"));
  return Object.fromEntries(headers.filter((header) => typeof header[1] === "string"));
}
function defaultType(body) {
  if (body["text"] !== void 0) return "text/plain";
  return body["bin"] === void 0 ? "application/json" : "application/octet-stream";
}
function readPayload(body, contentType) {
  const { data } = body;
  if (data instanceof Uint8Array) return ofBytes(data, contentType);
  if (data !== void 0) return data;
  if (body["text"] !== void 0) {
    const text3 = text(body, "text");
    return contentType.startsWith("text/") ? text3 : encoder4.encode(text3);
  }
  return body["bin"] === void 0 ? void 0 : ofBytes(fromBase64(text(body, "bin")), contentType);
}
function ofBytes(bytes, contentType) {
  if (contentType.startsWith("text/")) return lenient.decode(bytes);
  if (contentType !== "application/json") return bytes;
  if (bytes.length === 0) return void 0;
  try {
    return JSON.parse(strict.decode(bytes));
  } catch {
    return bytes;
  }
}

// src/modes.ts
var ALL_NORMAL = { mode: "normal", namespaces: {} };
function modeNamed(name) {
  return name === "normal" || name === "polling-only" || name === "read-only" ? name : "degraded";
}
function modeOf(modes2, channel) {
  const [namespace] = channel.split(":", 1);
  return Object.hasOwn(modes2.namespaces, namespace) ? modes2.namespaces[namespace] : modes2.mode;
}
function leavesConnection(modes2, channels) {
  if (channels.length === 0) return modes2.mode === "polling-only";
  return channels.every((channel) => modeOf(modes2, channel) === "polling-only");
}
function sameModes(a, b) {
  const names = Object.keys(a.namespaces);
  return a.mode === b.mode && names.length === Object.keys(b.namespaces).length && names.every((name) => a.namespaces[name] === b.namespaces[name]);
}

// src/wire.ts
var READERS = {
  connected: (body, id) => ({ type: "connected", id, info: sessionInfo(body) }),
  subscribed: (body, id) => ({
    type: "subscribed",
    id,
    channel: text(body, "channel"),
    class: maybeText(body, "class") ?? "strict",
    place: maybePlace(body),
    behind: maybeText(body, "behind")
  }),
  unsubscribed: (body, id) => ({
    type: "unsubscribed",
    id,
    channel: text(body, "channel"),
    code: text(body, "code"),
    action: action(body, "resume")
  }),
  events: (body) => ({
    type: "events",
    channel: text(body, "channel"),
    stream: maybeText(body, "stream"),
    epoch: maybeNumber(body, "epoch"),
    events: readEvents(body["events"])
  }),
  gap: (body) => ({
    type: "gap",
    channel: text(body, "channel"),
    reason: text(body, "reason"),
    from: maybeText(body, "from"),
    place: place(body)
  }),
  values: (body) => ({
    type: "values",
    channel: text(body, "channel"),
    stream: text(body, "stream"),
    epoch: number(body, "epoch"),
    events: readEvents(body["events"])
  }),
  conflated: (body) => ({ type: "conflated", channel: text(body, "channel"), place: place(body) }),
  skipped: (body) => ({ type: "skipped", channel: text(body, "channel"), count: number(body, "count") }),
  history: (body, id) => ({
    type: "history",
    id,
    channel: text(body, "channel"),
    place: maybePlace(body),
    events: readEvents(body["events"]),
    more: body["more"] === true,
    gone: gone(body["gone"])
  }),
  published: (body, id) => ({ type: "published", id, cursor: maybeText(body, "cursor") }),
  published_batch: (body, id) => ({
    type: "published_batch",
    id,
    results: list(body, "results").map(batchResult)
  }),
  acked: (body, id) => ({ type: "acked", id, channel: text(body, "channel") }),
  refreshed: (body, id) => ({ type: "refreshed", id, expiresInMs: maybeNumber(body, "expires_in_ms") }),
  ping: (_body, id) => ({ type: "ping", id }),
  pong: (_body, id) => ({ type: "pong", id }),
  drain: (body) => ({
    type: "drain",
    afterMs: maybeNumber(body, "after_ms") ?? 0,
    deadlineMs: maybeNumber(body, "deadline_ms") ?? 0
  }),
  redirect: (body) => ({
    type: "redirect",
    places: [regionPlace(body)],
    reason: maybeText(body, "reason") ?? "",
    afterMs: maybeNumber(body, "after_ms") ?? 0
  }),
  mode: (body) => ({ type: "mode", modes: modes(body), afterMs: maybeNumber(body, "after_ms") ?? 0 }),
  error: (body, id) => ({ type: "error", id, error: readError(body) })
};
function readMessage(value) {
  const message = members(value, "message");
  const id = maybeNumber(message, "id");
  for (const name of Object.keys(message)) {
    if (Object.hasOwn(READERS, name)) {
      return READERS[name](members(message[name], name), id);
    }
  }
  return null;
}
function sessionInfo(body) {
  return {
    session: maybeText(body, "session") ?? "",
    node: maybeText(body, "node") ?? "",
    region: maybeText(body, "region") ?? "",
    tenant: maybeText(body, "tenant") ?? "",
    user: maybeText(body, "user") ?? "",
    capabilities: Array.isArray(body["capabilities"]) ? body["capabilities"].filter((c) => typeof c === "string") : [],
    expiresInMs: maybeNumber(body, "expires_in_ms"),
    limits: limits(body["limits"] === void 0 ? {} : members(body["limits"], "limits"))
  };
}
var DEFAULT_LIMITS = limits({});
function limits(body) {
  const stated = (name) => {
    const value = maybeNumber(body, name);
    return value !== void 0 && value > 0 ? value : void 0;
  };
  const of = (name, fallback) => stated(name) ?? fallback;
  return {
    eventBytes: of("event_bytes", 65536),
    frameBytes: of("frame_bytes", 1048576),
    batchEvents: of("batch_events", 128),
    channels: of("channels", 1024),
    commandsPerS: of("commands_per_s", 200),
    commandsBurst: stated("commands_burst"),
    heartbeatMs: of("heartbeat_ms", 25e3),
    publishHorizonMs: of("publish_horizon_ms", 864e5)
  };
}
function place(body) {
  return { stream: text(body, "stream"), epoch: number(body, "epoch"), offset: number(body, "offset") };
}
function maybePlace(body) {
  return body["stream"] === void 0 || body["stream"] === null ? null : place(body);
}
function modes(body) {
  const own = Object.entries(body["namespaces"] === void 0 ? {} : members(body["namespaces"], "namespaces"));
  const namespaces = Object.fromEntries(own.map(([name, mode]) => [name, modeNamed(String(mode))]));
  return { mode: modeNamed(text(body, "mode")), namespaces };
}
function gone(value) {
  if (value === void 0 || value === null) return void 0;
  const body = members(value, "gone");
  return { reason: text(body, "reason"), epoch: number(body, "epoch"), offset: number(body, "offset") };
}
function batchResult(value) {
  const body = members(value, "result");
  if (body["error"] !== void 0) return { error: readError(members(body["error"], "error")) };
  return { cursor: maybeText(body, "cursor") };
}
function readError(body) {
  const code = text(body, "code");
  return new MeridianError(code, action(body, "stop"), maybeText(body, "message") ?? code, {
    retryAfterMs: maybeNumber(body, "retry_after_ms"),
    limit: maybeNumber(body, "limit"),
    applied: maybeText(body, "applied"),
    elsewhere: body["elsewhere"] === void 0 ? [] : list(body, "elsewhere").map((place2) => regionPlace(members(place2, "place")))
  });
}
function regionPlace(body) {
  return { region: maybeText(body, "region"), url: text(body, "url") };
}
function action(body, fallback) {
  return isAction(body["action"]) ? body["action"] : actionOf(text(body, "code"), fallback);
}

// src/session.ts
var GRACE_MS = 5e3;
var ANSWER_MS2 = 1e4;
var CLOSE_REQUESTED = 4e3;
var NO_REPLY = { reply: () => void 0, failed: () => void 0, lost: () => void 0 };
var Session = class {
  transport;
  base;
  codec;
  #setup;
  #events;
  #link;
  #alarm;
  #replies = /* @__PURE__ */ new Map();
  #phase = "opening";
  #stash = [];
  #info = null;
  #outbox = null;
  #liveness = null;
  #flushing = false;
  #nextId = 1;
  #sentAt = 0;
  constructor(setup, events) {
    this.transport = setup.transport;
    this.base = setup.base;
    this.codec = setup.codec;
    this.#setup = setup;
    this.#events = events;
    this.#alarm = new Alarm(setup.clock, () => this.#flush());
    this.#link = setup.dial(
      { url: setup.url, codec: setup.codec.name },
      {
        opened: () => events.opened(this),
        frame: (frame, lane) => this.#frame(frame, lane),
        laneEnded: (lane) => {
          if (this.#phase === "live") events.laneEnded(this, lane);
        },
        closed: (error) => this.#end(error)
      }
    );
  }
  /** What the server said; only after `connected`. */
  get info() {
    if (this.#info === null) throw new Error("the session is not connected");
    return this.#info;
  }
  get over() {
    return this.#phase === "over";
  }
  /** Commands that wait for their reply. */
  get unanswered() {
    return this.#replies.size;
  }
  /** Commands that wait for their turn to be sent. */
  get queued() {
    return this.#outbox?.size ?? 0;
  }
  greet(body) {
    this.#phase = "greeting";
    this.#sendNow({ id: this.#nextId++, connect: body });
  }
  /** Starts to hand messages over, those first that came while others were still racing. */
  activate() {
    const now = this.#setup.clock.now();
    const { limits: limits2 } = this.info;
    this.#phase = "live";
    this.#outbox = new Outbox(this.codec, limits2, now);
    this.#liveness = new Liveness(
      { heartbeatMs: limits2.heartbeatMs, graceMs: GRACE_MS, answerMs: ANSWER_MS2 },
      this.#setup.waking.at(now)
    );
    const stash = this.#stash;
    this.#stash = [];
    for (const { message, lane, bytes } of stash) this.#message(message, lane, bytes);
  }
  /**
   * Queues a command. Throws `frame_too_large` where no frame can hold it. Commands queued in one
   * turn of the event loop leave in as few frames as the limits allow. The answered function waits
   * for the reply no longer: a subscribe that an unsubscribe overtakes gets none.
   */
  command(body, handler = NO_REPLY) {
    const id = this.#nextId++;
    const forget = () => void this.#replies.delete(id);
    if (this.#phase !== "live" || this.#outbox === null) {
      handler.lost();
      return forget;
    }
    const encoded = this.codec.encode({ id, ...body });
    if (!this.#outbox.fits(encoded.bytes)) {
      const limit = this.info.limits.frameBytes;
      throw new MeridianError("frame_too_large", "stop", "the command is larger than a frame may be", { limit });
    }
    this.#replies.set(id, handler);
    this.#outbox.push(encoded);
    if (!this.#flushing) queueMicrotask(() => this.#flush());
    this.#flushing = true;
    return forget;
  }
  /** A look at the clock; `doubt` asks the peer for a sign of life at once. */
  tick(awake, doubt) {
    if (this.#phase !== "live" || this.#liveness === null) return;
    const verdict = this.#liveness.check(awake, doubt);
    if (verdict === "dead") this.fail(new MeridianError("unresponsive", "reconnect", "the server does not answer"));
    else if (verdict === "ask") this.#ping();
    else this.#keepAlive();
  }
  /** Ends the session from our side; `closed` is told with `error`. */
  fail(error) {
    if (this.#phase === "over") return;
    this.#link.close(CLOSE_REQUESTED, "requested");
    this.#end(error);
  }
  /** Ends the session from our side; only what waits for replies is told. */
  close() {
    if (this.#phase === "over") return;
    this.#link.close(CLOSE_REQUESTED, "requested");
    this.#settleLost();
  }
  #end(error) {
    if (this.#phase === "over") return;
    this.#settleLost();
    this.#events.closed(this, error);
  }
  #settleLost() {
    this.#phase = "over";
    this.#alarm.clear();
    const handlers = [...this.#replies.values()];
    this.#replies.clear();
    for (const handler of handlers) handler.lost();
  }
  #frame(frame, lane) {
    if (this.#phase === "over") return;
    try {
      const values = this.codec.decode(frame);
      const bytes = frame.length / Math.max(1, values.length);
      this.#liveness?.heard(this.#setup.waking.at(this.#setup.clock.now()));
      for (const value of values) {
        const message = readMessage(value);
        if (message !== null) this.#message(message, lane, bytes);
      }
      this.#keepAlive();
    } catch (error) {
      this.fail(asMeridianError(error, "internal_client", "reconnect", "a message could not be worked off"));
    }
  }
  #message(message, lane, bytes) {
    if (this.#phase === "over") return;
    if (this.#phase === "greeting" && this.#answersConnect(message)) return;
    if (this.#phase !== "live") {
      this.#stash.push({ message, lane, bytes });
      return;
    }
    if (message.type === "ping") return this.#sendNow(message.id === void 0 ? { pong: {} } : { id: message.id, pong: {} });
    const id = "id" in message ? message.id : void 0;
    const handler = id === void 0 ? void 0 : this.#replies.get(id);
    if (id === void 0 || handler === void 0) {
      if (id === void 0 || message.type !== "error") this.#events.message(this, message, lane, bytes);
      return;
    }
    this.#replies.delete(id);
    if (message.type === "error") handler.failed(message.error);
    else handler.reply(message, lane);
  }
  #answersConnect(message) {
    if (message.type === "connected") {
      this.#info = message.info;
      this.#phase = "connected";
      this.#events.connected(this);
      return true;
    }
    if (message.type !== "error") return false;
    this.fail(message.error);
    return true;
  }
  #flush() {
    this.#flushing = false;
    if (this.#phase !== "live" || this.#outbox === null) return;
    const now = this.#setup.clock.now();
    for (const frame of this.#outbox.take(now)) this.#link.send(frame);
    this.#sentAt = now;
    this.#alarm.by(this.#outbox.nextAt(now));
  }
  /** The server counts on hearing from us, and on a busy channel it has no reason to ask. */
  #keepAlive() {
    if (this.#phase !== "live" || this.#link.sendsNothing) return;
    if (this.#setup.clock.now() - this.#sentAt >= this.info.limits.heartbeatMs) this.#ping();
  }
  #ping() {
    this.#sendNow({ id: this.#nextId++, ping: {} });
  }
  #sendNow(message) {
    this.#sentAt = this.#setup.clock.now();
    this.#link.send(this.codec.join([this.codec.encode(message)]));
  }
};

// src/transport/choice.ts
var PREFERRED = TRANSPORTS[0];
var POLLING = { order: ["polling"], without: void 0, shortened: false };
function choose({ mode, usable, remembered, avoid }) {
  if (mode !== "auto") return { order: [mode], without: mode === PREFERRED ? void 0 : "forced", shortened: false };
  const all = TRANSPORTS.filter(usable);
  const held = avoid ? all.filter((transport) => transport !== PREFERRED) : all;
  const candidates = held.length > 0 ? held : [PREFERRED];
  const order = candidates.slice(Math.max(0, candidates.findIndex((transport) => transport === remembered)));
  const shortened = order.length < candidates.length;
  if (order[0] === PREFERRED) return { order, without: void 0, shortened };
  return { order, without: candidates[0] === PREFERRED ? "remembered" : "unsupported", shortened };
}

// src/transport/link.ts
var FIRST_STREAM = 0;
function isHttp(transport) {
  return transport === "sse" || transport === "longpoll" || transport === "polling";
}
function linkUrl(base, transport, codec) {
  const url = new URL(base);
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  const path = url.pathname.replace(/\/$/, "");
  if (isHttp(transport)) return `${secure ? "https:" : "http:"}//${url.host}${path}`;
  const scheme = transport === "webtransport" ? "https:" : secure ? "wss:" : "ws:";
  const tail = transport === "webtransport" ? "/v1/wt" : "/v1/ws";
  return `${scheme}//${url.host}${path}${tail}?codec=${codec}`;
}

// src/transport/race.ts
var LATE_START_MS = { sse: 3e3, longpoll: 6e3 };
var Race = class {
  #policy;
  #runners = /* @__PURE__ */ new Map();
  #startedAt = 0;
  #greetings = 0;
  #over = false;
  #lastError = new MeridianError("connect_failed", "reconnect", "no transport could connect");
  constructor(policy) {
    this.#policy = policy;
    for (const transport of policy.order) this.#runners.set(transport, { phase: "waiting", since: 0 });
  }
  /** What to do about `event` at `now`, in waking milliseconds. */
  handle(event, now) {
    if (this.#over) return [];
    switch (event.type) {
      case "start":
        this.#startedAt = now;
        return this.#advance(now);
      case "timer":
        return [...this.#expire(now), ...this.#advance(now)];
      case "opened":
        this.#set(event.transport, "open", now);
        return this.#advance(now);
      case "connected":
        return this.#win(event.transport);
      case "failed":
        return this.#failed(event.transport, event.error, now);
    }
  }
  /** When to send `timer` next, in waking milliseconds. */
  nextAt() {
    if (this.#over) return null;
    const times = [...this.#runners.values()].map((runner) => this.#deadline(runner));
    for (const transport of this.#phases("waiting")) times.push(this.#startAt(transport));
    const next = Math.min(...times);
    return next === Infinity ? null : next;
  }
  #win(transport) {
    this.#over = true;
    const others = [...this.#runners].filter(([name, runner]) => name !== transport && running(runner));
    return [
      { type: "won", transport, rivals: this.#greetings > 1 },
      ...others.map(([name]) => ({ type: "abandon", transport: name }))
    ];
  }
  #failed(transport, error, now) {
    const answer = this.#runners.get(transport)?.phase === "greeting" && !isTransportFailure(error);
    this.#set(transport, "out", now);
    this.#lastError = error;
    return answer ? this.#lose() : this.#advance(now);
  }
  #lose() {
    this.#over = true;
    const rest = [...this.#runners].filter(([, runner]) => running(runner));
    return [
      ...rest.map(([transport]) => ({ type: "abandon", transport })),
      { type: "lost", error: this.#lastError }
    ];
  }
  #expire(now) {
    const late = [...this.#runners].filter(([, runner]) => this.#deadline(runner) <= now);
    return late.map(([transport]) => {
      this.#set(transport, "out", now);
      return { type: "abandon", transport };
    });
  }
  #advance(now) {
    const actions = [];
    for (const transport of this.#phases("waiting")) {
      const alone = [...this.#runners.values()].every((runner) => !running(runner));
      if (now < this.#startAt(transport) && !alone) continue;
      this.#set(transport, "dialing", now);
      actions.push({ type: "dial", transport });
    }
    const [open] = this.#phases("open");
    if (open && this.#phases("greeting").length === 0) {
      this.#set(open, "greeting", now);
      this.#greetings += 1;
      actions.push({ type: "greet", transport: open });
    }
    const ended = [...this.#runners.values()].every((runner) => runner.phase === "out");
    return ended ? [...actions, ...this.#lose()] : actions;
  }
  #startAt(transport) {
    const first = transport === this.#policy.order[0];
    return this.#startedAt + (first ? 0 : LATE_START_MS[transport] ?? this.#policy.headStartMs);
  }
  #deadline(runner) {
    if (runner.phase === "dialing") return runner.since + this.#policy.openMs;
    return runner.phase === "greeting" ? runner.since + this.#policy.answerMs : Infinity;
  }
  #phases(phase) {
    return [...this.#runners].filter(([, runner]) => runner.phase === phase).map(([name]) => name);
  }
  #set(transport, phase, now) {
    this.#runners.set(transport, { phase, since: now });
  }
};
function running(runner) {
  return runner.phase === "dialing" || runner.phase === "open" || runner.phase === "greeting";
}

// src/dialer.ts
var OPEN_MS = 1e4;
var ANSWER_MS3 = 8e3;
var SILENT_DEATHS = 2;
var SILENCE_MEMORY_MS = 36e5;
var HTTP_MEMORY_MS = 36e5;
var Dialer = class {
  #setup;
  #silentDeaths = 0;
  constructor(setup) {
    this.#setup = setup;
  }
  /** Starts an attempt; exactly one of `won` and `lost` follows, unless it is aborted. */
  dial(url, polls, greeting, live, won, lost) {
    const setup = { ...this.#setup, url, memory: this.#setup.memory(url) };
    return new Attempt(setup, polls ? POLLING : this.#choice(setup.memory), greeting, live, won, lost);
  }
  /** Whether this client may leave its connection for polls: not if the application wants a certain one. */
  get mayPoll() {
    return this.#setup.mode === "auto" && this.#setup.dials.polling !== void 0;
  }
  /** A session ended; one that went silent speaks against its transport. */
  sessionEnded({ base, transport }, error) {
    if (transport !== PREFERRED || error.code !== "unresponsive") return;
    this.#silentDeaths += 1;
    if (this.#silentDeaths < SILENT_DEATHS) return;
    this.#silentDeaths = 0;
    this.#setup.memory(base).remember("websocket", this.#setup.clock.now() + SILENCE_MEMORY_MS);
  }
  #choice(memory) {
    const { dials, mode, clock, avoidWebTransport } = this.#setup;
    const remembered = memory.recall(clock.now());
    const usable = (transport) => dials[transport] !== void 0;
    return choose({ mode, usable, remembered, avoid: avoidWebTransport });
  }
};
var Attempt = class {
  #setup;
  #choice;
  #greeting;
  #live;
  #won;
  #lost;
  #race;
  #sessions = /* @__PURE__ */ new Map();
  #alarm;
  #opened = /* @__PURE__ */ new Set();
  /** Better transports that were still opening when another won, and their timers. */
  #losers = /* @__PURE__ */ new Map();
  #failures = /* @__PURE__ */ new Set();
  #winner = null;
  /** Why a `connect` over another transport does not go over the preferred one. */
  #fallback;
  #over = false;
  constructor(setup, choice, greeting, live, won, lost) {
    this.#setup = setup;
    this.#choice = choice;
    this.#fallback = choice.without ?? "timeout";
    this.#greeting = greeting;
    this.#live = live;
    this.#won = won;
    this.#lost = lost;
    this.#race = new Race({ order: choice.order, headStartMs: setup.headStartMs, openMs: OPEN_MS, answerMs: ANSWER_MS3 });
    this.#alarm = new Alarm(setup.clock, () => this.#step({ type: "timer" }));
    this.#step({ type: "start" });
  }
  abort() {
    this.#over = true;
    this.#alarm.clear();
    for (const session of this.#sessions.values()) session.close();
    for (const transport of [...this.#losers.keys()]) this.#judgeLoser(transport, true);
  }
  #step(event) {
    if (this.#over) return;
    const { clock, waking } = this.#setup;
    const awake = waking.at(clock.now());
    for (const action2 of this.#race.handle(event, awake)) this.#carryOut(action2);
    const next = this.#race.nextAt();
    if (!this.#over && next !== null) this.#alarm.by(clock.now() + Math.max(1, next - awake));
  }
  #carryOut(action2) {
    switch (action2.type) {
      case "dial":
        return this.#dial(action2.transport);
      case "greet":
        return this.#greet(action2.transport);
      case "abandon":
        return this.#abandon(action2.transport);
      case "won":
        return this.#finish(action2.transport, action2.rivals);
      case "lost":
        this.#over = true;
        this.#alarm.clear();
        if (this.#choice.shortened) this.#setup.memory.forget();
        return this.#lost(action2.error);
    }
  }
  #dial(transport) {
    const { url, dials, clock, waking } = this.#setup;
    const codec = isHttp(transport) ? jsonCodec : this.#setup.codec;
    try {
      const dial = dials[transport];
      if (!dial) throw new MeridianError("connect_failed", "reconnect", `there is no ${transport} here`);
      const setup = { transport, dial, codec, clock, waking, base: url, url: linkUrl(url, transport, codec.name) };
      this.#sessions.set(transport, new Session(setup, this.#events(transport)));
    } catch (error) {
      const typed = asMeridianError(error, "connect_failed", "reconnect", `${transport} could not start`);
      queueMicrotask(() => this.#failed(transport, typed));
    }
  }
  #greet(transport) {
    const fallback = { from: PREFERRED, reason: this.#fallback };
    const told = transport === PREFERRED || transport === "polling" ? {} : { fallback };
    this.#sessions.get(transport)?.greet({ ...this.#greeting, ...told });
  }
  #events(transport) {
    return {
      opened: (session) => {
        if (this.#losers.get(transport)?.session === session) return this.#judgeLoser(transport, true);
        this.#opened.add(transport);
        this.#step({ type: "opened", transport });
      },
      connected: () => this.#step({ type: "connected", transport }),
      message: this.#live.message,
      laneEnded: this.#live.laneEnded,
      closed: (session, error) => {
        if (this.#losers.get(transport)?.session === session) this.#judgeLoser(transport, false);
        else if (this.#over) this.#live.closed(session, error);
        else this.#failed(transport, error);
      }
    };
  }
  #failed(transport, error) {
    if (transport === PREFERRED) this.#fallback = "failed";
    if (isTransportFailure(error)) this.#failures.add(transport);
    this.#step({ type: "failed", transport, error });
  }
  #abandon(transport) {
    const session = this.#sessions.get(transport);
    this.#sessions.delete(transport);
    if (!session) return;
    if (this.#over && this.#isBetter(transport) && !this.#opened.has(transport)) return this.#watchLoser(transport, session);
    if (!this.#over) this.#failures.add(transport);
    session.close();
  }
  #finish(transport, rivals) {
    const session = this.#sessions.get(transport);
    this.#over = true;
    this.#winner = transport;
    this.#alarm.clear();
    this.#sessions.delete(transport);
    this.#remember();
    this.#won({ session, rivals });
  }
  /** Another won while this one was still opening: slow is no reason to avoid it, blocked is. */
  #watchLoser(transport, session) {
    const timer = this.#setup.clock.setTimeout(() => this.#judgeLoser(transport, false), OPEN_MS);
    this.#losers.set(transport, { session, timer });
  }
  #judgeLoser(transport, opened) {
    const loser = this.#losers.get(transport);
    if (!loser) return;
    this.#losers.delete(transport);
    this.#setup.clock.clearTimeout(loser.timer);
    if (!opened) {
      this.#failures.add(transport);
      this.#remember();
    }
    loser.session.close();
  }
  /** Remembers the winner where nothing better works here, so far as this attempt has tried. */
  #remember() {
    const winner = this.#winner;
    const { mode, memory, rememberMs, clock } = this.#setup;
    if (mode !== "auto" || winner === null || winner === "polling") return;
    const better = this.#choice.order.filter((transport) => this.#isBetter(transport));
    const first = winner === this.#choice.order[0];
    if (first ? winner !== PREFERRED : !better.every((transport) => this.#failures.has(transport))) return;
    memory.remember(winner, clock.now() + (isHttp(winner) ? Math.min(rememberMs, HTTP_MEMORY_MS) : rememberMs));
  }
  #isBetter(transport) {
    const { order } = this.#choice;
    return this.#winner !== null && order.indexOf(transport) < order.indexOf(this.#winner);
  }
};

// src/ending.ts
var WAKE_MS = 15e3;
var Ending = class {
  #cause;
  #draining = false;
  #wokeAt = -Infinity;
  /** Why the last connection ended, or is about to; `undefined` before the first. */
  get cause() {
    return this.#draining ? "drain" : this.#cause;
  }
  began() {
    this.#draining = false;
    this.#cause = void 0;
  }
  /** The node of the running connection said that it stops. */
  drained() {
    this.#draining = true;
  }
  /** The process had not run for a while. */
  woke(awake) {
    this.#wokeAt = awake;
  }
  lost(error, awake) {
    const asleep = awake - this.#wokeAt < WAKE_MS;
    this.#cause = this.#draining ? "drain" : causeOf(error, asleep);
    this.#draining = false;
  }
  /** The application dropped it: for good, or as a network would. */
  dropped(closed) {
    this.#cause = closed ? void 0 : "network";
    this.#draining = false;
  }
};
function causeOf(error, asleep) {
  if (error.code === "unresponsive" || error.code === "heartbeat_timeout") return asleep ? "wake" : "heartbeat";
  if (isTransportFailure(error)) return asleep ? "wake" : "network";
  if (error.code === "draining") return "drain";
  if (error.code === "internal_client") return void 0;
  return error.action === "refresh" ? "refresh" : "server";
}

// src/machine.ts
var MAX_REFUSALS = 3;
var Machine = class {
  #policy;
  #random;
  #state = "idle";
  #live = false;
  #dialing = false;
  #online = true;
  #attempt = 0;
  #refusals = 0;
  #dialAt = null;
  #heldUntil = 0;
  #liveSince = 0;
  /** The dial under way is a move that nothing forces. */
  #optional = false;
  constructor(policy, random) {
    this.#policy = policy;
    this.#random = random;
  }
  get state() {
    return this.#state;
  }
  /** When to send `timer`; `null` while nothing is planned. */
  wakeAt() {
    return this.#dialing || this.#ended || !this.#online && !this.#live ? null : this.#dialAt;
  }
  handle(event, now) {
    const actions = this.#ended && event.type !== "start" && event.type !== "close" ? [] : this.#decide(event, now);
    const state = this.#derive();
    if (state === this.#state) return actions;
    this.#state = state;
    return [...actions, { type: "state", state }];
  }
  #decide(event, now) {
    switch (event.type) {
      case "start":
        return this.#start(now);
      case "timer":
        return this.#dialIfDue(now);
      case "dialed":
        return this.#dialed(now);
      case "dial_failed":
        return this.#dialFailed(event.error, now);
      case "lost":
        return this.#lost(event.error, now);
      case "drain":
        return this.#drain(now + event.afterMs);
      case "move":
        return this.#move();
      case "online":
        return this.#returned(now, true);
      case "wake":
        return this.#returned(now, false);
      case "offline":
        return this.#offline();
      case "freeze":
        return [];
      case "interrupt":
        return this.#interrupt(event.ms, now);
      case "close":
        return this.#end("closed");
    }
  }
  #start(now) {
    if (this.#live || this.#dialing) return [];
    this.#state = "waiting";
    this.#attempt = 0;
    this.#refusals = 0;
    this.#heldUntil = 0;
    this.#dialAt = now;
    return this.#dialIfDue(now);
  }
  #dialIfDue(now) {
    if (this.#dialing || this.#dialAt === null || now < this.#dialAt || !this.#online) return [];
    return this.#dial(false);
  }
  #dial(optional) {
    this.#dialing = true;
    this.#optional = optional;
    this.#dialAt = null;
    return [{ type: "dial" }];
  }
  #drain(at) {
    this.#optional = false;
    return this.#plan(at);
  }
  #move() {
    return this.#live && !this.#dialing && this.#dialAt === null && this.#online ? this.#dial(true) : [];
  }
  #dialed(now) {
    const moved = this.#live;
    this.#dialing = false;
    this.#live = true;
    this.#dialAt = null;
    this.#refusals = 0;
    this.#liveSince = now;
    return moved ? [{ type: "retire" }] : [];
  }
  #dialFailed(error, now) {
    this.#dialing = false;
    if (error.action === "stop") return this.#live ? [] : this.#stop(error);
    const actions = this.#refused(error);
    if (this.#ended || this.#optional && this.#live) return actions;
    return [...actions, ...this.#again(error, now)];
  }
  #lost(error, now) {
    this.#live = false;
    if (error.action === "stop") return this.#stop(error);
    if (now - this.#liveSince >= this.#policy.stableMs) this.#attempt = 0;
    const actions = this.#refused(error);
    if (this.#ended || this.#dialing) return actions;
    return [...actions, ...this.#again(error, now)];
  }
  /** A refused token is renewed; one that cannot be, or is refused again and again, ends it. */
  #refused(error) {
    if (error.action !== "refresh") return [];
    this.#refusals += 1;
    const hopeless = !this.#policy.canRenewToken || this.#refusals >= MAX_REFUSALS;
    return hopeless && !this.#live ? this.#stop(this.#inVain(error)) : [{ type: "renew_token" }];
  }
  /** The refusal as the application gets it: there is nothing left to do that this client can. */
  #inVain(error) {
    const why = this.#policy.canRenewToken ? `${MAX_REFUSALS} tokens in a row were refused` : "a token given as text cannot be renewed";
    return new MeridianError(error.code, "stop", `${error.message}; ${why}`, { cause: error });
  }
  #again(error, now) {
    const wait = backoffMs(this.#policy.backoff, this.#attempt, this.#random);
    this.#attempt += 1;
    const asked = error.retryAfterMs ?? 0;
    if (asked > 0) this.#heldUntil = Math.max(this.#heldUntil, now + asked);
    return this.#plan(now + Math.max(wait, asked));
  }
  #plan(at) {
    this.#dialAt = Math.max(at, this.#heldUntil);
    return [];
  }
  #returned(now, online) {
    const came = online && !this.#online;
    if (online) this.#online = true;
    if (this.#live) return [{ type: "probe" }];
    if (this.#dialing || this.#dialAt === null) return [];
    if (came) this.#attempt = 0;
    const soon = now + jitterMs(this.#policy.returnSpreadMs, this.#random);
    return this.#plan(Math.min(soon, Math.max(this.#dialAt, now)));
  }
  #offline() {
    this.#online = false;
    return [];
  }
  #interrupt(ms, now) {
    const actions = [];
    if (this.#dialing) actions.push({ type: "abort_dial" });
    if (this.#live) actions.push({ type: "drop" });
    this.#dialing = false;
    this.#live = false;
    this.#attempt = 0;
    this.#heldUntil = now + ms;
    this.#dialAt = this.#heldUntil;
    return actions;
  }
  #stop(error) {
    return [...this.#end("stopped"), { type: "stop", error }];
  }
  #end(state) {
    const actions = [];
    if (this.#dialing) actions.push({ type: "abort_dial" });
    if (this.#live) actions.push({ type: "drop" });
    this.#dialing = false;
    this.#live = false;
    this.#dialAt = null;
    this.#state = state;
    return [...actions, { type: "state", state }];
  }
  get #ended() {
    return this.#state === "closed" || this.#state === "stopped" || this.#state === "idle";
  }
  #derive() {
    if (this.#ended) return this.#state;
    if (this.#live) return "connected";
    if (!this.#online && !this.#dialing) return "offline";
    return this.#dialing ? "connecting" : "waiting";
  }
};

// src/regions/health.ts
var FULL = 0.95;
var MAX_REGIONS = 32;
function isWell(health) {
  return health.state === "serving" && health.load < FULL;
}
function isUsable(health) {
  return health.state === "serving" || health.state === "degraded";
}
function isLate(health) {
  return health.state === "rebuilding";
}
function readHealth(value, rttMs) {
  if (typeof value !== "object" || value === null) return null;
  const body = value;
  if (typeof body["state"] !== "string") return null;
  const regions = Array.isArray(body["regions"]) ? body["regions"].slice(0, MAX_REGIONS) : [];
  return {
    name: typeof body["region"] === "string" ? body["region"] : "",
    state: body["state"],
    load: typeof body["load"] === "number" ? body["load"] : 0,
    rttMs,
    regions: regions.filter(isRegion).map(({ name, url }) => ({ name, url }))
  };
}
function baseUrl(text3) {
  if (!/^(https?|wss?):\/\//i.test(text3) || !URL.canParse(text3)) return null;
  const url = new URL(text3);
  const scheme = url.protocol.replace(/^ws/, "http");
  return `${scheme}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
}
function isSecure(url) {
  return /^(https|wss):/i.test(url);
}
function isRegion(value) {
  if (typeof value !== "object" || value === null) return false;
  const { name, url } = value;
  return typeof name === "string" && typeof url === "string";
}

// src/regions/round.ts
var PROBE_MS = 1500;
var GRACE_MS2 = 100;
var TIE_MS = 20;
var Round = class {
  #waiting;
  #answers = /* @__PURE__ */ new Map();
  #until;
  constructor(urls, now) {
    this.#waiting = new Set(urls);
    this.#until = now + PROBE_MS;
  }
  /** An answer, or that none comes. */
  heard(url, health, now) {
    if (!this.#waiting.delete(url) || health === null) return;
    this.#answers.set(url, health);
    if (isWell(health)) this.#until = Math.min(this.#until, now + GRACE_MS2);
  }
  /** When it ends whatever comes. */
  get until() {
    return this.#until;
  }
  over(now) {
    return this.#waiting.size === 0 || now >= this.#until;
  }
  wellAt(url) {
    const health = this.#answers.get(url);
    return health !== void 0 && isWell(health);
  }
  /** The nearest that is well, else that is usable, else that is being rebuilt; `preferred` wins ties. */
  best(preferred) {
    return this.#nearest(preferred, isWell) ?? this.#nearest(preferred, isUsable) ?? this.#nearest(preferred, isLate);
  }
  #nearest(preferred, wanted) {
    let best = null;
    for (const [url, health] of this.#answers) {
      if (!wanted(health)) continue;
      const rank = health.rttMs - (url === preferred ? TIE_MS : 0);
      if (best === null || rank < best.rank) best = { url, rank };
    }
    return best?.url ?? null;
  }
};

// src/regions/probe.ts
async function probe(fetch, clock, base) {
  const abort = new AbortController();
  const asked = clock.now();
  let timer = null;
  const late = new Promise((resolve) => {
    timer = clock.setTimeout(() => resolve(null), PROBE_MS);
  });
  const answer = async () => {
    const response = await fetch(`${base}/v1/regions`, { signal: abort.signal, cache: "no-store", credentials: "omit" });
    const rttMs = clock.now() - asked;
    return response.ok ? readHealth(await response.json(), rttMs) : null;
  };
  try {
    return await Promise.race([answer(), late]);
  } catch {
    return null;
  } finally {
    clock.clearTimeout(timer);
    abort.abort();
  }
}

// src/regions/fault.ts
var OWN_FAULTS = ["slow_reader", "taken_over", "token_callback_failed", "internal_client", "closed"];
function speaksAgainst(error) {
  const elsewhere = error.action === "reconnect" || error.action === "retry";
  return elsewhere && !OWN_FAULTS.includes(error.code);
}

// src/regions/homing.ts
var TRUSTED_AFTER = 2;
var LATE_MS2 = 9e4;
var WAKE_SPREAD_MS = 5e3;
var Homing = class {
  #policy;
  #random;
  #away = false;
  #notBefore = 0;
  #probeAt = Infinity;
  #moveAt = Infinity;
  #well = 0;
  #nearestMs = Infinity;
  constructor(policy, random) {
    this.#policy = policy;
    this.#random = random;
  }
  get away() {
    return this.#away;
  }
  /** The shortest round trip to home since it has been well, in milliseconds. */
  get nearestMs() {
    return this.#nearestMs;
  }
  nextAt() {
    return this.#away ? Math.min(this.#probeAt, this.#moveAt) : Infinity;
  }
  /** The client is away from home, which is left alone until `notBefore`. */
  start(now, notBefore) {
    this.#away = true;
    this.#notBefore = Math.max(notBefore, now);
    this.#forget();
    this.#probeAt = this.#notBefore + this.#interval();
  }
  stop() {
    this.#away = false;
  }
  /** The client slept or was offline; what it heard before says nothing any more. */
  woke(now) {
    this.#forget();
    this.#probeAt = Math.max(this.#notBefore, now) + jitterMs(WAKE_SPREAD_MS, this.#random);
  }
  due(now) {
    if (!this.#away || now < this.nextAt()) return null;
    if (now > this.nextAt() + LATE_MS2) {
      this.woke(now);
      return null;
    }
    if (now >= this.#moveAt) {
      this.#forget();
      return "move";
    }
    this.#probeAt = now + this.#interval();
    return "probe";
  }
  /** What a probe of home found: its round trip in milliseconds, `null` if home is not well. */
  heard(rttMs) {
    if (!this.#away) return;
    if (rttMs === null) return this.#forget();
    this.#well += 1;
    this.#nearestMs = Math.min(this.#nearestMs, rttMs);
  }
  /** Whether home was found well often enough and no move is planned yet. */
  get ready() {
    return this.#away && this.#well >= TRUSTED_AFTER && this.#moveAt === Infinity;
  }
  planMove(now) {
    this.#moveAt = now + jitterMs(this.#policy.spreadMs, this.#random);
  }
  #interval() {
    return this.#policy.probeMs * (0.5 + this.#random());
  }
  #forget() {
    this.#well = 0;
    this.#nearestMs = Infinity;
    this.#moveAt = Infinity;
  }
};

// src/regions/places.ts
var HOLD = { baseMs: 3e4, capMs: 6e5 };
var MAX_PLACES = 32;
var Places = class {
  #places = [];
  #learns;
  #random;
  constructor(urls, learns, random) {
    this.#learns = learns;
    this.#random = random;
    for (const url of urls) this.add(url);
  }
  /** The one that the application named first. */
  get first() {
    return this.#places[0];
  }
  get all() {
    return this.#places;
  }
  at(url) {
    return this.#places.find((place2) => place2.url === url);
  }
  /** The place at an address, made if it is new; `null` if it is none or there are too many. */
  add(text3) {
    const url = baseUrl(text3);
    if (url === null) return null;
    const known = this.at(url);
    if (known || this.#places.length >= MAX_PLACES) return known ?? null;
    const place2 = { url, name: url, rttMs: Infinity, failures: 0, heldUntil: 0, failedAt: -Infinity };
    this.#places.push(place2);
    return place2;
  }
  /** The nearest known one of those that a server names, by address or else by name. */
  nearestOf(named) {
    let best = null;
    for (const { url, region } of named) {
      const place2 = this.at(baseUrl(url) ?? "") ?? this.#places.find(({ name }) => name === region);
      if (place2 && (best === null || place2.rttMs < best.rttMs)) best = place2;
    }
    return best;
  }
  /** Takes over what a region said of itself and, where the application allows it, of others. */
  heard(place2, health) {
    place2.rttMs = health.rttMs;
    if (health.name !== "") place2.name = health.name;
    if (!this.#learns) return;
    for (const { url, name } of health.regions) {
      if (isSecure(this.first.url) && !isSecure(url)) continue;
      const other = this.add(url);
      if (other && other.name === other.url && name !== "") other.name = name;
    }
  }
  /** Leaves a region alone for a while that grows with each time. */
  hold(place2, now) {
    place2.heldUntil = now + backoffMs(HOLD, place2.failures, this.#random);
    place2.failures += 1;
  }
  /** Whom to ask after `left` failed: those not left alone; if there are none, all others. */
  candidates(left, now) {
    const others = this.#places.filter((place2) => place2 !== left);
    const free = others.filter((place2) => now >= place2.heldUntil);
    return free.length > 0 ? free : others;
  }
  /** The one whose last failure is longest ago: where to go when no probe gets through. */
  leastRecentlyFailed() {
    return this.#places.reduce((best, place2) => place2.failedAt < best.failedAt ? place2 : best);
  }
};

// src/regions/redirects.ts
var MOST = 2;
var WINDOW_MS = 6e4;
var Redirects = class {
  #places;
  #taken = [];
  #pending = null;
  /** Waits for what the region in use says of others. */
  #asking = null;
  constructor(places) {
    this.#places = places;
  }
  /** When the one that is pending is due. */
  nextAt() {
    return this.#pending?.at ?? Infinity;
  }
  hear(redirect, at, now) {
    const place2 = this.#places.nearestOf(redirect.places);
    if (!place2) {
      if (!at.mayAsk) return "ignore";
      this.#asking = redirect;
      return "ask";
    }
    if (place2 === at.here || place2 === at.underWay || place2 === this.#pending?.place) return "here";
    this.#taken = this.#taken.filter((taken) => taken > now - WINDOW_MS);
    if (this.#taken.length >= MOST) return "ignore";
    this.#taken.push(now);
    this.#pending = { place: place2, why: redirect.reason, at: now + Math.max(0, redirect.afterMs) };
    return "follow";
  }
  /** The redirect that waited for an answer, once. */
  asked() {
    const asked = this.#asking;
    this.#asking = null;
    return asked;
  }
  /** Where to go now; what is pending until later stays, unless `dialing`: then there is no reason to wait. */
  take(now, dialing) {
    const pending = this.#pending;
    if (!pending || !dialing && now < pending.at) return null;
    this.#pending = null;
    return pending;
  }
  leadsTo(place2) {
    return this.#pending?.place === place2;
  }
  forget() {
    this.#pending = null;
    this.#asking = null;
  }
};

// src/regions/regions.ts
var STRIKES = 2;
var STABLE_MS = 1e4;
var TRUSTED_MS = 12e4;
var Regions = class {
  #places;
  #discover;
  #homing;
  #redirects;
  #random;
  #home;
  /** Whether home was found well, and compared with the others, at least once. */
  #settled = false;
  #current = null;
  #dialing = null;
  #arrived = null;
  /** Where the next dial goes, and why, if not by the rules of failure. */
  #aim = null;
  #round = null;
  #strikes = 0;
  #live = false;
  #liveSince = 0;
  #paused = { offline: false, frozen: false };
  #learnAt = Infinity;
  constructor(policy, random) {
    this.#places = new Places(policy.urls, policy.discover, random);
    this.#discover = policy.discover;
    this.#redirects = new Redirects(this.#places);
    this.#homing = new Homing(policy.homing, random);
    this.#random = random;
    this.#home = this.#places.first;
  }
  /** Where this client is or was last; `null` before it first arrived. */
  get region() {
    return this.#arrived?.name ?? null;
  }
  /** When to send `timer`; `null` while nothing is planned. */
  wakeAt() {
    const background = this.#quiet ? Infinity : Math.min(this.#homing.nextAt(), this.#learnAt);
    const sent = this.#live ? this.#redirects.nextAt() : Infinity;
    const at = Math.min(this.#round?.until ?? Infinity, sent, background);
    return at === Infinity ? null : at;
  }
  handle(event, now) {
    switch (event.type) {
      case "pick":
        return this.#pick(now);
      case "timer":
        return this.#timer(now);
      case "dialed":
        return this.#dialed(now);
      case "dial_failed":
        return this.#dialFailed(event.error, now);
      case "named":
        return this.#named(event.name);
      case "lost":
        return this.#lost(event.error, now);
      case "dropped":
        return this.#dropped();
      case "probed":
        return this.#probed(event.url, event.health, now);
      case "redirect":
        return this.#redirect(event.redirect, this.#discover, now);
      case "offline":
        return this.#pause("offline");
      case "freeze":
        return this.#pause("frozen");
      case "online":
        return this.#resume("offline", now);
      case "wake":
        return this.#resume("frozen", now);
    }
  }
  #pick(now) {
    const aim = this.#aim ?? this.#redirected(now, true);
    this.#aim = null;
    if (aim) return this.#dial(aim);
    if (this.#places.all.length === 1) return this.#dialCurrent(this.#home);
    if (this.#current && this.#strikes < STRIKES) return this.#dialCurrent(this.#current);
    const urls = this.#places.candidates(this.#current, now).map((place2) => place2.url);
    this.#round = new Round(urls, now);
    return [{ type: "probe", urls }];
  }
  #dialCurrent(place2) {
    this.#current = place2;
    return this.#dial({ place: place2, reason: null });
  }
  #dial(aim) {
    this.#dialing = aim;
    return [{ type: "dial", url: aim.place.url, ...aim.why === void 0 ? {} : { redirected: aim.why } }];
  }
  #timer(now) {
    return [...this.#conclude(now), ...this.#goWhereSent(now), ...this.#background(now)];
  }
  /** What is asked and planned while the client is connected. */
  #background(now) {
    if (this.#quiet) return [];
    const step = this.#homing.due(now);
    if (step === "probe") return [{ type: "probe", urls: [this.#home.url] }];
    if (step === "move") {
      this.#aim = { place: this.#home, reason: "home" };
      return [{ type: "move" }];
    }
    if (now < this.#learnAt || !this.#current) return [];
    this.#planLearning(now);
    return [{ type: "probe", urls: [this.#current.url] }];
  }
  #probed(url, health, now) {
    const place2 = this.#places.at(url);
    if (place2 && health) {
      this.#places.heard(place2, health);
      this.#learnAt = Infinity;
    }
    this.#round?.heard(url, health, now);
    if (this.#live && place2 === this.#home) this.#heardOfHome(health, now);
    const asked = this.#redirects.asked();
    return [...this.#conclude(now), ...asked ? this.#redirect(asked, false, now) : []];
  }
  #heardOfHome(health, now) {
    const well = health !== null && isWell(health) && health.rttMs <= PROBE_MS;
    this.#homing.heard(well ? health.rttMs : null);
    if (!this.#homing.ready) return;
    const here = this.#current;
    if (!this.#settled && here && this.#homing.nearestMs > here.rttMs + TIE_MS) {
      this.#home = here;
      this.#homing.stop();
    } else {
      this.#homing.planMove(now);
    }
    this.#settled = true;
  }
  #conclude(now) {
    const round = this.#round;
    if (!round?.over(now)) return [];
    this.#round = null;
    const left = this.#current;
    const best = this.#places.at(round.best(this.#home.url) ?? "");
    if (!best) {
      this.#strikes = STRIKES - 1;
      return this.#dialCurrent(this.#places.leastRecentlyFailed());
    }
    if (left && left !== best) this.#places.hold(left, now);
    if (!this.#settled && round.wellAt(this.#home.url)) {
      this.#home = best;
      this.#settled = true;
    }
    this.#strikes = 0;
    return this.#dialCurrent(best);
  }
  #named(name) {
    if (this.#dialing && name !== "") this.#dialing.place.name = name;
    return [];
  }
  #dialed(now) {
    const { place: place2, reason, why } = this.#dialing ?? { place: this.#home, reason: null };
    const before = this.#arrived;
    this.#dialing = null;
    this.#current = place2;
    this.#arrived = place2;
    this.#live = true;
    this.#liveSince = now;
    if (why === "zone") this.#settleAt(place2);
    else if (reason === "redirect" && before) this.#places.hold(before, now);
    if (place2 === this.#home) this.#homing.stop();
    else if (!this.#homing.away || before !== place2) this.#homing.start(now, this.#home.heldUntil);
    if (this.#discover && this.#places.all.length === 1 && this.#learnAt === Infinity) this.#planLearning(now);
    const again = this.#aim ? [{ type: "move" }] : [];
    if (before === place2) return again;
    const arrivedBy = reason ?? (before ? "failure" : "start");
    return [{ type: "arrived", change: { region: place2.name, url: place2.url, reason: arrivedBy } }, ...again];
  }
  #dialFailed(error, now) {
    const dialing = this.#dialing;
    this.#dialing = null;
    if (!dialing) this.#aim = null;
    if (!dialing || !speaksAgainst(error)) return [];
    const { place: place2, reason } = dialing;
    if (reason === null) {
      this.#strike(place2, now);
      return [];
    }
    this.#places.hold(place2, now);
    if (this.#live && this.#homing.away) this.#homing.start(now, this.#home.heldUntil);
    return [];
  }
  #lost(error, now) {
    const place2 = this.#current;
    if (this.#live && place2) {
      const age = now - this.#liveSince;
      if (age >= STABLE_MS) this.#strikes = 0;
      if (age >= TRUSTED_MS) place2.failures = 0;
      if (speaksAgainst(error) && error.code !== "draining") this.#strike(place2, now);
    }
    return this.#down();
  }
  /** Dropped by this side, with every dial and probe under way. */
  #dropped() {
    this.#round = null;
    this.#dialing = null;
    this.#aim = null;
    this.#redirects.forget();
    return this.#down();
  }
  /** There is no connection; a dial that is under way goes on. */
  #down() {
    this.#live = false;
    this.#homing.stop();
    this.#learnAt = Infinity;
    return [];
  }
  #strike(place2, now) {
    this.#strikes += 1;
    if (this.#strikes >= STRIKES) place2.failedAt = now;
  }
  #redirect(redirect, mayAsk, now) {
    const asked = this.#current ?? this.#home;
    const underWay = [this.#aim, this.#dialing].find((aim) => aim?.reason === "redirect")?.place ?? null;
    const here = this.#live ? this.#current : null;
    const verdict = this.#redirects.hear(redirect, { here, underWay, mayAsk }, now);
    if (verdict === "here") return [];
    if (verdict === "ask") return [{ type: "probe", urls: [asked.url] }];
    const followed = verdict === "follow";
    const notice = { urls: redirect.places.map(({ url }) => url), reason: redirect.reason, followed };
    return [{ type: "redirected", notice }, ...followed ? this.#goWhereSent(now) : []];
  }
  /** Whether this client is on its way to one of these places because a server sent it. */
  isSentTo(named) {
    const place2 = this.#places.nearestOf(named);
    const aims = [this.#aim, this.#dialing].some((aim) => aim?.reason === "redirect" && aim.place === place2);
    return place2 !== null && (aims || this.#redirects.leadsTo(place2));
  }
  #redirected(now, dialing) {
    const going = this.#redirects.take(now, dialing);
    return going && { ...going, reason: "redirect" };
  }
  #goWhereSent(now) {
    const aim = this.#live ? this.#redirected(now, false) : null;
    if (!aim) return [];
    this.#aim = aim;
    return [{ type: "move" }];
  }
  /** This place is home from now on: where home was is of no use to this client. */
  #settleAt(place2) {
    this.#home = place2;
    this.#settled = true;
  }
  #pause(why) {
    this.#paused[why] = true;
    return [];
  }
  #resume(why, now) {
    if (!this.#paused[why]) return [];
    this.#paused[why] = false;
    if (!this.#quiet) this.#homing.woke(now);
    return [];
  }
  #planLearning(now) {
    this.#learnAt = now + 3e4 * (0.1 + this.#random());
  }
  /** Nothing is asked in the background while nobody is there to hear. */
  get #quiet() {
    return !this.#live || this.#paused.offline || this.#paused.frozen;
  }
};

// src/regions/navigator.ts
var Navigator = class {
  #setup;
  #events;
  #regions;
  #alarm;
  #wanting = null;
  constructor(setup, events) {
    this.#setup = setup;
    this.#events = events;
    this.#regions = new Regions(setup.policy, () => setup.clock.random());
    this.#alarm = new Alarm(setup.clock, () => this.#handle({ type: "timer" }));
    if (!setup.online) this.#handle({ type: "offline" });
  }
  /** Where this client is or was last. */
  get region() {
    return this.#regions.region;
  }
  /** Answers with the address to dial: at once, unless regions must be probed first. */
  pick(ready) {
    this.#wanting = ready;
    this.#handle({ type: "pick" });
  }
  /** Goes elsewhere because the server says so; whether it does. */
  redirect(redirect) {
    this.#handle({ type: "redirect", redirect });
    return this.#regions.isSentTo(redirect.places);
  }
  /** How the region that answered the dial calls itself; `dialed` follows. */
  named(name) {
    this.#handle({ type: "named", name });
  }
  /** The connection, or the dial under way, was dropped by this side. */
  dropped() {
    this.#wanting = null;
    this.#handle({ type: "dropped" });
  }
  /** Hears what happens to the connection and to the page. */
  hear(event) {
    switch (event.type) {
      case "dial_failed":
      case "lost":
        return this.#handle(event);
      case "dialed":
      case "offline":
      case "online":
      case "freeze":
      case "wake":
        return this.#handle({ type: event.type });
    }
  }
  #handle(event) {
    const actions = this.#regions.handle(event, this.#setup.clock.now());
    this.#alarm.clear();
    this.#alarm.by(this.#regions.wakeAt());
    for (const action2 of actions) this.#carryOut(action2);
  }
  #carryOut(action2) {
    switch (action2.type) {
      case "probe":
        for (const url of action2.urls) void this.#probe(url);
        return;
      case "dial": {
        const ready = this.#wanting;
        this.#wanting = null;
        return ready?.(action2.url, action2.redirected);
      }
      case "move":
        return this.#events.move();
      case "arrived":
        return this.#events.arrived(action2.change);
      case "redirected":
        return this.#events.redirected(action2.notice);
    }
  }
  async #probe(url) {
    const { fetch, clock } = this.#setup;
    const health = fetch ? await probe(fetch, clock, url) : null;
    this.#handle({ type: "probed", url, health });
  }
};

// src/engine.ts
var TICK_MS = 1e3;
var RETIRE_MS = 1e4;
var OWN_TAKEOVER_MS = 1e4;
var MODES_MS = 2e3;
var Engine = class {
  #setup;
  #events;
  #waking;
  #dialer;
  #navigator;
  #machine;
  #ending = new Ending();
  #alarm;
  #attempt = null;
  #generation = 0;
  #current = null;
  #retiring = null;
  #rivalsUntil = 0;
  #ticker = null;
  #renewing = false;
  #modes = ALL_NORMAL;
  /** The next connection is none: channels are polled. */
  #polls = false;
  /** Until when a new session may be told the modes that stand; told nothing, all is normal. */
  #modesBy = Infinity;
  constructor(setup, events) {
    const { clock } = setup;
    this.#setup = setup;
    this.#events = events;
    this.#waking = new WakingTime(clock.now());
    this.#dialer = new Dialer({ ...setup.dialer, clock, waking: this.#waking });
    this.#navigator = new Navigator({ ...setup.regions, online: setup.online, clock }, {
      move: () => this.handle({ type: "move" }),
      // Told when the machine is done with what it handles, so that a listener may close the client.
      arrived: (change) => queueMicrotask(() => this.#events.region(change)),
      redirected: (notice) => queueMicrotask(() => this.#events.redirect(notice))
    });
    const policy = { ...setup.machine, canRenewToken: setup.token.canRenew };
    this.#machine = new Machine(policy, () => clock.random());
    this.#alarm = new Alarm(clock, () => this.handle({ type: "timer" }));
    if (!setup.online) this.#machine.handle({ type: "offline" }, clock.now());
  }
  get state() {
    return this.#machine.state;
  }
  /** The region of this client, as it calls itself or by its address; `null` before the first. */
  get region() {
    return this.#navigator.region;
  }
  /** How much of its service the gateway gives. */
  get modes() {
    return this.#modes;
  }
  /** The session to send on; `null` while there is none. */
  get session() {
    return this.#current;
  }
  get awake() {
    return this.#waking.at(this.#setup.clock.now());
  }
  handle(event) {
    const now = this.#setup.clock.now();
    this.#navigator.hear(event);
    const actions = this.#machine.handle(event, now);
    this.#keepTicking();
    this.#alarm.by(this.#machine.wakeAt());
    for (const action2 of actions) this.#carryOut(action2);
  }
  /** Ends the current session for a reason that asks for a new connection. */
  reconnect(error) {
    this.#current?.fail(error);
  }
  /** Whether this client goes to where a channel is that is not here. */
  followsZone(error) {
    if (error.code !== "wrong_region" || error.elsewhere.length === 0) return false;
    return this.#navigator.redirect({ places: error.elsewhere, reason: "zone", afterMs: 0 });
  }
  /** Gets a fresh token from the application and gives it to the running session. */
  renewToken() {
    if (this.#renewing || !this.#setup.token.canRenew) return;
    this.#renewing = true;
    const { token } = this.#setup;
    token.renewed().then(
      (fresh) => {
        this.#renewing = false;
        this.#current?.command({ refresh: { token: fresh } }, {
          reply: (message) => {
            if (message.type === "refreshed") token.accepted(message.expiresInMs);
          },
          failed: (error) => {
            token.retryLater();
            this.#events.fault(error);
          },
          lost: () => void 0
        });
      },
      (error) => {
        this.#renewing = false;
        this.#events.fault(error);
      }
    );
  }
  #carryOut(action2) {
    switch (action2.type) {
      case "dial":
        return this.#dial();
      case "abort_dial":
        return this.#abortDial();
      case "drop":
        return this.#drop();
      case "retire":
        return;
      case "probe":
        return this.#current?.tick(this.awake, true);
      case "renew_token":
        return this.#setup.token.invalidate();
      case "stop":
        return this.#events.stopped(action2.error);
      case "state":
        if (action2.state === "closed" || action2.state === "stopped") this.#finishRetiring();
        return this.#events.state(action2.state);
    }
  }
  #dial() {
    const generation = ++this.#generation;
    this.#setup.token.current().then(
      (token) => {
        if (generation !== this.#generation) return;
        this.#navigator.pick((url, redirected) => this.#race(generation, url, token, redirected));
      },
      (error) => {
        if (generation !== this.#generation) return;
        const typed = asMeridianError(error, "token_callback_failed", "reconnect", "the token callback failed");
        this.#events.fault(typed);
        this.handle({ type: "dial_failed", error: typed });
      }
    );
  }
  #race(generation, url, token, redirected) {
    const { cause } = this.#ending;
    const greeting = {
      ...this.#setup.greeting,
      ...token === void 0 ? {} : { token },
      ...cause === void 0 ? {} : { reconnect: cause },
      ...redirected === void 0 ? {} : { redirected }
    };
    this.#attempt = this.#dialer.dial(
      url,
      this.#polls,
      greeting,
      {
        message: (session, message, lane, bytes) => this.#message(session, message, lane, bytes),
        laneEnded: (session, lane) => this.#events.laneEnded(session, lane),
        closed: (session, error) => this.#closed(session, error)
      },
      (won) => this.#won(won),
      (error) => {
        if (generation !== this.#generation) return;
        this.#attempt = null;
        this.#events.fault(error);
        this.handle({ type: "dial_failed", error });
        const full = error.code === "too_many_sessions" && error.elsewhere.length > 0;
        if (full && !this.#current) this.#navigator.redirect({ places: error.elsewhere, reason: "overload", afterMs: 0 });
      }
    );
  }
  #won({ session, rivals }) {
    const previous = this.#current;
    this.#current = session;
    this.#finishRetiring();
    if (previous) this.#retiring = { session: previous, until: this.awake + RETIRE_MS };
    this.#attempt = null;
    this.#rivalsUntil = rivals ? this.awake + OWN_TAKEOVER_MS : 0;
    this.#ending.began();
    this.#setup.token.accepted(session.info.expiresInMs);
    this.#navigator.named(session.info.region);
    this.handle({ type: "dialed" });
    this.#modesBy = session.transport === "polling" ? Infinity : this.awake + MODES_MS;
    session.activate();
    if (!session.over) this.#events.up(session);
  }
  #message(session, message, lane, bytes) {
    if (message.type === "drain") {
      if (session !== this.#current) return;
      this.#ending.drained();
      this.#events.drain(message.afterMs);
      return this.handle({ type: "drain", afterMs: message.afterMs });
    }
    if (message.type === "mode") {
      if (session === this.#current) this.#follow(session, message.modes, message.afterMs);
      return;
    }
    if (message.type === "redirect") {
      if (session === this.#current) this.#navigator.redirect(message);
      return;
    }
    if (message.type !== "error") return this.#events.message(session, message, lane, bytes);
    if (message.error.action === "refresh") this.renewToken();
    this.#events.fault(message.error);
  }
  /** Leaves the connection for polls, or polls for a connection, at the moment that the gateway gave. */
  #follow(session, modes2, afterMs) {
    this.#modesBy = Infinity;
    this.#told(modes2);
    const polls = this.#dialer.mayPoll && leavesConnection(modes2, this.#events.channels());
    if (polls === this.#polls) return;
    this.#polls = polls;
    if (polls !== (session.transport === "polling")) this.handle({ type: "drain", afterMs });
  }
  #told(modes2) {
    if (sameModes(modes2, this.#modes)) return;
    this.#modes = modes2;
    this.#events.mode(modes2);
  }
  #closed(session, error) {
    this.#dialer.sessionEnded(session, error);
    if (this.#retiring?.session === session) {
      this.#retiring = null;
      return this.#events.down(session, error);
    }
    if (session !== this.#current) return;
    this.#current = null;
    if (this.#waking.late(this.#setup.clock.now())) this.#ending.woke(this.awake);
    this.#ending.lost(error, this.awake);
    const moving = this.#attempt !== null || this.awake < this.#rivalsUntil;
    const own = error.code === "taken_over" && moving;
    const reason = own ? new MeridianError(error.code, "reconnect", error.message) : error;
    this.#events.down(session, reason);
    this.#events.fault(reason);
    this.handle({ type: "lost", error: reason });
  }
  #abortDial() {
    this.#generation += 1;
    this.#attempt?.abort();
    this.#attempt = null;
    this.#navigator.dropped();
  }
  #drop() {
    this.#finishRetiring();
    const session = this.#current;
    this.#current = null;
    if (!session) return;
    this.#navigator.dropped();
    this.#ending.dropped(this.state === "closed");
    session.close();
    this.#events.down(session, new MeridianError("closed", "reconnect", "the client closed the connection"));
  }
  #finishRetiring() {
    const session = this.#retiring?.session;
    this.#retiring = null;
    if (!session) return;
    session.close();
    this.#events.down(session, new MeridianError("moved", "reconnect", "the client moved to another connection"));
  }
  #keepTicking() {
    const wanted = this.state !== "idle" && this.state !== "closed" && this.state !== "stopped";
    if (!wanted && this.#ticker !== null) {
      this.#setup.clock.clearTimeout(this.#ticker);
      this.#ticker = null;
    } else if (wanted && this.#ticker === null) {
      this.#waking.tick(this.#setup.clock.now());
      this.#ticker = this.#setup.clock.setTimeout(() => this.#tick(), TICK_MS);
    }
  }
  #tick() {
    this.#ticker = this.#setup.clock.setTimeout(() => this.#tick(), TICK_MS);
    const now = this.#setup.clock.now();
    const { awake, late } = this.#waking.tick(now);
    if (late) {
      this.#ending.woke(awake);
      this.handle({ type: "wake" });
    }
    this.#current?.tick(awake, false);
    this.#retiring?.session.tick(awake, false);
    if (this.#retiring && (awake >= this.#retiring.until || this.#events.idle(this.#retiring.session))) {
      this.#finishRetiring();
    }
    if (this.#current && this.#setup.token.due(now)) this.renewToken();
    if (awake >= this.#modesBy) {
      this.#modesBy = Infinity;
      this.#told(ALL_NORMAL);
    }
    this.#events.tick(awake);
  }
};

// src/feed.ts
var Feed = class {
  #values = /* @__PURE__ */ new Map();
  #onChange;
  #subscription = null;
  /** @internal */
  constructor(onChange) {
    this.#onChange = onChange;
  }
  /** Each key with its newest event. */
  get values() {
    return this.#values;
  }
  get subscription() {
    return this.#subscription;
  }
  unsubscribe() {
    this.#subscription?.unsubscribe();
  }
  /** @internal */
  keep(subscription) {
    this.#subscription = subscription;
    return this;
  }
  /** @internal */
  take(event) {
    const { key } = event;
    if (key !== void 0 && event.kind !== "unreadable" && this.#isNewer(key, event)) {
      if (event.kind === "publish") {
        this.#values.set(key, event);
        this.#onChange?.(key, event);
      } else this.#drop(key);
    }
    for (const evicted of event.evicts) if (this.#isNewer(evicted, event)) this.#drop(evicted);
  }
  /** @internal All current values follow. */
  lost(_gap) {
    for (const key of [...this.#values.keys()]) this.#drop(key);
  }
  #drop(key) {
    if (this.#values.delete(key)) this.#onChange?.(key, void 0);
  }
  #isNewer(key, event) {
    const held = this.#values.get(key);
    if (!held) return true;
    const [epoch, offset] = [event.epoch ?? 0, event.offset ?? 0];
    return epoch > (held.epoch ?? 0) || epoch === held.epoch && offset >= (held.offset ?? 0);
  }
};

// src/lifecycle.ts
function currentPage() {
  const scope = globalThis;
  const worker = typeof scope.addEventListener === "function" ? globalThis : void 0;
  const isNode = globalThis.process?.versions?.node !== void 0;
  return {
    window: isNode ? void 0 : scope.window ?? worker,
    document: isNode ? void 0 : scope.document,
    online: scope.navigator?.onLine !== false
  };
}
function watchPage(page, signals) {
  const listening = [];
  const on = (target, type, run) => {
    if (!target) return;
    target.addEventListener(type, run);
    listening.push(() => target.removeEventListener(type, run));
  };
  on(page.window, "online", () => signals.online());
  on(page.window, "offline", () => signals.offline());
  on(page.window, "pageshow", (event) => {
    if (event.persisted) signals.woke();
  });
  on(page.window, "pagehide", () => signals.leaving());
  on(page.document, "freeze", () => {
    signals.leaving();
    signals.froze();
  });
  on(page.document, "resume", () => signals.woke());
  on(page.document, "visibilitychange", () => {
    if (page.document?.visibilityState === "hidden") signals.leaving();
    else signals.woke();
  });
  return () => {
    for (const stop of listening) stop();
  };
}

// src/transport/http/api.ts
var Api = class {
  #fetch;
  #base;
  token;
  constructor(fetch, base) {
    this.#fetch = fetch;
    this.#base = base;
  }
  /**
   * Posts `body`; a refusal of the gateway is an answer, everything else that fails throws. The token goes
   * in a header, not in the address, which proxies write down; so it is no GET of a plain EventSource, and
   * one form serves few channels and many.
   */
  async post(path, body, signal) {
    const response = await this.#fetch(`${this.#base}${path}`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...this.token === void 0 ? {} : { authorization: `Bearer ${this.token}` }
      },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal
    });
    if (response.ok) return { response, problem: null };
    return { response: null, problem: await problemOf(response) };
  }
  /** Gets what is at `path`, unless it is what has this `tag`. */
  async get(path, tag, signal) {
    const response = await this.#fetch(`${this.#base}${path}`, {
      headers: {
        ...tag === null ? {} : { "if-none-match": tag },
        ...this.token === void 0 ? {} : { authorization: `Bearer ${this.token}` }
      },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal
    });
    const { headers } = response;
    if (response.ok) return { response, problem: null, headers };
    return { response: null, problem: response.status === 304 ? null : await problemOf(response), headers };
  }
};
async function problemOf(response) {
  const { status } = response;
  const body = await response.json().catch(() => null);
  const ours = typeof body === "object" && body !== null && typeof body["code"] === "string";
  if (ours && status !== 404 && status !== 405) return body;
  throw new MeridianError("connect_failed", "reconnect", `the gateway's address answered ${status}`);
}

// src/transport/http/channels.ts
var Channels = class {
  #held = /* @__PURE__ */ new Map();
  /** What the request that goes out now asks for. */
  ask() {
    for (const held of this.#held.values()) held.sent = true;
    return { channels: [...this.#held].map(([channel, { start }]) => ({ channel, ...start })) };
  }
  subscribe(id, body) {
    const { channel, cursor, last } = body;
    const start = cursor !== void 0 ? { cursor } : last !== void 0 ? { last } : {};
    this.#held.set(channel, { start, asked: id, sent: false });
  }
  /** Whether there was something to leave. */
  unsubscribe(channel) {
    return this.#held.delete(channel);
  }
  /** The gateway refuses a channel: what to tell for it, `null` if it is none of ours. */
  refused(channel, problem) {
    const held = this.#held.get(channel);
    if (!held) return null;
    this.#held.delete(channel);
    if (held.asked !== null) return { id: held.asked, error: problem };
    return { unsubscribed: { channel, code: problem["code"], action: problem["action"] } };
  }
  /** The message as the session gets it; `null` for one that is no news. */
  take(message) {
    const [name, body] = Object.entries(message)[0] ?? [];
    if (name === void 0 || typeof body !== "object" || body === null) return null;
    const about = body;
    const channel = about["channel"];
    const held = this.#held.get(channel);
    switch (name) {
      case "subscribed":
        return this.#subscribed(channel, held, about);
      case "events":
        return held && this.#moved(held, about, lastOffset(about)) ? message : null;
      case "gap":
        return held && this.#moved(held, about, about["offset"]) ? message : null;
      case "skipped":
        return held && held.asked === null ? message : null;
      case "unsubscribed":
        return this.#held.delete(channel) ? message : null;
      default:
        return message;
    }
  }
  /** A request that goes on repeats `subscribed` for what is followed already. */
  #subscribed(channel, held, body) {
    const id = held?.asked ?? null;
    if (held && (id === null || !held.sent)) return null;
    const entry = held ?? { start: {}, asked: null, sent: true };
    entry.asked = null;
    entry.start = {};
    this.#held.set(channel, entry);
    this.#moved(entry, body, body["offset"]);
    return id === null ? { subscribed: body } : { id, subscribed: body };
  }
  /** Whether the message counts: what came before the answer to a subscribe belongs to an earlier one. */
  #moved(held, body, offset) {
    if (held.asked !== null) return false;
    if (typeof body["stream"] === "string" && typeof offset === "number") held.start = { cursor: `${body["stream"]}.${offset}` };
    return true;
  }
};
function lastOffset(body) {
  const events = body["events"];
  return Array.isArray(events) ? events.at(-1)?.["offset"] : void 0;
}

// src/transport/http/past.ts
var LIMIT = 100;
var LIMIT_MOST = 1e3;
function askPast(body) {
  const { channel, after } = body;
  const last = Math.min(Number(body["last"] ?? LIMIT), limitOf(body));
  return { channels: [after === void 0 ? { channel, last } : { channel, cursor: after }] };
}
function readPast(body, messages) {
  const of = (name) => messages.flatMap((message) => message[name] === void 0 ? [] : [message[name]]);
  const [place2] = of("subscribed");
  if (!place2 || place2["stream"] === void 0) return null;
  const [gap] = of("gap");
  const batches = of("events");
  const { stream, epoch } = batches[0] ?? gap ?? place2;
  const all = batches.flatMap((batch) => batch["events"].map((event) => ({ batch, event })));
  const events = all.filter(({ batch }) => batch["stream"] === stream).map(({ event }) => event).slice(0, limitOf(body));
  const offset = events.at(-1)?.["offset"] ?? (gap ?? place2)["offset"];
  const gone2 = gap && { gone: { reason: gap["reason"], epoch: gap["epoch"], offset: gap["offset"] } };
  return { channel: body["channel"], stream, epoch, offset, events, more: events.length < all.length, ...gone2 };
}
function limitOf(body) {
  return Math.min(Number(body["limit"] ?? body["last"] ?? LIMIT), LIMIT_MOST);
}

// src/transport/http/event-stream.ts
var BLOCK_CHARACTERS_MOST = 16 * 1048576;
var BlockReader = class {
  #decoder = new TextDecoder();
  #rest = "";
  #data = [];
  #held = 0;
  /** The data of the blocks that `bytes` complete. Throws `bad_frame` where a block never ends. */
  push(bytes) {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    const blocks = [];
    for (const line of lines) {
      const block = this.#line(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (block !== null) blocks.push(block);
    }
    if (this.#held + this.#rest.length > BLOCK_CHARACTERS_MOST) throw badFrame("a block that does not end");
    return blocks;
  }
  #line(line) {
    if (line !== "") {
      if (line.startsWith("data:")) {
        this.#data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
        this.#held += line.length;
      }
      return null;
    }
    const block = this.#data.length > 0 ? this.#data.join("\n") : null;
    this.#data = [];
    this.#held = 0;
    return block;
  }
};

// src/transport/http/reading.ts
var PADDING_BYTES = 2048;
var ANSWER_MS4 = 15e3;
var WAIT_MS = 2e4;
var eventStream = (api, clock, events) => new EventStream(api, clock, events);
var longPoll = (api, clock, events) => new LongPoll(api, clock, events);
var EventStream = class {
  polls = false;
  #api;
  #clock;
  #events;
  #live = null;
  #opening = null;
  constructor(api, clock, events) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }
  ask(request) {
    this.#opening?.abort();
    const abort = new AbortController();
    this.#opening = abort;
    void this.#run(request, abort);
  }
  close() {
    this.#opening?.abort();
    this.#live?.abort();
    this.#opening = null;
    this.#live = null;
  }
  async #run(request, abort) {
    const counts = () => this.#opening === abort || this.#live === abort;
    try {
      const timer = this.#clock.setTimeout(() => abort.abort(), ANSWER_MS4);
      const answer = await this.#api.post("/v1/sse", { ...request, padding: PADDING_BYTES }, abort.signal).finally(() => this.#clock.clearTimeout(timer));
      if (!counts()) return;
      this.#opening = null;
      if (answer.problem) return this.#events.refused(answer.problem);
      this.#live?.abort();
      this.#live = abort;
      this.#events.answered();
      await this.#read(answer.response, counts);
      if (counts()) this.#events.ended(new MeridianError("connection_lost", "reconnect", "the event stream ended"));
    } catch (error) {
      if (counts()) this.#events.ended(failure(error));
    }
  }
  async #read(response, counts) {
    if (!response.body) throw new MeridianError("connect_failed", "reconnect", "this platform streams no answers");
    const reader = response.body.getReader();
    const blocks = new BlockReader();
    for (; ; ) {
      const { done, value } = await reader.read();
      if (done || !counts()) return;
      this.#events.alive();
      for (const block of blocks.push(value)) {
        this.#events.messages([parse(block)]);
        if (!counts()) return;
      }
    }
  }
};
var LongPoll = class {
  polls = true;
  #api;
  #clock;
  #events;
  #under = null;
  /** The last answer told a mode. */
  #told = false;
  constructor(api, clock, events) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }
  ask(request, greet) {
    this.#under?.abort();
    const abort = new AbortController();
    this.#under = abort;
    void this.#run({ ...request, ...greet ? { greet } : {}, wait_ms: WAIT_MS }, abort);
  }
  close() {
    this.#under?.abort();
    this.#under = null;
  }
  /** Each answer tells the modes that stand, unless all is normal. */
  #mode(messages) {
    const told = messages.some((message) => message["mode"] !== void 0);
    if (this.#told && !told) this.#events.messages([{ mode: { mode: "normal" } }]);
    this.#told = told;
  }
  async #run(request, abort) {
    const counts = () => this.#under === abort;
    try {
      const problem = await poll(this.#api, this.#clock, request, abort, (messages) => {
        if (!counts()) return;
        this.#events.alive();
        this.#events.messages(messages);
        this.#mode(messages);
        if (counts()) this.#events.answered();
      });
      if (problem && counts()) this.#events.refused(problem);
    } catch (error) {
      if (counts()) this.#events.ended(failure(error));
    }
  }
};
async function poll(api, clock, request, abort, take) {
  const timer = clock.setTimeout(() => abort.abort(), ANSWER_MS4 + Number(request["wait_ms"] ?? 0));
  try {
    const answer = await api.post("/v1/poll", request, abort.signal);
    if (answer.problem) return answer.problem;
    const { messages } = await answer.response.json();
    if (!Array.isArray(messages)) throw badFrame("an answer without messages");
    take(messages);
    return null;
  } finally {
    clock.clearTimeout(timer);
  }
}
function parse(block) {
  try {
    return JSON.parse(block);
  } catch {
    throw badFrame("a block that is no JSON");
  }
}
function failure(error) {
  return asMeridianError(error, "connection_lost", "reconnect", "the request failed");
}

// src/transport/http/link.ts
var PAST_MS = 5e3;
function dialHttp(setup) {
  return (address, events) => new HttpLink(setup, address, events);
}
var HttpLink = class {
  sendsNothing = true;
  #clock;
  #events;
  #api;
  #reading;
  #channels = new Channels();
  #requests = /* @__PURE__ */ new Set();
  /** What the first request says beyond its channels. */
  #hello = {};
  /** Answered by the next `connected`. */
  #waiting = [];
  #connected = false;
  #asking = false;
  #again = false;
  #over = false;
  constructor({ fetch, clock, reading }, address, events) {
    this.#clock = clock;
    this.#events = events;
    this.#api = new Api(fetch, address.url);
    this.#reading = reading(this.#api, clock, {
      answered: () => this.#answered(),
      messages: (messages) => this.#messages(messages),
      alive: () => this.#events.frame("[]", FIRST_STREAM),
      refused: (problem) => this.#refused(problem),
      ended: (error) => this.#end(error)
    });
    queueMicrotask(() => {
      if (!this.#over) events.opened();
    });
  }
  send(frame) {
    if (this.#over) return;
    const commands = [JSON.parse(frame)].flat();
    let asks = false;
    for (const command of commands) asks = this.#command(command) || asks;
    if (asks) this.#ask();
  }
  close() {
    this.#over = true;
    this.#reading.close();
    for (const request of this.#requests) request.abort();
    this.#requests.clear();
  }
  /** Carries a command out; answers whether there is to be asked anew. */
  #command(command) {
    const id = command["id"];
    const name = Object.keys(command).find((key) => key !== "id");
    const body = command[name];
    switch (name) {
      case "connect":
        return this.#connect(id, body);
      case "subscribe":
        return this.#subscribe(id, body);
      case "unsubscribe":
        return this.#unsubscribe(id, body["channel"]);
      case "refresh":
        return this.#refresh(id, body["token"]);
      case "ping":
        this.#waiting.push(() => this.#tell({ id, pong: {} }));
        return true;
      case "pong":
        return false;
      case "publish":
        return this.#publish(id, body, (answer) => ({ published: answer }));
      case "publish_batch":
        return this.#publish(id, body, (answer) => ({ published_batch: answer }));
      case "history":
        return this.#history(id, body);
      default:
        return this.#unsupported(id);
    }
  }
  #connect(id, { token, redirected, reconnect, fallback }) {
    this.#api.token = token;
    this.#hello = { redirected, reconnect, fallback };
    this.#waiting.push((connected) => {
      this.#hello = {};
      this.#connected = true;
      this.#tell({ id, connected });
    });
    return true;
  }
  #subscribe(id, body) {
    if (body["acked"] === true) return this.#unsupported(id);
    this.#channels.subscribe(id, body);
    return true;
  }
  #unsubscribe(id, channel) {
    const left = this.#channels.unsubscribe(channel);
    if (left) this.#tell({ id, unsubscribed: { channel, code: "requested", action: "stop" } });
    else this.#tell({ id, error: { code: "not_subscribed", message: "the session is not subscribed to this channel", action: "stop" } });
    return left;
  }
  #refresh(id, token) {
    this.#api.token = token;
    this.#waiting.push((connected) => this.#tell({ id, refreshed: { expires_in_ms: connected["expires_in_ms"] } }));
    return true;
  }
  #unsupported(id) {
    const message = "this server does not know that command or option over plain requests";
    this.#tell({ id, error: { code: "unsupported", message, action: "stop" } });
    return false;
  }
  #publish(id, body, reply) {
    const request = this.#request();
    this.#api.post("/v1/publish", body, request.signal).then(async ({ response, problem }) => problem ? { error: problem } : reply(await response.json())).catch(() => ({ error: { code: "outcome_unknown", message: "the request failed on its way", action: "retry" } })).then((answer) => this.#settle(request, { id, ...answer }));
    return false;
  }
  #history(id, body) {
    const request = this.#request();
    let past = null;
    const take = (messages) => void (past = readPast(body, messages));
    poll(this.#api, this.#clock, { ...askPast(body), greet: true, wait_ms: PAST_MS }, request, take).then((problem) => ({ error: problem ?? { code: "unsupported", message: "this channel keeps no events", action: "stop" } })).catch(() => ({ error: { code: "unavailable", message: "the request failed on its way", action: "retry" } })).then((error) => this.#settle(request, past ? { id, history: past } : { id, ...error }));
    return false;
  }
  #request() {
    const request = new AbortController();
    this.#requests.add(request);
    return request;
  }
  #settle(request, message) {
    if (this.#requests.delete(request)) this.#tell(message);
  }
  /** Asks for what is wanted now; one at a time, for each is the whole. */
  #ask() {
    if (this.#over) return;
    this.#again = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    this.#reading.ask({ ...this.#hello, ...this.#channels.ask() }, true);
  }
  #answered() {
    this.#asking = false;
    if (this.#again) this.#ask();
    else if (this.#reading.polls && !this.#over) this.#reading.ask(this.#channels.ask(), false);
  }
  #messages(messages) {
    for (const message of messages) {
      if (this.#over) return;
      if (message["connected"] !== void 0) this.#greeted(message["connected"]);
      else if (message["error"] !== void 0) this.#end(readError(message["error"]));
      else {
        const told = this.#channels.take(message);
        if (told) this.#tell(told);
      }
    }
  }
  #greeted(connected) {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const reply of waiting) reply(connected);
  }
  /** A refusal of one channel costs that one; any other is about the whole connection. */
  #refused(problem) {
    const channel = problem["channel"];
    const told = typeof channel === "string" ? this.#channels.refused(channel, problem) : null;
    if (!told) return this.#end(readError(problem));
    this.#asking = false;
    this.#tell(told);
    this.#ask();
  }
  #tell(message) {
    queueMicrotask(() => {
      if (!this.#over) this.#events.frame(JSON.stringify(message), FIRST_STREAM);
    });
  }
  #end(error) {
    if (this.#over) return;
    const never = !this.#connected && (error.code === "connection_lost" || error.code === "bad_frame");
    queueMicrotask(() => {
      if (this.#over) return;
      this.close();
      this.#events.closed(never ? new MeridianError("connect_failed", "reconnect", "the requests do not get through") : error);
    });
  }
};

// src/transport/http/channel-polls.ts
var JITTER = 0.25;
var INTERVAL_MS = 1e4;
var WATCH_MS = 3e4;
var RETURN_MS = 1e4;
var NOT_POLLED_MS = 3e4;
var ANSWER_MS5 = 15e3;
var channelPolls = (api, clock, events) => new ChannelPolls(api, clock, events);
var ChannelPolls = class {
  polls = false;
  #api;
  #clock;
  #events;
  #loops = /* @__PURE__ */ new Map();
  #greetings = /* @__PURE__ */ new Set();
  #watch = null;
  #over = false;
  constructor(api, clock, events) {
    this.#api = api;
    this.#clock = clock;
    this.#events = events;
  }
  ask(request) {
    const channels = request["channels"];
    void this.#greet(() => {
      this.#keep(channels);
      this.#events.answered();
    });
  }
  close() {
    this.#over = true;
    this.#clock.clearTimeout(this.#watch);
    for (const greeting of this.#greetings) greeting.abort();
    for (const loop of [...this.#loops.values()]) this.#stop(loop);
  }
  /** Who this client is, and how much of its service the gateway gives. */
  async #greet(then) {
    const abort = new AbortController();
    this.#greetings.add(abort);
    try {
      const problem = await poll(this.#api, this.#clock, { channels: [], greet: true, wait_ms: 0 }, abort, (messages) => {
        if (this.#over) return;
        this.#watchMode();
        this.#events.alive();
        this.#events.messages(messages);
        if (!messages.some((message) => message["mode"] !== void 0)) this.#mode("normal", 0);
        then();
      });
      if (problem && !this.#over) this.#events.refused(problem);
    } catch (error) {
      if (!this.#over) this.#fail(error);
    } finally {
      this.#greetings.delete(abort);
    }
  }
  /** Follows these channels and no others. */
  #keep(channels) {
    const named = new Set(channels.map((entry) => entry["channel"]));
    for (const loop of [...this.#loops.values()]) if (!named.has(loop.channel)) this.#stop(loop);
    for (const { channel, cursor, last } of channels) {
      const held = this.#loops.get(channel);
      if (held && held.cursor !== null && held.cursor === cursor) this.#begun(held);
      else this.#start(channel, cursor ?? null, last !== void 0, held);
    }
  }
  #start(channel, cursor, withNewest, held) {
    if (held) this.#stop(held);
    const loop = { channel, abort: new AbortController(), timer: null, cursor, withNewest, tag: null };
    this.#loops.set(channel, loop);
    void this.#turn(loop, true);
  }
  #stop(loop) {
    loop.abort.abort();
    this.#clock.clearTimeout(loop.timer);
    if (this.#loops.get(loop.channel) === loop) this.#loops.delete(loop.channel);
  }
  async #turn(loop, first) {
    const counts = () => !this.#over && this.#loops.get(loop.channel) === loop;
    const timer = this.#clock.setTimeout(() => loop.abort.abort(), ANSWER_MS5);
    try {
      const what = loop.cursor === null ? "latest" : `events?after=${encodeURIComponent(loop.cursor)}`;
      const path = `/v1/channels/${encodeURIComponent(loop.channel)}/${what}`;
      const { response, problem, headers } = await this.#api.get(path, loop.tag, loop.abort.signal);
      const page = response ? (await response.json()).history : null;
      if (!counts()) return;
      const intervalMs = Number(headers.get("poll-interval-ms") ?? INTERVAL_MS);
      if (problem) {
        if (problem["code"] !== "rate_limited") return this.#refused(loop, problem);
        return this.#again(loop, first, Math.max(intervalMs, Number(problem["retry_after_ms"] ?? 0)));
      }
      loop.tag = headers.get("etag");
      this.#events.alive();
      if (page) this.#tell(loop, page, first);
      if (counts()) this.#mode(headers.get("meridian-mode") ?? "normal", intervalMs);
      if (counts()) this.#again(loop, false, intervalMs);
    } catch (error) {
      if (counts()) this.#fail(error);
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }
  #again(loop, first, ms) {
    const wait = ms * (1 + JITTER * this.#clock.random());
    loop.timer = this.#clock.setTimeout(() => void this.#turn(loop, first), wait);
  }
  #tell(loop, page, first) {
    const { channel } = loop;
    const { stream, epoch, offset, gone: gone2 } = page;
    let events = page["events"];
    if (loop.cursor === null) {
      const newest = events.at(-1)?.["offset"];
      const before = loop.withNewest && newest !== void 0;
      loop.cursor = `${stream}.${before ? newest - 1 : offset}`;
      if (!before) events = [];
    }
    if (first) this.#begun(loop);
    const from = loop.cursor;
    const messages = [];
    if (gone2) messages.push({ gap: { channel, reason: gone2["reason"], from, stream, epoch: gone2["epoch"], offset: gone2["offset"] } });
    if (events.length > 0) messages.push({ events: { channel, stream, epoch, events } });
    loop.cursor = `${stream}.${events.at(-1)?.["offset"] ?? offset}`;
    if (loop.cursor !== from) loop.tag = null;
    if (messages.length > 0) this.#events.messages(messages);
  }
  #begun({ channel, cursor }) {
    const parts = (cursor ?? "").split(".");
    const offset = Number(parts.pop());
    const place2 = { stream: parts.join("."), epoch: Number(parts.at(-2)), offset };
    this.#events.messages([{ subscribed: { channel, class: "strict", ...place2 } }]);
  }
  #refused(loop, problem) {
    this.#stop(loop);
    const { channel } = loop;
    if (problem["action"] === "refresh") return this.#events.refused(problem);
    const unsupported = problem["code"] === "unsupported";
    this.#events.refused({ ...problem, channel, ...unsupported ? { action: "retry", retry_after_ms: NOT_POLLED_MS } : {} });
  }
  #mode(name, intervalMs) {
    this.#watchMode();
    if (name === "polling-only") return;
    const afterMs = Math.floor(this.#clock.random() * Math.max(RETURN_MS, intervalMs));
    this.#events.messages([{ mode: { mode: name, after_ms: afterMs } }]);
  }
  #watchMode() {
    this.#clock.clearTimeout(this.#watch);
    const wait = WATCH_MS * (1 + JITTER * this.#clock.random());
    this.#watch = this.#clock.setTimeout(() => void this.#greet(() => void 0), wait);
  }
  #fail(error) {
    this.#events.ended(asMeridianError(error, "connection_lost", "reconnect", "the request failed"));
  }
};

// src/transport/websocket.ts
function dialWebSocket(constructor) {
  return (address, events) => new WebSocketLink(constructor, address, events);
}
var WebSocketLink = class {
  #events;
  #socket;
  #open = false;
  #over = false;
  constructor(constructor, address, events) {
    this.#events = events;
    const socket = new constructor(address.url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#open = true;
      if (!this.#over) events.opened();
    };
    socket.onmessage = (event) => this.#message(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
    socket.onerror = () => void 0;
  }
  send(frame) {
    if (!this.#over && this.#open) this.#socket.send(frame);
  }
  close(code, reason) {
    this.#over = true;
    try {
      this.#socket.close(code, reason);
    } catch {
    }
  }
  #message(data) {
    if (this.#over) return;
    if (typeof data === "string") this.#events.frame(data, FIRST_STREAM);
    else if (data instanceof ArrayBuffer) this.#events.frame(new Uint8Array(data), FIRST_STREAM);
  }
  #closed(code, reason) {
    if (this.#over) return;
    this.#over = true;
    const error = closeError(code, reason ?? "");
    const never = !this.#open && error.code === "connection_lost";
    this.#events.closed(
      never ? new MeridianError("connect_failed", "reconnect", "the WebSocket did not open") : error
    );
  }
};

// src/codec/frames.ts
var MAX_FRAME_BYTES = 64 * 1024 * 1024;
var MAX_VARINT = 2 ** 62;
function varintLength(value) {
  if (value < 64) return 1;
  if (value < 16384) return 2;
  return value < 1073741824 ? 4 : 8;
}
function encodeVarint(value) {
  if (!Number.isSafeInteger(value) || value < 0 || value >= MAX_VARINT) {
    throw new RangeError(`not a variable-length integer: ${value}`);
  }
  const length = varintLength(value);
  const bytes = new Uint8Array(length);
  let rest = value;
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  bytes[0] = (bytes[0] ?? 0) | Math.log2(length) << 6;
  return bytes;
}
function prefixed(frame) {
  const head = encodeVarint(frame.length);
  const out = new Uint8Array(head.length + frame.length);
  out.set(head);
  out.set(frame, head.length);
  return out;
}
var FrameReader = class {
  #maxBytes;
  #chunks = [];
  #held = 0;
  #wanted = null;
  constructor(maxBytes = MAX_FRAME_BYTES) {
    this.#maxBytes = maxBytes;
  }
  /** Whether the stream stands between two frames. */
  get atBoundary() {
    return this.#held === 0 && this.#wanted === null;
  }
  /** Takes the next bytes and answers the frames they complete. Throws `bad_frame` on a frame too long. */
  push(chunk) {
    if (chunk.length > 0) {
      this.#chunks.push(chunk);
      this.#held += chunk.length;
    }
    const frames = [];
    for (; ; ) {
      this.#wanted ??= this.#length();
      if (this.#wanted === null || this.#held < this.#wanted) return frames;
      frames.push(this.#take(this.#wanted));
      this.#wanted = null;
    }
  }
  #length() {
    const first = this.#chunks[0]?.[0];
    if (first === void 0) return null;
    const size = 1 << (first >> 6);
    if (this.#held < size) return null;
    const bytes = this.#take(size);
    let value = (bytes[0] ?? 0) & 63;
    for (let i = 1; i < size; i++) value = value * 256 + (bytes[i] ?? 0);
    if (value > this.#maxBytes) throw badFrame(`a frame of ${value} bytes is too long`);
    return value;
  }
  #take(size) {
    const out = new Uint8Array(size);
    let filled = 0;
    let used = 0;
    while (filled < size) {
      const chunk = this.#chunks[used];
      const part = Math.min(chunk.length, size - filled);
      out.set(part === chunk.length ? chunk : chunk.subarray(0, part), filled);
      filled += part;
      if (part === chunk.length) used += 1;
      else this.#chunks[used] = chunk.subarray(part);
    }
    if (used > 0) this.#chunks.splice(0, used);
    this.#held -= size;
    return out;
  }
};

// src/transport/stream-frames.ts
var encoder5 = new TextEncoder();
var decoder3 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
function encodeFrame(frame) {
  return prefixed(typeof frame === "string" ? encoder5.encode(frame) : frame);
}
async function pumpFrames(stream, codec, take) {
  const reader = stream.getReader();
  const frames = new FrameReader();
  for (; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const bytes of frames.push(value)) {
      if (!take(codec === "json" ? text2(bytes) : bytes)) return;
    }
  }
}
function text2(bytes) {
  try {
    return decoder3.decode(bytes);
  } catch {
    throw badFrame("a frame that is not UTF-8");
  }
}

// src/transport/webtransport.ts
var DATAGRAM_HIGH_WATER = 64;
var CLOSE_INFO_MS = 500;
function dialWebTransport(options) {
  const hashes = options.certificateHashes.map((text3) => ({ algorithm: "sha-256", value: digestBytes(text3) }));
  return (address, events) => new WebTransportLink(options.constructor, hashes, address, events);
}
var WebTransportLink = class {
  #events;
  #session;
  #codec;
  #writer = null;
  #lanes = 0;
  #open = false;
  #over = false;
  constructor(constructor, hashes, address, events) {
    this.#events = events;
    this.#codec = address.codec;
    const options = hashes.length === 0 ? {} : { serverCertificateHashes: hashes };
    this.#session = new constructor(address.url, options);
    this.#session.closed.then(
      (info) => this.#closed(closeError(info.closeCode, info.reason ?? "")),
      () => this.#closed(closeError(void 0, ""))
    );
    this.#run().catch(() => this.#closed(closeError(void 0, "")));
  }
  send(frame) {
    if (this.#over || this.#writer === null) return;
    this.#writer.write(encodeFrame(frame)).catch(() => this.#closed(closeError(void 0, "")));
  }
  close(code, reason) {
    this.#over = true;
    try {
      this.#session.close({ closeCode: code, reason });
    } catch {
    }
  }
  async #run() {
    const session = this.#session;
    await session.ready;
    if (this.#over) return;
    const { datagrams } = session;
    if (datagrams && "incomingHighWaterMark" in datagrams) datagrams.incomingHighWaterMark = DATAGRAM_HIGH_WATER;
    const first = await session.createBidirectionalStream();
    if (this.#over) return;
    this.#writer = first.writable.getWriter();
    this.#writer.closed.catch(() => void 0);
    void this.#acceptLanes();
    void this.#read(first.readable, FIRST_STREAM);
    this.#open = true;
    this.#events.opened();
  }
  async #acceptLanes() {
    const lanes = this.#session.incomingUnidirectionalStreams.getReader();
    try {
      for (; ; ) {
        const { done, value } = await lanes.read();
        if (done || this.#over) return;
        void this.#read(value, ++this.#lanes);
      }
    } catch {
    }
  }
  async #read(stream, lane) {
    try {
      await pumpFrames(stream, this.#codec, (frame) => {
        if (!this.#over) this.#events.frame(frame, lane);
        return !this.#over;
      });
    } catch (error) {
      if (error instanceof MeridianError) return this.#fail(error);
    }
    if (this.#over) return;
    if (lane !== FIRST_STREAM) this.#events.laneEnded(lane);
    else globalThis.setTimeout(() => this.#fail(closeError(void 0, "")), CLOSE_INFO_MS);
  }
  #fail(error) {
    if (this.#over) return;
    this.#closed(error);
    this.close(4001, "malformed");
  }
  #closed(error) {
    if (this.#over) return;
    this.#over = true;
    const never = !this.#open && error.code === "connection_lost";
    this.#events.closed(
      never ? new MeridianError("connect_failed", "reconnect", "the WebTransport session did not open") : error
    );
  }
};

// src/options.ts
var CLIENT_NAME = "meridian-js/0.1.0";
function settle(options) {
  const clock = options.clock ?? systemClock();
  return {
    regions: regionsOf(options),
    fetch: options.fetch ?? platformFetch(),
    token: options.token,
    mode: options.transport ?? "auto",
    avoidWebTransport: stallsOnWebTransport(globalThis.navigator?.userAgent ?? ""),
    codec: options.codec ?? "json",
    greeting: greetingOf(options),
    store: options.store,
    storage: options.storage ?? defaultStorage(),
    // Another certificate is another try for WebTransport, another network for every transport.
    memoryKey: (url) => [url, networkType(), ...options.serverCertificateHashes ?? []].filter(Boolean).join(" "),
    rememberMs: options.rememberTransportMs ?? 864e5,
    headStartMs: options.headStartMs ?? 500,
    backoff: { baseMs: options.reconnect?.baseMs ?? 1e3, capMs: options.reconnect?.capMs ?? 3e4 },
    refreshSpreadMs: options.refreshSpreadMs ?? 5e3,
    saveIntervalMs: options.saveIntervalMs ?? 1e3,
    inbox: { items: options.maxQueued ?? 1024, bytes: options.maxQueuedBytes ?? 4 * 1048576 },
    publishes: { events: options.maxPublishes ?? 1e3, bytes: options.maxPublishBytes ?? 8 * 1048576 },
    requestTimeoutMs: options.requestTimeoutMs ?? 3e4,
    clock,
    dials: allowed(options.dials ?? platformDials(options, clock), options.transports ?? TRANSPORTS),
    page: options.page ?? currentPage()
  };
}
function stallsOnWebTransport(userAgent) {
  return /AppleWebKit\//.test(userAgent) && !/(Chrome|Chromium|Edg)\//.test(userAgent);
}
function greetingOf(options) {
  return {
    protocol: 1,
    capabilities: [...options.capabilities ?? ["gap"]],
    client: options.clientName ?? CLIENT_NAME,
    ...options.subscriber === void 0 ? {} : { subscriber: options.subscriber }
  };
}
function regionsOf(options) {
  const urls = [options.url, ...options.regions ?? []].map((text3) => {
    const url = baseUrl(text3);
    if (url === null) throw new MeridianError("bad_argument", "stop", `not an address of a gateway: ${text3}`);
    return url;
  });
  const homing = { probeMs: options.homeProbeMs ?? 3e4, spreadMs: options.homeSpreadMs ?? 3e4 };
  return { urls, discover: options.discoverRegions ?? false, homing };
}
function platformFetch() {
  const { fetch } = globalThis;
  return fetch ? (url, init) => fetch(url, init) : void 0;
}
function networkType() {
  const { navigator } = globalThis;
  const type = navigator?.connection?.type;
  return typeof type === "string" ? type : "";
}
function allowed(dials, names) {
  const named = [...names, "polling"];
  return Object.fromEntries(named.filter((name) => dials[name]).map((name) => [name, dials[name]]));
}
function platformDials(options, clock) {
  const scope = globalThis;
  const socket = options.WebSocket ?? scope.WebSocket;
  const transport = options.WebTransport ?? scope.WebTransport;
  const fetch = options.fetch ?? platformFetch();
  const certificateHashes = options.serverCertificateHashes ?? [];
  return {
    ...socket ? { websocket: dialWebSocket(socket) } : {},
    ...transport ? { webtransport: dialWebTransport({ constructor: transport, certificateHashes }) } : {},
    ...fetch ? { sse: dialHttp({ fetch, clock, reading: eventStream }), longpoll: dialHttp({ fetch, clock, reading: longPoll }), polling: dialHttp({ fetch, clock, reading: channelPolls }) } : {}
  };
}

// src/publish.ts
var encoder6 = new TextEncoder();
var EVENT_OVERHEAD_BYTES = 512;
var Publisher = class {
  #calls;
  #limits;
  #events = 0;
  #bytes = 0;
  #batchEvents = DEFAULT_LIMITS.batchEvents;
  #frameBytes = DEFAULT_LIMITS.frameBytes;
  constructor(calls, limits2) {
    this.#calls = calls;
    this.#limits = limits2;
  }
  up(session) {
    this.#batchEvents = session.info.limits.batchEvents;
    this.#frameBytes = session.info.limits.frameBytes;
  }
  async publish(channel, data, options) {
    const event = prepare({ ...options, channel, data });
    const [result] = await this.#within([event], () => this.#send([event], false, options.timeoutMs));
    if (!result) throw new MeridianError("bad_frame", "stop", "the answer has no result");
    if ("error" in result) throw result.error;
    return result;
  }
  /** Results in the order of the events. Parts of a large batch go one after the other. */
  async batch(events, timeoutMs) {
    const prepared = events.map(prepare);
    return await this.#within(prepared, async () => {
      const results = [];
      for (const part of this.#parts(prepared)) results.push(...await this.#send(part, true, timeoutMs));
      return results;
    });
  }
  #send(events, batch, timeoutMs) {
    return new Promise((resolve) => this.#calls.add(new PublishCall(events, batch, timeoutMs, resolve)));
  }
  /** Runs `send` within the bounds of what may be under way; a single large batch may pass them alone. */
  async #within(events, send) {
    const bytes = events.reduce((sum, event) => sum + event.bytes, 0);
    const full = this.#events + events.length > this.#limits.events || this.#bytes + bytes > this.#limits.bytes;
    if (full && this.#events > 0) {
      throw new MeridianError("publish_queue_full", "retry", "too many publishes are under way", { limit: this.#limits.events });
    }
    this.#events += events.length;
    this.#bytes += bytes;
    try {
      return await send();
    } finally {
      this.#events -= events.length;
      this.#bytes -= bytes;
    }
  }
  #parts(events) {
    const parts = [];
    let room = 0;
    for (const event of events) {
      const size = Math.ceil(event.bytes * 4 / 3) + EVENT_OVERHEAD_BYTES;
      const part = parts.at(-1);
      if (part && part.length < this.#batchEvents && size <= room) {
        part.push(event);
        room -= size;
      } else {
        parts.push([event]);
        room = this.#frameBytes - EVENT_OVERHEAD_BYTES - size;
      }
    }
    return parts;
  }
};
var PublishCall = class {
  timeoutMs;
  #events;
  #batch;
  #done;
  #results;
  #open;
  #firstSentAt = null;
  constructor(events, batch, timeoutMs, done) {
    this.#events = events;
    this.#batch = batch;
    this.timeoutMs = timeoutMs;
    this.#done = done;
    this.#results = events.map(() => void 0);
    this.#open = events.map((_, index) => index);
  }
  body(session, now) {
    this.#firstSentAt ??= now;
    const ageMs = Math.round(now - this.#firstSentAt);
    if (ageMs >= session.info.limits.publishHorizonMs) {
      throw new MeridianError("horizon_passed", "stop", "the retry comes too late to be told from a new event", {
        limit: session.info.limits.publishHorizonMs
      });
    }
    const events = this.#open.map((index) => onWire(this.#events[index], session.codec, ageMs));
    return this.#batch ? { publish_batch: { events } } : { publish: events[0] };
  }
  answered(message) {
    if (!this.#batch && message.type === "published") {
      this.#results[0] = { cursor: message.cursor };
      return this.#finish();
    }
    if (message.type !== "published_batch" || message.results.length !== this.#open.length) {
      throw new MeridianError("bad_frame", "stop", "the answer does not fit the publish");
    }
    let wait = 0;
    const open = this.#open;
    this.#open = [];
    message.results.forEach((result, at) => {
      const index = open[at];
      if ("error" in result && result.error.action !== "stop") {
        this.#open.push(index);
        wait = Math.max(wait, result.error.retryAfterMs ?? 0);
      } else this.#results[index] = result;
    });
    return this.#open.length > 0 ? wait : this.#finish();
  }
  failed(error) {
    for (const index of this.#open) this.#results[index] = { error };
    this.#finish();
  }
  #finish() {
    this.#done(this.#results);
    return "done";
  }
};
function prepare(event) {
  const id = event.id ?? globalThis.crypto.randomUUID();
  const idBytes = encoder6.encode(id).length;
  if (idBytes < 1 || idBytes > 64) throw new MeridianError("bad_argument", "stop", "a publish id has 1 to 64 bytes");
  const { channel, kind, key, headers, trace } = event;
  const payload = payloadOf(event.data, event.contentType);
  return {
    members: defined({ channel, id, kind, key, headers, trace }),
    payload,
    contentType: event.contentType,
    bytes: payload.type === "none" ? 0 : payload.type === "bin" ? payload.bytes.length : encoder6.encode(payload.text).length
  };
}
function payloadOf(data, contentType) {
  if (data === void 0) return { type: "none" };
  if (data instanceof Uint8Array) return { type: "bin", bytes: data.slice() };
  if (data instanceof ArrayBuffer) return { type: "bin", bytes: new Uint8Array(data.slice(0)) };
  if (contentType !== void 0 && contentType !== "application/json") {
    if (typeof data === "string") return { type: "text", text: data };
    throw new MeridianError("bad_argument", "stop", `data for ${contentType} must be a string or bytes`);
  }
  const text3 = JSON.stringify(data);
  if (text3 === void 0) throw new MeridianError("bad_argument", "stop", "data has no JSON form");
  return { type: "json", text: text3 };
}
function onWire(event, codec, ageMs) {
  return { ...event.members, ...codec.payload(event.payload, event.contentType), age_ms: ageMs };
}
function defined(members2) {
  return Object.fromEntries(Object.entries(members2).filter(([, value]) => value !== void 0));
}

// src/registry.ts
var Registry = class {
  #follows = /* @__PURE__ */ new Map();
  #alarm;
  #adopt;
  /** `adopt` is called for a channel that the server subscribed and nobody here asked for. */
  constructor(clock, adopt) {
    this.#alarm = new Alarm(clock, () => this.#each((follow) => follow.resume()));
    this.#adopt = adopt;
  }
  add(follow) {
    this.#follows.set(follow.channel, follow);
  }
  remove(follow) {
    if (this.#follows.get(follow.channel) === follow) this.#follows.delete(follow.channel);
  }
  wakeBy(at) {
    this.#alarm.by(at);
  }
  up(session) {
    this.#each((follow) => follow.up(session));
  }
  down(session) {
    this.#each((follow) => follow.down(session));
  }
  tick() {
    this.#each((follow) => follow.tick());
  }
  laneEnded(session, lane) {
    this.#each((follow) => follow.laneEnded(session, lane));
  }
  /** Whether no channel lives on `session`. */
  idle(session) {
    return ![...this.#follows.values()].some((follow) => follow.uses(session));
  }
  take(message, session, lane, bytes) {
    if (!isChannelMessage(message)) return;
    const made = message.type === "subscribed";
    if (made && !this.#follows.has(message.channel)) this.#adopt(message.channel);
    this.#follows.get(message.channel)?.take(message, session, lane, bytes);
  }
  #each(run) {
    for (const follow of [...this.#follows.values()]) run(follow);
  }
};
function isChannelMessage(message) {
  switch (message.type) {
    case "events":
    case "values":
    case "conflated":
    case "gap":
    case "skipped":
      return true;
    case "subscribed":
    case "unsubscribed":
      return message.id === void 0;
    default:
      return false;
  }
}

// src/position.ts
function cursorOf(position) {
  return `${position.stream}.${position.offset}`;
}
function compare(a, b) {
  return a.epoch === b.epoch ? a.offset - b.offset : a.epoch - b.epoch;
}
function judge(p, epoch, offset, prev) {
  if (compare({ epoch, offset }, p) <= 0) return "duplicate";
  if (prev === "unknown") return "broken";
  if (prev === null) return "accept";
  const before = typeof prev === "number" ? { epoch, offset: prev } : { epoch: prev[0], offset: prev[1] };
  return compare(before, p) <= 0 ? "accept" : "broken";
}

// src/requests.ts
function historyCall(channel, range, timeoutMs, resolve, reject) {
  return {
    timeoutMs,
    body: () => ({ history: { channel, ...range } }),
    answered(message) {
      if (message.type !== "history") throw unexpected();
      resolve(historyOf(message));
      return "done";
    },
    failed: reject
  };
}
function ackCall(body, timeoutMs, resolve, reject) {
  return {
    timeoutMs,
    body: () => ({ ack: body }),
    answered(message) {
      if (message.type !== "acked") throw unexpected();
      resolve();
      return "done";
    },
    failed: reject
  };
}
function historyOf(reply) {
  const { channel, place: place2, more, gone: gone2 } = reply;
  return {
    events: reply.events.map((event) => toEvent(channel, place2?.stream, place2?.epoch, event)),
    cursor: place2 === null ? void 0 : cursorOf(place2),
    more,
    gone: gone2
  };
}
function unexpected() {
  return new MeridianError("bad_frame", "stop", "the answer does not fit the command");
}

// src/patience.ts
var RETRY = { baseMs: 500, capMs: 3e4 };
var CALM_MS = 3e4;
var MAX_REFRESHES2 = 3;
var Patience = class {
  #random;
  #attempts = 0;
  #conflicts = 0;
  #refreshes = 0;
  #breaks = 0;
  #brokeAt = 0;
  constructor(random) {
    this.#random = random;
  }
  /** The channel is subscribed. */
  restored() {
    this.#attempts = 0;
    this.#conflicts = 0;
    this.#refreshes = 0;
  }
  retryMs() {
    return backoffMs(RETRY, this.#attempts++, this.#random);
  }
  /** The session holds this subscription already: replace it, at once the first time. */
  conflictMs() {
    return this.#conflicts++ === 0 ? 0 : this.retryMs();
  }
  /** Whether another token may help. */
  mayRefresh() {
    this.#refreshes += 1;
    return this.#refreshes <= MAX_REFRESHES2;
  }
  /** The chain broke at `now`. */
  healMs(now) {
    if (now - this.#brokeAt > CALM_MS) this.#breaks = 0;
    const wait = this.#breaks === 0 ? 0 : backoffMs(RETRY, this.#breaks - 1, this.#random);
    this.#breaks += 1;
    this.#brokeAt = now + wait;
    return wait;
  }
};

// src/follow.ts
var ANSWER_TICKS = 30;
var Follow = class {
  channel;
  #start;
  #port;
  #app;
  #state = "loading";
  #position = null;
  #behind;
  #source = null;
  /** The source delivers, but not what follows our position. */
  #broken = false;
  #lane = 0;
  #asking = null;
  #forget = () => {
  };
  #patience;
  #retryAt = 0;
  #askedTicks = 0;
  constructor(channel, start, port, app) {
    this.channel = channel;
    this.#start = start;
    this.#port = port;
    this.#app = app;
    this.#patience = new Patience(() => port.random());
  }
  get state() {
    return this.#state;
  }
  /** Up to where the region has applied the log, while it is behind the position held. */
  get behind() {
    return this.#behind;
  }
  /** Whether this channel still lives on `session`. */
  uses(session) {
    return this.#source === session || this.#asking === session;
  }
  /** A cursor kept from before comes first. */
  startFrom(cursor) {
    this.#start = { cursor };
  }
  /** Everything needed to subscribe is known. */
  begin() {
    if (this.#state === "loading") this.#wait(0);
  }
  /** `session` is the one to be on from now on; what another was asked doesn't count any more. */
  up(session) {
    if (this.#asking !== session) this.#asking = null;
    this.#patience.restored();
    this.#retryAt = 0;
    this.resume();
  }
  down(session) {
    if (this.#asking === session) this.#asking = null;
    if (this.#source === session) this.#source = null;
    if (this.#source || this.#asking || !this.#active) return;
    this.#set("waiting");
    this.resume();
  }
  /** Subscribes if that is due and possible. */
  resume() {
    const session = this.#port.session();
    if (!session || session.over || this.#asking || !this.#active || this.#settledOn(session)) return;
    if (this.#port.now() < this.#retryAt) return this.#port.wakeBy(this.#retryAt);
    const { channel } = this;
    if (this.#source === session) session.command({ unsubscribe: { channel } });
    if (this.#position) this.#port.stats.resubscribes += 1;
    this.#asking = session;
    this.#askedTicks = 0;
    if (this.#source === null) this.#set("subscribing");
    this.#forget = session.command({ subscribe: { channel, ...this.#from() } }, {
      reply: (message, lane) => this.#answered(message, session, lane),
      failed: (error) => this.#refused(error, session),
      lost: () => void 0
    });
  }
  /** Asks again where a subscribe that was sent gets no answer; ticks stand still while frozen. */
  tick() {
    if (!this.#asking || this.#asking.queued > 0) return;
    this.#askedTicks += 1;
    if (this.#askedTicks < ANSWER_TICKS) return;
    this.#asking = null;
    this.#wait(this.#patience.retryMs());
  }
  /** The application has room again. */
  drained() {
    if (this.#state === "overflowed") this.#wait(0);
  }
  unsubscribe() {
    this.#leave();
    this.#set("ended");
  }
  take(message, session, lane, bytes) {
    if (message.type === "subscribed") return this.#madeByServer(message, session, lane);
    if (this.#source !== session) return;
    this.#lane = lane;
    switch (message.type) {
      case "events":
        return message.stream === void 0 ? this.#passing(message, bytes) : this.#events(message, message.stream, bytes);
      case "gap":
        return this.#gap(message);
      case "values":
        return this.#values(message, bytes);
      case "conflated":
        this.#position = message.place;
        this.#behind = void 0;
        return;
      case "skipped":
        this.#port.stats.skipped += message.count;
        return this.#app.skipped(message.count);
      case "unsubscribed":
        return this.#dropped(message);
    }
  }
  laneEnded(session, lane) {
    if (this.#source !== session || this.#lane !== lane || this.#asking) return;
    this.#broken = true;
    this.#wait(this.#patience.retryMs());
  }
  #settledOn(session) {
    return this.#source === session && !this.#broken;
  }
  get #active() {
    return this.#state !== "loading" && this.#state !== "overflowed" && this.#state !== "ended";
  }
  #from() {
    if (this.#position) return { cursor: cursorOf(this.#position) };
    return this.#start === "now" ? {} : { ...this.#start };
  }
  #answered(message, session, lane) {
    if (message.type !== "subscribed" || this.#asking !== session) return;
    this.#asking = null;
    this.#settle(message, session, lane);
  }
  #settle(message, session, lane) {
    this.#source = session;
    this.#lane = lane;
    this.#broken = false;
    this.#patience.restored();
    this.#behind = message.behind;
    if (message.place && !this.#position) {
      this.#position = message.place;
      this.#app.placed(message.place);
    }
    this.#set("subscribed");
  }
  /** The token asks for this channel. A position held must still be resumed from, by our own command. */
  #madeByServer(message, session, lane) {
    if (this.#asking === session || this.#source === session) return;
    if (this.#state === "overflowed") {
      session.command({ unsubscribe: { channel: this.channel } });
    } else if (!this.#position && this.#start === "now" && this.#state !== "loading") {
      this.#settle(message, session, lane);
    }
  }
  #refused(error, session) {
    if (this.#asking !== session) return;
    this.#asking = null;
    if (!this.#active) return;
    if (error.code === "already_subscribed") {
      this.#source = session;
      this.#broken = true;
      return this.#wait(this.#patience.conflictMs());
    }
    if (this.#source === session) this.#source = null;
    this.#recover(error);
  }
  #events(message, stream, bytes) {
    const { epoch } = message;
    if (epoch === void 0) throw badFrame("events without an epoch");
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      const { offset } = event;
      if (offset === void 0) throw badFrame("an event without an offset");
      const verdict = this.#position ? judge(this.#position, epoch, offset, event.prev) : "accept";
      if (verdict === "duplicate") this.#port.stats.duplicates += 1;
      else if (verdict === "broken") return this.#heal();
      else if (!this.#app.hasRoom(each)) return this.#overflow();
      else {
        this.#position = { stream, epoch, offset };
        this.#port.stats.events += 1;
        this.#behind = void 0;
        this.#app.event(toEvent(this.channel, stream, epoch, event), each);
        if (this.#source === null) return;
      }
    }
  }
  /** Events of an `ephemeral` channel: nothing to check, and what finds no room is gone. */
  #passing(message, bytes) {
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      if (this.#app.hasRoom(each)) {
        this.#port.stats.events += 1;
        this.#app.event(toEvent(this.channel, void 0, void 0, event), each);
      } else {
        this.#port.stats.skipped += 1;
        this.#app.skipped(1);
      }
    }
  }
  /** A feed's values: they move no position. What finds no room is read again from there. */
  #values(message, bytes) {
    const each = bytes / Math.max(1, message.events.length);
    for (const event of message.events) {
      if (!this.#app.hasRoom(each)) return this.#overflow();
      this.#port.stats.events += 1;
      this.#app.event(toEvent(this.channel, message.stream, message.epoch, event), each);
      if (this.#source === null) return;
    }
  }
  #gap(message) {
    const { place: place2 } = message;
    const snapshot = place2.epoch === 1 && place2.offset === -1;
    if (!snapshot && this.#position && compare(place2, this.#position) <= 0) return;
    this.#position = place2;
    this.#port.stats.gaps += 1;
    const { channel, reason, from } = message;
    this.#app.gap({ channel, reason, from, cursor: cursorOf(place2), epoch: place2.epoch, offset: place2.offset });
  }
  #dropped({ code, action: action2 }) {
    this.#source = null;
    if (this.#asking) return;
    const { channel } = this;
    this.#recover(new MeridianError(code, action2, `the server ended the subscription: ${code}`, { channel }));
  }
  /** Does what the error asks for, then subscribes again after a while; or ends. */
  #recover(error) {
    const hopeless = error.action === "refresh" && !this.#patience.mayRefresh();
    const ends = hopeless || error.action === "stop" && !this.#port.followsZone(error);
    if (ends) return this.#end(error);
    if (error.action === "refresh") this.#port.renewToken();
    else if (error.action === "reconnect") this.#port.reconnect(error);
    this.#wait(Math.max(error.retryAfterMs ?? 0, this.#patience.retryMs()));
  }
  /** Something before this event is missing: ask again from the position held, one at a time. */
  #heal() {
    if (this.#asking || this.#broken) return;
    this.#port.stats.chainBreaks += 1;
    this.#broken = true;
    this.#wait(this.#patience.healMs(this.#port.now()));
  }
  #overflow() {
    this.#port.stats.overflows += 1;
    this.#set("overflowed");
    this.#leave();
  }
  #leave() {
    const sessions = /* @__PURE__ */ new Set([this.#source, this.#asking]);
    this.#source = null;
    this.#asking = null;
    this.#broken = false;
    this.#forget();
    for (const session of sessions) {
      if (session && !session.over) session.command({ unsubscribe: { channel: this.channel } });
    }
  }
  #end(error) {
    this.#source = null;
    this.#set("ended");
    this.#app.ended(error);
  }
  #wait(ms) {
    if (!this.#source) this.#set("waiting");
    this.#retryAt = this.#port.now() + ms;
    this.resume();
  }
  #set(state) {
    if (state === this.#state || this.#state === "ended") return;
    this.#state = state;
    this.#app.state(state);
  }
};

// src/inbox.ts
var Inbox = class {
  #limits;
  #taken;
  #low;
  #queue = [];
  #bytes = 0;
  #consumer = null;
  #pumping = false;
  #inHand = null;
  #waiters = [];
  #end = null;
  #interrupted = null;
  /** `taken` is told each item the application is done with, `low` when half the room is free again. */
  constructor(limits2, taken, low) {
    this.#limits = limits2;
    this.#taken = taken;
    this.#low = low;
  }
  /** Whether the application has taken everything that came. */
  get empty() {
    return this.#queue.length === 0 && this.#inHand === null;
  }
  hasRoom(bytes) {
    if (this.#queue.length === 0) return true;
    return this.#queue.length < this.#limits.items && this.#bytes + bytes <= this.#limits.bytes;
  }
  push(item, bytes) {
    if (this.#end) return;
    const last = this.#queue.at(-1);
    if (item.type === "skipped" && last?.item.type === "skipped") {
      last.item = { type: "skipped", count: last.item.count + item.count };
      return;
    }
    this.#queue.push({ item, bytes });
    this.#bytes += bytes;
    if (this.#consumer) this.#pump(this.#consumer);
    else this.#serveWaiter();
  }
  /** From now on `consumer` gets every item, those waiting first. */
  consume(consumer) {
    this.#consumer = consumer;
    this.#pump(consumer);
  }
  /** The next item for an iterator; asking for it says that the one before is taken. */
  next() {
    if (this.#consumer) return Promise.reject(new TypeError("the subscription has a callback for its events"));
    this.#release();
    const item = this.#shift();
    if (item) {
      this.#inHand = item;
      return Promise.resolve({ done: false, value: item });
    }
    const over = this.#end ?? this.#interrupted;
    if (over) {
      return over.error === null ? Promise.resolve({ done: true, value: void 0 }) : Promise.reject(over.error);
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }
  /** An iterator ends; what it had in hand may not have been worked off, so it is not counted as taken. */
  abandon() {
    this.#inHand = null;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve({ done: true, value: void 0 });
  }
  /** Nothing more comes. With an error, iterators end with it after what is still queued. */
  finish(error, discard) {
    if (this.#end) return;
    this.#end = { error };
    if (discard) {
      this.#queue = [];
      this.#bytes = 0;
    }
    if (this.#queue.length === 0) this.#endWaits(error);
  }
  /** Iterators that find nothing queued end, with the error if there is one, until `restart`. */
  interrupt(error) {
    this.#interrupted = { error };
    this.#endWaits(error);
  }
  restart() {
    this.#interrupted = null;
  }
  #endWaits(error) {
    for (const waiter of this.#waiters.splice(0)) {
      if (error === null) waiter.resolve({ done: true, value: void 0 });
      else waiter.reject(error);
    }
  }
  #serveWaiter() {
    const waiter = this.#waiters.shift();
    if (!waiter) return;
    const item = this.#shift();
    this.#inHand = item;
    waiter.resolve({ done: false, value: item });
  }
  #pump(consumer) {
    if (this.#pumping) return;
    this.#pumping = true;
    for (let item = this.#shift(); item; item = this.#shift()) {
      this.#inHand = item;
      const working = consumer(item);
      if (working instanceof Promise) {
        void working.then(() => {
          this.#release();
          this.#pumping = false;
          this.#pump(consumer);
        });
        return;
      }
      this.#release();
    }
    this.#pumping = false;
  }
  #release() {
    const item = this.#inHand;
    this.#inHand = null;
    if (item) this.#taken(item);
  }
  #shift() {
    const held = this.#queue.shift();
    if (!held) return void 0;
    this.#bytes -= held.bytes;
    if (this.#queue.length <= this.#limits.items / 2 && this.#bytes <= this.#limits.bytes / 2) this.#low();
    return held.item;
  }
};

// src/subscription.ts
var Subscription = class {
  channel;
  /** Whether the server made it, because the token asks for this channel. */
  serverMade;
  /** @internal */
  follow;
  #host;
  #inbox;
  #options;
  #adoptable;
  #saver = null;
  #cursor;
  #error = null;
  #refreshing = null;
  /** @internal */
  constructor(channel, options, host, serverMade) {
    this.channel = channel;
    this.serverMade = serverMade;
    this.#host = host;
    this.#options = options;
    const limits2 = {
      items: options.maxQueued ?? host.inbox.items,
      bytes: options.maxQueuedBytes ?? host.inbox.bytes
    };
    this.#inbox = new Inbox(limits2, (item) => this.#taken(item), () => this.follow.drained());
    this.follow = new Follow(channel, options.from ?? "now", host, this.#app());
    this.#adoptable = serverMade;
    this.#listen();
  }
  get state() {
    return this.follow.state;
  }
  /** Up to here the application has taken everything. */
  get cursor() {
    return this.#cursor;
  }
  /** Up to where the region has applied the log, while it is behind this subscription. */
  get behind() {
    return this.follow.behind;
  }
  /** Why the subscription ended, if it did by an error. */
  get error() {
    return this.#error;
  }
  unsubscribe() {
    if (this.state === "ended") return;
    this.#saver?.flush();
    this.#inbox.finish(null, true);
    this.#dropRefresh();
    this.follow.unsubscribe();
    this.#host.ended(this);
  }
  /** Events only; use `items()` to see gaps in their place, too. */
  async *[Symbol.asyncIterator]() {
    for await (const item of this.items()) {
      if (item.type === "event") yield item.event;
    }
  }
  /** Events, gaps and skips, in the channel's order. One consumer at a time. */
  async *items() {
    try {
      for (; ; ) {
        const { done, value } = await this.#inbox.next();
        if (done) return;
        this.#tell(value);
        yield value;
      }
    } finally {
      this.#inbox.abandon();
    }
  }
  /** @internal Finds the place to start from and subscribes. */
  start() {
    if (this.serverMade) this.follow.begin();
    else this.#load();
  }
  /** @internal Gives handlers to a subscription that the server made; once only. */
  adopt(options) {
    if (!this.#adoptable) return false;
    this.#adoptable = false;
    this.#options = options;
    this.#listen();
    return true;
  }
  /** @internal The client stopped or closed: iterators end, with the error if there is one. */
  interrupt(error) {
    this.#inbox.interrupt(error);
  }
  /** @internal The client connects again. */
  restart() {
    this.#inbox.restart();
  }
  /** @internal */
  flush() {
    this.#saver?.flush();
  }
  #listen() {
    const { store, onEvent } = this.#options;
    const { clock, saveIntervalMs } = this.#host;
    if (store) this.#saver = new CursorSaver(this.channel, store, clock, saveIntervalMs, (e) => this.#host.fault(e));
    if (!onEvent) return;
    this.#inbox.consume((item) => {
      this.#tell(item);
      if (item.type === "event") return this.#guard(() => onEvent(item.event));
    });
  }
  #load() {
    const { store, from } = this.#options;
    if (typeof from === "object" && "cursor" in from) this.#cursor = from.cursor;
    const loaded = (cursor) => {
      if (cursor) {
        this.#cursor = cursor;
        this.follow.startFrom(cursor);
      }
      this.follow.begin();
    };
    const failed = (error) => {
      const typed = asMeridianError(error, "cursor_not_loaded", "stop", `the cursor of ${this.channel} was not loaded`);
      this.#host.fault(typed);
      this.follow.begin();
    };
    try {
      const cursor = store?.load(this.channel);
      if (cursor instanceof Promise) cursor.then(loaded, failed);
      else loaded(cursor);
    } catch (error) {
      failed(error);
    }
  }
  #app() {
    return {
      hasRoom: (bytes) => this.#inbox.hasRoom(bytes),
      event: (event, bytes) => this.#inbox.push({ type: "event", event }, bytes),
      gap: (gap) => {
        this.#host.gap(gap);
        this.#inbox.push({ type: "gap", gap }, 0);
      },
      skipped: (count) => this.#inbox.push({ type: "skipped", count }, 0),
      placed: (position) => {
        if (this.#inbox.empty) this.#move(cursorOf(position));
      },
      state: (state) => void this.#guard(() => this.#options.onState?.(state)),
      ended: (error) => this.#ended(error)
    };
  }
  #ended(error) {
    this.#error = error;
    this.#saver?.flush();
    this.#inbox.finish(error, false);
    this.#dropRefresh();
    this.#host.ended(this);
    void this.#guard(() => this.#options.onError?.(error));
  }
  #taken(item) {
    if (item.type === "event" && item.event.cursor !== void 0) this.#move(item.event.cursor);
    else if (item.type === "gap") this.#move(item.gap.cursor);
  }
  #move(cursor) {
    this.#cursor = cursor;
    this.#saver?.note(cursor);
  }
  /** Handlers for what is no event, in the event's place. */
  #tell(item) {
    if (item.type === "skipped") void this.#guard(() => this.#options.onSkipped?.(item.count));
    if (item.type !== "gap") return;
    void this.#guard(() => this.#options.onGap?.(item.gap));
    this.#planRefresh(item.gap);
  }
  /** One refresh however many gaps come while it waits. */
  #planRefresh(gap) {
    const { onRefresh } = this.#options;
    if (!onRefresh) return;
    if (this.#refreshing) {
      this.#refreshing.gap = gap;
      return;
    }
    const { clock } = this.#host;
    const wait = jitterMs(this.#options.refreshSpreadMs ?? this.#host.refreshSpreadMs, () => clock.random());
    const timer = clock.setTimeout(() => {
      const latest = this.#refreshing?.gap ?? gap;
      this.#refreshing = null;
      void this.#guard(() => onRefresh(latest));
    }, wait);
    this.#refreshing = { gap, timer };
  }
  #dropRefresh() {
    if (this.#refreshing) this.#host.clock.clearTimeout(this.#refreshing.timer);
    this.#refreshing = null;
  }
  /** Runs the application's code: what it throws is reported and stops nothing. */
  #guard(run) {
    const failed = (error) => this.#host.fault(
      new MeridianError("handler_failed", "stop", `a handler of ${this.channel} failed`, { channel: this.channel, cause: error })
    );
    try {
      const result = run();
      return result instanceof Promise ? result.catch(failed) : void 0;
    } catch (error) {
      failed(error);
    }
  }
};

// src/token.ts
var RENEW_AFTER = 0.75;
var RENEW_SPREAD = 0.15;
var RETRY_MS = 5e3;
var NEARLY_OVER_MS = 5e3;
var TokenSource = class {
  #option;
  #clock;
  #token = null;
  #expiresAt = Infinity;
  #renewAt = Infinity;
  constructor(option, clock) {
    this.#option = option;
    this.#clock = clock;
  }
  get canRenew() {
    return typeof this.#option === "function";
  }
  /** The token for a new connection; `undefined` for a client that has none. */
  async current() {
    if (typeof this.#option !== "function") return this.#option;
    const usable = this.#token !== null && this.#clock.now() < this.#expiresAt - NEARLY_OVER_MS;
    return usable ? this.#token ?? void 0 : await this.renewed();
  }
  /** A token fresh from the application. */
  async renewed() {
    if (typeof this.#option !== "function") {
      throw new MeridianError("token_not_renewable", "stop", "a token given as text cannot be renewed");
    }
    this.#renewAt = this.#clock.now() + RETRY_MS;
    try {
      const token = await this.#option();
      if (typeof token !== "string" || token === "") throw new TypeError("the token callback gave no token");
      this.#token = token;
      this.#expiresAt = Infinity;
      return token;
    } catch (error) {
      throw asMeridianError(error, "token_callback_failed", "reconnect", "the token callback failed");
    }
  }
  /** The server refused the token held. */
  invalidate() {
    this.#token = null;
  }
  /** The server said how long the token it took is good. */
  accepted(expiresInMs) {
    const now = this.#clock.now();
    this.#expiresAt = expiresInMs === void 0 ? Infinity : now + expiresInMs;
    this.#renewAt = expiresInMs === void 0 ? Infinity : now + Math.max(1e3, this.#renewAfter(expiresInMs));
  }
  /** A share of a short lifetime leaves too little for the callback; its half has to do then. */
  #renewAfter(lifetimeMs) {
    const share = RENEW_AFTER + RENEW_SPREAD * this.#clock.random();
    const latest = Math.max(lifetimeMs - NEARLY_OVER_MS, lifetimeMs / 2);
    return Math.min(lifetimeMs * share, latest);
  }
  /** Whether the token of the running session should be renewed now. */
  due(now) {
    return this.canRenew && now >= this.#renewAt;
  }
  /** A renewal was not accepted; when to try again. */
  retryLater() {
    this.#renewAt = this.#clock.now() + RETRY_MS;
  }
};

// src/client.ts
var encoder7 = new TextEncoder();
var MAX_CHANNEL_BYTES = 255;
var MeridianClient = class {
  /** Counters since the client was made. */
  stats;
  #counters;
  #settings;
  #emitter = new Emitter();
  #engine;
  #registry;
  #calls;
  #publisher;
  #subscriptions = /* @__PURE__ */ new Map();
  #unwatch = null;
  constructor(options) {
    const settings = settle(options);
    const { clock } = settings;
    this.#settings = settings;
    this.#counters = newStats();
    this.stats = this.#counters;
    this.#engine = new Engine(engineSetup(settings), this.#engineEvents());
    this.#registry = new Registry(clock, (channel) => this.#adopt(channel));
    this.#calls = new Calls({
      clock,
      session: () => this.#engine.session,
      awake: () => this.#engine.awake,
      renewToken: () => this.#engine.renewToken(),
      reconnect: (error) => this.#engine.reconnect(error)
    });
    this.#publisher = new Publisher(this.#calls, settings.publishes);
  }
  get state() {
    return this.#engine.state;
  }
  /** What the server said about the running session. */
  get session() {
    return this.#engine.session?.info ?? null;
  }
  /** The region of the running or last connection, as it calls itself; `null` before the first. */
  get region() {
    return this.#engine.region;
  }
  /** How much of its service the gateway gives, as it said last. */
  get modes() {
    return this.#engine.modes;
  }
  get transport() {
    return this.#counters.transport;
  }
  /** Starts to connect, and starts again after `stopped`. Never throws: see `on('error')`. */
  connect() {
    this.#calls.open();
    for (const subscription of this.#subscriptions.values()) subscription.restart();
    this.#unwatch ??= watchPage(this.#settings.page, {
      online: () => this.#engine.handle({ type: "online" }),
      offline: () => this.#engine.handle({ type: "offline" }),
      froze: () => this.#engine.handle({ type: "freeze" }),
      woke: () => this.#engine.handle({ type: "wake" }),
      leaving: () => this.#flush()
    });
    this.#engine.handle({ type: "start" });
  }
  /** Ends the connection and everything under way. `connect` starts anew, with the same subscriptions. */
  close() {
    this.#flush();
    this.#unwatch?.();
    this.#unwatch = null;
    this.#engine.handle({ type: "close" });
    this.#calls.fail(new MeridianError("closed", "stop", "the client was closed"));
    for (const subscription of this.#subscriptions.values()) subscription.interrupt(null);
  }
  /** Drops the connection as a network would and stays away for `ms`. */
  interrupt(ms) {
    this.#engine.handle({ type: "interrupt", ms });
  }
  /** Listens until the answered function is called. */
  on(name, listener) {
    return this.#emitter.on(name, listener);
  }
  /**
   * Follows a channel. A channel that the server subscribed already is taken over with these options;
   * one that the application follows already is an `already_subscribed` error.
   */
  subscribe(channel, options = {}) {
    const { length } = encoder7.encode(channel);
    if (length < 1 || length > MAX_CHANNEL_BYTES) throw new MeridianError("bad_channel", "stop", "not a channel name");
    if (typeof options.from === "object" && "cursor" in options.from && !isText(options.from.cursor)) {
      throw new MeridianError("bad_cursor", "stop", "from.cursor is no cursor", { channel });
    }
    const complete = { ...options, store: options.store ?? this.#settings.store };
    const held = this.#subscriptions.get(channel);
    if (held && !held.adopt(complete)) {
      throw new MeridianError("already_subscribed", "stop", `${channel} is followed already`, { channel });
    }
    return held ?? this.#follow(channel, complete, false);
  }
  /** The subscription to a channel, if there is one. */
  subscription(channel) {
    return this.#subscriptions.get(channel);
  }
  /**
   * Publishes an event; resolves once the log has it. Kept and sent again with the same id over
   * reconnects. To keep the order of two events on a channel, await the first or use a batch.
   */
  publish(channel, data, options = {}) {
    return this.#publisher.publish(channel, data, options);
  }
  /** Publishes events that keep their order; each has its own result. */
  publishBatch(events, options = {}) {
    return this.#publisher.batch(events, options.timeoutMs);
  }
  /** Reads a channel's past, oldest first. */
  history(channel, range) {
    const timeoutMs = this.#settings.requestTimeoutMs;
    return new Promise((resolve, reject) => {
      this.#calls.add(historyCall(channel, range, timeoutMs, resolve, reject));
    });
  }
  /** Follows a feed and keeps its current values. */
  feed(channel, options = {}) {
    const { onChange, ...rest } = options;
    const feed = new Feed(onChange);
    const store = memoryCursors();
    const followed = this.subscribe(channel, { ...rest, store, onEvent: (event) => feed.take(event), onGap: (gap) => feed.lost(gap) });
    return feed.keep(followed);
  }
  /** Records that this subscriber took everything up to `cursor`. */
  ack(channel, cursor, options = {}) {
    const timeoutMs = this.#settings.requestTimeoutMs;
    const body = { channel, cursor, ...options.reset ? { reset: true } : {} };
    return new Promise((resolve, reject) => this.#calls.add(ackCall(body, timeoutMs, resolve, reject)));
  }
  #follow(channel, options, serverMade) {
    const subscription = new Subscription(channel, options, this.#host(), serverMade);
    this.#subscriptions.set(channel, subscription);
    this.#registry.add(subscription.follow);
    subscription.start();
    return subscription;
  }
  #adopt(channel) {
    this.#emitter.emit("subscription", this.#follow(channel, {}, true));
  }
  #host() {
    const { clock, saveIntervalMs, inbox, refreshSpreadMs } = this.#settings;
    return {
      clock,
      saveIntervalMs,
      inbox,
      refreshSpreadMs,
      stats: this.#counters,
      session: () => this.#engine.session,
      now: () => clock.now(),
      random: () => clock.random(),
      wakeBy: (at) => this.#registry.wakeBy(at),
      renewToken: () => this.#engine.renewToken(),
      reconnect: (error) => this.#engine.reconnect(error),
      followsZone: (error) => this.#engine.followsZone(error),
      fault: (error) => this.#emitter.emit("error", error),
      gap: (gap) => this.#emitter.emit("gap", gap),
      ended: (subscription) => {
        this.#registry.remove(subscription.follow);
        if (this.#subscriptions.get(subscription.channel) === subscription) this.#subscriptions.delete(subscription.channel);
      }
    };
  }
  #engineEvents() {
    return {
      state: (state) => this.#emitter.emit("state", state),
      up: (session) => {
        this.#counters.reconnects += this.#counters.connects > 0 ? 1 : 0;
        this.#counters.connects += 1;
        this.#setTransport(session.transport);
        this.#publisher.up(session);
        this.#registry.up(session);
        this.#calls.up();
      },
      down: (session) => {
        if (!this.#engine.session) this.#setTransport(null);
        this.#registry.down(session);
        this.#calls.down(session);
      },
      message: (session, message, lane, bytes) => this.#registry.take(message, session, lane, bytes),
      laneEnded: (session, lane) => this.#registry.laneEnded(session, lane),
      stopped: (error) => this.#stopped(error),
      tick: (awake) => {
        this.#registry.tick();
        this.#calls.tick(awake);
      },
      drain: (afterMs) => this.#emitter.emit("drain", afterMs),
      region: (change) => {
        if (change.reason !== "start") this.#counters.moves[change.reason] += 1;
        this.#emitter.emit("region", change);
      },
      mode: (modes2) => this.#emitter.emit("mode", modes2),
      channels: () => [...this.#subscriptions.keys()],
      redirect: (notice) => {
        if (!notice.followed) this.#counters.redirectsIgnored += 1;
        this.#emitter.emit("redirect", notice);
      },
      fault: (error) => this.#emitter.emit("error", error),
      idle: (session) => session.unanswered === 0 && this.#registry.idle(session)
    };
  }
  #stopped(error) {
    this.#calls.fail(error);
    for (const subscription of this.#subscriptions.values()) subscription.interrupt(error);
    this.#emitter.emit("stopped", error);
  }
  #setTransport(transport) {
    if (this.#counters.transport === transport) return;
    this.#counters.transport = transport;
    this.#emitter.emit("transport", transport);
  }
  #flush() {
    for (const subscription of this.#subscriptions.values()) subscription.flush();
  }
};
function engineSetup(settings) {
  const { dials, mode, avoidWebTransport, rememberMs, headStartMs, clock, backoff, greeting, page } = settings;
  const codec = settings.codec === "msgpack" ? msgpackCodec : jsonCodec;
  const memory = (url) => new TransportMemory(settings.storage, settings.memoryKey(url));
  return {
    dialer: { codec, dials, mode, avoidWebTransport, memory, rememberMs, headStartMs },
    machine: { backoff, stableMs: 1e4, returnSpreadMs: 1e3 },
    regions: { policy: settings.regions, fetch: settings.fetch },
    token: new TokenSource(settings.token, clock),
    greeting,
    online: page.online,
    clock
  };
}
function newStats() {
  return {
    transport: null,
    connects: 0,
    reconnects: 0,
    events: 0,
    duplicates: 0,
    gaps: 0,
    skipped: 0,
    chainBreaks: 0,
    overflows: 0,
    resubscribes: 0,
    moves: { failure: 0, home: 0, redirect: 0 },
    redirectsIgnored: 0
  };
}
function isText(value) {
  return typeof value === "string" && value !== "";
}
export {
  Feed,
  MeridianClient,
  MeridianError,
  Subscription,
  localStorageCursors,
  memoryCursors,
  memoryStorage
};

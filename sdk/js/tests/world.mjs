// A world without time and network: a clock that the test moves, and WebSockets whose other end is the test.
import { connect } from '../src/everwire.js';

export class Clock {
  now = 1_000_000;
  #timers = [];
  #next = 1;

  setTimeout(run, ms) {
    const timer = { id: this.#next++, at: this.now + ms, run };
    this.#timers.push(timer);
    return timer.id;
  }

  clearTimeout(id) {
    this.#timers = this.#timers.filter((timer) => timer.id !== id);
  }

  /** Times until the timers that run, ascending. */
  waits() {
    return this.#timers.map((timer) => timer.at - this.now).sort((a, b) => a - b);
  }

  advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at || a.id - b.id)[0];
      if (!due) break;
      this.clearTimeout(due.id);
      this.now = Math.max(this.now, due.at);
      due.run();
    }
    this.now = end;
  }

  /** The machine sleeps: time passes, timers don't run. */
  sleep(ms) {
    this.now += ms;
  }
}

export class FakeSocket {
  readyState = 0;
  sent = [];
  closed_with = undefined;

  constructor(url, protocols, world) {
    this.url = url;
    this.protocols = protocols;
    this.world = world;
  }

  send(text) {
    if (this.readyState !== 1) throw new Error('sent on a socket that is not open');
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closed_with = code;
    this.readyState = 3;
  }

  // What the test does as the server:

  open() {
    this.readyState = 1;
    this.onopen({});
    return this;
  }

  say(frame) {
    this.onmessage({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) });
    return this;
  }

  end(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose({ code, reason });
  }

  /** Opens and answers `connect`. */
  ready(more = {}) {
    if (this.readyState === 0) this.open();
    const hello = this.sent.find((frame) => frame.type === 'connect');
    return this.say({
      type: 'connected', id: hello.id, client: 'c1', session: 's1', resumed: !!hello.resume, node: 'n',
      heartbeat_ms: 25_000, limits: { message_bytes: 65_536, channels: 256, commands_per_second: 100 },
      reconnect_spread_ms: 0, ...more,
    });
  }

  /** The newest frame of a type, or undefined. */
  last(type) {
    return this.sent.findLast((frame) => frame.type === type);
  }

  all(type) {
    return this.sent.filter((frame) => frame.type === type);
  }

  /** Answers the newest command of a type. */
  reply(to, frame) {
    return this.say({ id: this.last(to).id, ...frame });
  }
}

/** A client in such a world, with everything that happens to it written down. */
export function world(options = {}) {
  const clock = new Clock();
  const sockets = [];
  const page = new EventTarget();
  page.document = { visibilityState: 'visible' };
  const self = { clock, sockets, page, random: 0.5, states: [] };
  class WebSocket extends FakeSocket {
    constructor(url, protocols) {
      super(url, protocols, self);
      if (self.refuse) throw self.refuse;
      sockets.push(this);
    }
  }
  const env = {
    now: () => clock.now,
    random: () => self.random,
    setTimeout: (run, ms) => clock.setTimeout(run, ms),
    clearTimeout: (id) => clock.clearTimeout(id),
    WebSocket,
    page,
  };
  self.client = connect(options.url ?? 'ws://test/ws', { env, ...options });
  self.client.on('state', (event) => self.states.push(event));
  self.socket = () => sockets.at(-1);
  /** Opens the client and connects it. */
  self.connected = (more) => {
    self.client.open();
    return self.socket().ready(more);
  };
  /** The newest state event. */
  self.state = () => self.states.at(-1);
  return self;
}

/** Subscribes a channel and answers it. */
export function subscribed(w, name, options, answer = {}) {
  const channel = w.client.channel(name, options);
  const seen = { messages: [], gaps: [], states: [], presence: [] };
  channel.on('message', (message) => seen.messages.push(message));
  channel.on('gap', (gap) => seen.gaps.push(gap));
  channel.on('state', (event) => seen.states.push(event));
  channel.on('presence', (event) => seen.presence.push(event));
  w.socket().reply('subscribe', { type: 'subscribed', channel: name, position: { epoch: 'e', offset: 0 }, ...answer });
  return { channel, seen };
}

export const message = (channel, offset, data = offset, more = {}) => ({
  type: 'message', channel, offset, data, time: 1, ...more,
});

/** Lets promises that are settled run their continuations. */
export const settled = () => new Promise((done) => setImmediate(done));

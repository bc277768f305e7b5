// A small server that speaks the protocol, for tests of the client that need one that breaks when told so. It keeps what
// docs/protocol.md says on connect, subscribe, publish, presence, history, gap and bye, in the shortest way; it has no
// limits, no permissions and no pages.
import { createServer } from 'node:http';
import { randomBytes } from 'node:crypto';
import { WebSocketServer } from 'ws';

const GRACE_MS = 10_000;
const token = () => randomBytes(12).toString('base64url');

class Stream {
  epoch = token();
  offset = 0;
  version = 0;
  messages = [];
  ids = new Map();
  members = new Map();
  listeners = new Map();

  get position() {
    return { epoch: this.epoch, offset: this.offset };
  }
}

export class MockServer {
  streams = new Map();
  peers = new Set();
  sessions = new Map();
  kept = 1000;
  grace_ms = GRACE_MS;
  /** A test's fault: gets every command first, and swallows it by returning true. */
  fault = () => false;

  async listen(port = 0) {
    this.http = createServer();
    const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered][0] ?? false });
    this.http.on('upgrade', (request, socket, head) => {
      sockets.handleUpgrade(request, socket, head, (ws) => this.peers.add(new Peer(this, ws)));
    });
    await new Promise((done) => this.http.listen(port, '127.0.0.1', done));
    this.port = this.http.address().port;
    this.url = `http://localhost:${this.port}`;
    return this;
  }

  async close() {
    for (const peer of this.peers) peer.ws.terminate();
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
  }

  stream(name) {
    if (!this.streams.has(name)) this.streams.set(name, new Stream());
    return this.streams.get(name);
  }

  /** Loses the past of a channel. */
  forget(name) {
    const stream = this.stream(name);
    Object.assign(stream, { epoch: token(), offset: 0, messages: [], ids: new Map() });
  }

  publish({ channel, message_id, volatile, type, id, ...rest }, from, session = 'api') {
    const stream = this.stream(channel);
    const known = message_id && stream.ids.get(`${session} ${message_id}`);
    if (known) return { type: 'published', position: known, duplicate: true };
    const frame = { type: 'message', channel, offset: volatile ? undefined : ++stream.offset, message_id, from, time: Date.now(), ...rest };
    if (message_id) stream.ids.set(`${session} ${message_id}`, stream.position);
    if (!volatile) stream.messages = [...stream.messages, frame].slice(-this.kept);
    for (const [peer, options] of stream.listeners) if (options.echo !== false || peer.client !== from?.client) peer.say(frame);
    return { type: 'published', position: volatile ? undefined : stream.position };
  }

  presence(stream, channel, type, member) {
    stream.version++;
    if (type === 'leave') stream.members.delete(member.client);
    else stream.members.set(member.client, member);
    for (const [peer, options] of stream.listeners) {
      if (options.presence && (type === 'presence_state' || peer.client !== member.client)) peer.say({ type, channel, version: stream.version, member });
    }
  }
}

/** One connection to /ws. */
class Peer {
  channels = new Set();

  constructor(server, ws) {
    this.server = server;
    this.ws = ws;
    ws.on('message', (data) => this.#command(JSON.parse(data)));
    ws.on('close', (code) => this.#closed(code));
    ws.on('error', () => {});
  }

  say(frame) {
    this.ws.send(JSON.stringify(frame));
  }

  #command(frame) {
    if (this.server.fault(this, frame)) return;
    const verb = `do_${frame.type}`;
    const reply = typeof this[verb] === 'function' ? this[verb](frame) : this.error('unknown_type', `no command ${frame.type}`);
    if (reply && (frame.id || reply.type === 'error' || reply.type === 'connected')) this.say({ ...reply, id: frame.id });
    this.after?.();
    this.after = undefined;
  }

  error(code, message) {
    return { type: 'error', code, message, retryable: false, docs: `/docs/errors#${code}` };
  }

  do_connect({ resume }) {
    const old = this.server.sessions.get(resume);
    if (old?.peer && old.peer !== this) {
      old.peer.gone = true;
      old.peer.ws.close(4200);
    }
    this.session = old ? resume : token();
    this.client = old?.client ?? token();
    for (const leave of old?.leaves ?? []) clearTimeout(leave);
    this.server.sessions.set(this.session, { client: this.client, peer: this, leaves: [] });
    return {
      type: 'connected', client: this.client, session: this.session, resumed: !!old, node: 'mock', heartbeat_ms: 25_000,
      limits: { message_bytes: 65_536, channels: 256, commands_per_second: 100 }, reconnect_spread_ms: 0,
    };
  }

  do_subscribe({ channel, since, rewind, presence, echo }) {
    const stream = this.server.stream(channel);
    if (this.channels.has(channel)) return this.error('already_subscribed', `subscribed to ${channel} already`);
    const first = stream.messages[0]?.offset ?? stream.offset + 1;
    const recovered = since ? since.epoch === stream.epoch && since.offset <= stream.offset && since.offset >= first - 1 : undefined;
    let replay = [];
    if (recovered) replay = stream.messages.filter((one) => one.offset > since.offset);
    else if (rewind) replay = stream.messages.slice(-rewind);
    this.channels.add(channel);
    const behind = stream.position;
    this.after = () => {
      if (recovered === false) {
        const to = { epoch: stream.epoch, offset: (replay[0]?.offset ?? behind.offset + 1) - 1 };
        this.say({ type: 'gap', channel, from: since, to, reason: since.epoch === stream.epoch ? 'history_expired' : 'epoch_changed' });
      }
      for (const frame of replay) this.say(frame);
      stream.listeners.set(this, { presence, echo });
    };
    if (!stream.members.has(this.client)) this.server.presence(stream, channel, 'join', { client: this.client });
    const counts = presence ? { users: stream.members.size, clients: stream.members.size, version: stream.version } : undefined;
    const told = recovered === false && rewind ? undefined : recovered;
    return { type: 'subscribed', channel, position: behind, recovered: told, replaying: told === undefined ? replay.length || undefined : replay.length, presence: counts };
  }

  do_unsubscribe({ channel }) {
    this.#leave(channel);
    return { type: 'unsubscribed', channel };
  }

  do_publish(frame) {
    return this.server.publish(frame, { client: this.client }, this.session);
  }

  do_presence({ channel }) {
    const { version, members } = this.server.stream(channel);
    return { type: 'presence', channel, version, users: members.size, clients: members.size, members: [...members.values()] };
  }

  do_presence_update({ channel, state }) {
    this.server.presence(this.server.stream(channel), channel, 'presence_state', { client: this.client, state });
    return { type: 'presence_updated' };
  }

  do_history({ channel, limit = 100, since, before, reverse }) {
    const stream = this.server.stream(channel);
    let found = stream.messages.filter((one) => (!since || one.offset > since.offset) && (!before || one.offset < before.offset));
    if (reverse) found.reverse();
    const page = found.slice(0, limit);
    const next = found.length > limit ? { epoch: stream.epoch, offset: page.at(-1).offset } : undefined;
    return { type: 'history', channel, position: stream.position, messages: page.map(({ type, channel: _, ...rest }) => rest), next };
  }

  do_ping() {
    return { type: 'pong' };
  }

  do_pong() {}

  #leave(channel) {
    const stream = this.server.stream(channel);
    this.channels.delete(channel);
    stream.listeners.delete(this);
    this.server.presence(stream, channel, 'leave', { client: this.client });
  }

  #closed(code) {
    this.server.peers.delete(this);
    const session = this.server.sessions.get(this.session);
    for (const channel of this.channels) {
      this.server.stream(channel).listeners.delete(this);
      if (this.gone) continue;
      const leave = () => this.#leave(channel);
      if (code === 1000) leave();
      else session?.leaves.push(setTimeout(leave, this.server.grace_ms).unref());
    }
    if (session?.peer === this) session.peer = undefined;
  }
}

/**
 * The Everwire client.
 *
 * ```js
 * import { connect } from '/sdk/everwire.js';
 *
 * const room = connect('/ws').channel('chat:lobby');
 * room.on('message', (message) => console.log(message.data));
 * await room.publish('hello');
 * ```
 */
import { Client } from './client.js';

export { Channel } from './channel.js';
export { Client } from './client.js';
export { EverwireError } from './error.js';

/**
 * A client for the server at this address. Returns at once; the connection opens with the first thing that needs it.
 *
 * @param {string | URL} url of the server's `/ws`, such as `wss://example.com/ws`; relative to the page. `http` and `https`
 *   mean `ws` and `wss`, and an address without a path means `/ws`. One that can't be an address ends in `closed`
 * @param {import('./client.js').ClientOptions} [options]
 */
export function connect(url, options = {}) {
  return new Client(url, options);
}

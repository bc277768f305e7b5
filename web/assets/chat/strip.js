// The strip: how the connection is, in words and figures.

const PING_MS = 4_000;
// The first one waits behind all that a page asks for when it enters; the second tells more.
const SECOND_MS = 1_000;
const CUT = 'Cut my connection for 5 s';

/**
 * @param {any} client
 * @param {{ status: HTMLElement, rtt: HTMLElement, recovered: HTMLElement, cut: HTMLButtonElement, closed: HTMLElement, again: HTMLElement, why: HTMLElement }} parts
 */
export function strip(client, parts) {
  let total = 0;
  let until = 0;
  let ticking = 0;
  let pinging = 0;

  const say = (state, words) => {
    parts.status.dataset.state = state;
    // A live region: what did not change must not be said again.
    if (parts.status.textContent !== words) parts.status.textContent = words;
  };

  client.on('state', ({ state, retry_in_ms = 0, reason }) => {
    clearInterval(ticking);
    clearTimeout(pinging);
    // Not `disabled`: that would take the focus from who pressed it.
    parts.cut.setAttribute('aria-disabled', String(state !== 'connected'));
    // While it tries again the note stays, and with it the focus of who pressed its button.
    if (state !== 'connecting') parts.closed.hidden = state !== 'closed';
    parts.cut.textContent = CUT;
    if (state !== 'connected') parts.rtt.textContent = '–';
    if (state === 'connected') {
      say(state, 'connected');
      measure(SECOND_MS);
    } else if (state === 'connecting') say(state, 'connecting');
    else if (state === 'closed') {
      say(state, 'not connected');
      parts.why.textContent = `The server ended the connection for good: ${reason}.`;
    } else {
      say(state, reason === 'cut' ? 'connection cut' : 'connection lost');
      until = Date.now() + retry_in_ms;
      count();
      ticking = setInterval(count, 500);
    }
  });

  parts.cut.addEventListener('click', () => client.state === 'connected' && client.cut(5_000));
  parts.again.addEventListener('click', () => client.open());

  // On the button, where it is seen and not read out twice a second.
  function count() {
    parts.cut.textContent = `back in ${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s`;
  }

  /** @param {number} next_ms until it is measured again */
  async function measure(next_ms) {
    try {
      const ms = await client.ping();
      parts.rtt.textContent = ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
    } catch {
      return; // The connection broke; its state says so.
    }
    pinging = setTimeout(() => measure(PING_MS), next_ms);
  }

  return {
    /** @param {number} count messages that a break did not lose */
    recovered(count) {
      total += count;
      parts.recovered.textContent = total.toLocaleString('en');
    },
  };
}
